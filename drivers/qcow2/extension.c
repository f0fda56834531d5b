/* SPDX-License-Identifier: MIT */
/*
 * Header extensions of a qcow2 image, and the names of features.
 * Specification: "Header extensions", "Feature name table", "Bitmaps extension",
 * "Full disk encryption header pointer", "String header extensions".
 */
#include "qcow2.h"

#include <stdio.h>

enum { MAX_FORMAT_NAME = 15, FEATURE_ENTRY = 48 };

/* Written into every version 3 header, so that older programs can name the features that they refuse. */
static const struct qcow2_feature_name known_features[] = {
    { 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" }, { 0, 3, "compression type" },
    { 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" }
};
enum { KNOWN_FEATURES = sizeof known_features / sizeof known_features[0] };

/* The table is omitted if it would crowd a small header cluster. */
enum { ROOM_FOR_NAMES = 4096 };

static int read_backing_format(struct img *image, uint64_t offset, uint32_t length, struct img_error *err)
{
    char format[MAX_FORMAT_NAME + 1] = "";

    if (length > MAX_FORMAT_NAME)
        return img_error_set(err, EINVAL, "ERROR: ext_backing_format: len=%u too large (>=%u)", length,
                             MAX_FORMAT_NAME + 1u);
    int status = qcow2_read(image, format, offset, length);
    if (status < 0)
        return img_error_errno(err, -status, "ERROR: ext_backing_format: Could not read format name");
    return img_replace_text(&image->backing_format, format[0] ? format : NULL) < 0 ? img_error_memory(err) : 0;
}

static int read_feature_names(struct img *image, uint64_t offset, uint32_t length, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[FEATURE_ENTRY];

    s->features.count = 0;
    for (uint64_t at = 0; at < length; at += FEATURE_ENTRY) {
        memset(raw, 0, sizeof raw);
        int status = qcow2_read(image, raw, offset + at, img_min(length - at, sizeof raw));
        if (status < 0)
            return img_error_errno(err, -status, "ERROR: ext_feature_table: Could not read table");
        struct qcow2_feature_name name = { .kind = raw[0], .bit = raw[1] };
        memcpy(name.name, raw + 2, FEATURE_ENTRY - 2);
        name.name[FEATURE_ENTRY - 2] = '\0';
        if (!name.name[0])
            break;
        if (!IMG_VECTOR_PUSH(&s->features, name))
            return img_error_memory(err);
    }
    return 0;
}

static int read_crypto(struct img *image, uint64_t offset, uint32_t length, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[16];

    if (s->h.crypt_method != 2)
        return img_error_set(err, EINVAL, "CRYPTO header extension only expected with LUKS encryption method");
    if (length != sizeof raw)
        return img_error_set(err, EINVAL, "CRYPTO header extension size %u, but expected size %zu", length,
                             sizeof raw);
    int status = qcow2_read(image, raw, offset, sizeof raw);
    if (status < 0)
        return img_error_errno(err, -status, "Unable to read CRYPTO header extension");
    s->has_crypto = true;
    s->luks.start = img_get_be64(raw);
    s->luks.length = img_get_be64(raw + 8);
    if (!img_aligned(s->luks.start, s->cluster_size))
        return img_error_set(err, EINVAL, "Encryption header offset '%llu' is not a multiple of cluster size '%u'",
                             (unsigned long long)s->luks.start, s->cluster_size);
    return 0;
}

/* The autoclear bit says whether the last writer knew of bitmaps; without it they are stale. */
static bool bitmaps_stale(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    if (s->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS)
        return false;

    if (s->h.version < 3)
        img_notice(IMG_WARNING, "This qcow2 v2 image contains bitmaps, but they may have been modified by a program "
                   "without persistent bitmap support; so now they must all be considered inconsistent");
    else
        img_notice(IMG_WARNING, "a program lacking bitmap support modified this file, so all bitmaps are now "
                   "considered inconsistent");
    img_notice(IMG_HINT, "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.");
    return true;
}

static int read_bitmaps(struct img *image, uint64_t offset, uint32_t length, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[24];

    if (length != sizeof raw)
        return img_error_set(err, EINVAL, "bitmaps_ext: Invalid extension length");
    if (bitmaps_stale(image)) {
        s->bitmaps_stale = true;
        return 0;
    }
    int status = qcow2_read(image, raw, offset, sizeof raw);
    if (status < 0)
        return img_error_errno(err, -status, "bitmaps_ext: Could not read ext header");
    if (img_get_be32(raw + 4) != 0)
        return img_error_set(err, EINVAL, "bitmaps_ext: Reserved field is not zero");

    uint32_t count = img_get_be32(raw);
    uint64_t size = img_get_be64(raw + 8), directory = img_get_be64(raw + 16);
    if (count > QCOW2_MAX_BITMAPS)
        return img_error_set(err, EINVAL, "bitmaps_ext: Image has %u bitmaps, exceeding the QEMU supported maximum of "
                             "%d", count, QCOW2_MAX_BITMAPS);
    if (count == 0)
        return img_error_set(err, EINVAL, "found bitmaps extension with zero bitmaps");
    if (!img_aligned(directory, s->cluster_size))
        return img_error_set(err, EINVAL, "bitmaps_ext: invalid bitmap directory offset");
    if (size > QCOW2_MAX_BITMAP_DIRECTORY)
        return img_error_set(err, EINVAL, "bitmaps_ext: bitmap directory size (%llu) exceeds the maximum supported "
                             "size (%d)", (unsigned long long)size, QCOW2_MAX_BITMAP_DIRECTORY);
    s->bitmap_count = count;
    s->bitmap_directory_offset = directory;
    s->bitmap_directory_size = size;
    s->bitmaps_valid = true;
    return 0;
}

static int read_data_file_name(struct img *image, uint64_t offset, uint32_t length, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE char *name = img_calloc(1, (size_t)length + 1);

    if (!name)
        return img_error_memory(err);
    int status = qcow2_read(image, name, offset, length);
    if (status < 0)
        return img_error_errno(err, -status, "ERROR: Could not read data file name");
    return img_replace_text(&s->data_file_name, name) < 0 ? img_error_memory(err) : 0;
}

static int keep_extension(struct img *image, uint32_t type, uint64_t offset, uint32_t length, struct img_error *err)
{
    struct qcow2_extension kept = { type, length, img_malloc((size_t)length + 1) };

    if (!kept.data)
        return img_error_memory(err);
    int status = qcow2_read(image, kept.data, offset, length);
    if (status < 0) {
        free(kept.data);
        return img_error_errno(err, -status, "ERROR: unknown extension: Could not read data");
    }
    if (IMG_VECTOR_PUSH(&qcow2_state(image)->extensions, kept))
        return 0;
    free(kept.data);
    return img_error_memory(err);
}

static int read_one(struct img *image, uint32_t type, uint64_t offset, uint32_t length, struct img_error *err)
{
    switch (type) {
    case QCOW2_EXT_BACKING_FORMAT:
        return read_backing_format(image, offset, length, err);
    case QCOW2_EXT_FEATURE_NAMES:
        return 0;       /* skipped: it is read when a name is needed; we write our own */
    case QCOW2_EXT_CRYPTO:
        return read_crypto(image, offset, length, err);
    case QCOW2_EXT_BITMAPS:
        return read_bitmaps(image, offset, length, err);
    case QCOW2_EXT_DATA_FILE:
        return read_data_file_name(image, offset, length, err);
    default:
        return keep_extension(image, type, offset, length, err);
    }
}

int qcow2_read_extensions(struct img *image, uint64_t offset, uint64_t end, bool names_only, struct img_error *err)
{
    uint8_t raw[8];

    while (offset < end) {
        if (end - offset < sizeof raw)
            return img_error_set(err, EINVAL, "Header extension too large");
        int status = qcow2_read(image, raw, offset, sizeof raw);
        if (status < 0)
            return img_error_errno(err, -status, "qcow2_read_extension: ERROR: pread fail from offset %llu",
                                   (unsigned long long)offset);
        uint32_t type = img_get_be32(raw), length = img_get_be32(raw + 4);
        offset += sizeof raw;
        if (length > end - offset)
            return img_error_set(err, EINVAL, "Header extension too large");
        if (type == QCOW2_EXT_END)
            return 0;
        if (!names_only)
            status = read_one(image, type, offset, length, err);
        else if (type == QCOW2_EXT_FEATURE_NAMES)
            status = read_feature_names(image, offset, length, err);
        if (status < 0)
            return status;
        offset += img_align_up(length, 8);
    }
    return 0;
}

void qcow2_free_extensions(struct qcow2 *s)
{
    for (size_t i = 0; i < s->extensions.count; i++)
        free(s->extensions.at[i].data);
    free(s->extensions.at);
    free(s->features.at);
    free(s->data_file_name);
    memset(&s->extensions, 0, sizeof s->extensions);
    memset(&s->features, 0, sizeof s->features);
    s->data_file_name = NULL;
}

static int put_extension(const struct qcow2 *s, uint8_t *cluster, size_t *at, uint32_t type, const void *data,
                         size_t length)
{
    uint64_t padded = img_align_up(length, 8);

    if (!img_within(*at, padded + 8, s->cluster_size))
        return -ENOSPC;
    img_put_be32(cluster + *at, type);
    img_put_be32(cluster + *at + 4, (uint32_t)length);
    if (length)
        memcpy(cluster + *at + 8, data, length);
    *at += 8 + padded;
    return 0;
}

static int put_string(const struct qcow2 *s, uint8_t *cluster, size_t *at, uint32_t type, const char *text)
{
    return text ? put_extension(s, cluster, at, type, text, strlen(text)) : 0;
}

static int put_crypto(const struct qcow2 *s, uint8_t *cluster, size_t *at)
{
    uint8_t raw[16];

    if (!s->has_crypto)
        return 0;
    img_put_be64(raw, s->luks.start);
    img_put_be64(raw + 8, s->luks.length);
    return put_extension(s, cluster, at, QCOW2_EXT_CRYPTO, raw, sizeof raw);
}

static int put_feature_names(const struct qcow2 *s, uint8_t *cluster, size_t *at)
{
    uint8_t raw[KNOWN_FEATURES * FEATURE_ENTRY] = {0};

    if (s->h.version < 3 || s->cluster_size - *at < ROOM_FOR_NAMES)
        return 0;
    for (size_t i = 0; i < KNOWN_FEATURES; i++) {
        raw[i * FEATURE_ENTRY] = known_features[i].kind;
        raw[i * FEATURE_ENTRY + 1] = known_features[i].bit;
        memcpy(raw + i * FEATURE_ENTRY + 2, known_features[i].name, strlen(known_features[i].name));
    }
    return put_extension(s, cluster, at, QCOW2_EXT_FEATURE_NAMES, raw, sizeof raw);
}

static int put_bitmaps(const struct qcow2 *s, uint8_t *cluster, size_t *at)
{
    uint8_t raw[24] = {0};

    if (s->bitmap_count == 0)
        return 0;
    img_put_be32(raw, s->bitmap_count);
    img_put_be64(raw + 8, s->bitmap_directory_size);
    img_put_be64(raw + 16, s->bitmap_directory_offset);
    return put_extension(s, cluster, at, QCOW2_EXT_BITMAPS, raw, sizeof raw);
}

int qcow2_build_extensions(const struct img *image, bool lean, uint8_t *cluster, size_t *at)
{
    const struct qcow2 *s = image->state;
    int status;

    if ((status = put_string(s, cluster, at, QCOW2_EXT_BACKING_FORMAT, image->backing_format)) < 0 ||
        (status = put_string(s, cluster, at, QCOW2_EXT_DATA_FILE, s->data_file_name)) < 0 ||
        (status = put_crypto(s, cluster, at)) < 0 ||
        (!lean && (status = put_feature_names(s, cluster, at)) < 0) ||
        (status = put_bitmaps(s, cluster, at)) < 0)
        return status;
    /* qemu-img writes these in reverse order of reading; keep that order so that headers stay comparable. */
    for (size_t i = s->extensions.count; i > 0; i--) {
        const struct qcow2_extension *kept = &s->extensions.at[i - 1];
        status = put_extension(s, cluster, at, kept->type, kept->data, kept->length);
        if (status < 0)
            return status;
    }
    return put_extension(s, cluster, at, QCOW2_EXT_END, NULL, 0);
}

char *qcow2_feature_list(const struct qcow2 *s, uint64_t incompatible)
{
    struct img_strbuf list = {0};

    for (size_t i = 0; i < s->features.count; i++) {
        const struct qcow2_feature_name *name = &s->features.at[i];
        if (name->kind != 0 || name->bit > 63 || !(incompatible & (1ull << name->bit)))
            continue;
        img_strbuf_printf(&list, "%s%s", list.length ? ", " : "", name->name);
        incompatible &= ~(1ull << name->bit);
    }
    if (incompatible)
        img_strbuf_printf(&list, "%sUnknown incompatible feature: %llx", list.length ? ", " : "",
                          (unsigned long long)incompatible);
    return img_strbuf_take(&list);
}
