/* SPDX-License-Identifier: MIT */
/*
 * The qcow2 header: parse, validate, write.
 * Specification: "Header" and "Additional fields (version 3 and higher)".
 *
 * Everything here is untrusted.  Errors have qemu-img's texts, in its order, so that scripts which match them keep
 * working.
 */
#include "qcow2.h"

#include <stdio.h>

enum { V2_LENGTH = 72, V3_LENGTH = 104, OUR_LENGTH = 112, SECTOR = 512 };

/*
 * The header with what usually follows it.  No more, since to read an unwritten part of a preallocated file makes the
 * page cache hold it, and then the file system calls it data and no hole.
 */
enum { HEAD_BYTES = 4096 };

void qcow2_derive(struct qcow2 *s)
{
    bool extended = s->h.incompatible & QCOW2_INCOMPAT_EXTENDED_L2;

    s->cluster_size = 1u << s->h.cluster_bits;
    s->l2_entry_size = extended ? 16 : 8;
    s->l2_bits = s->h.cluster_bits - (extended ? 4 : 3);
    s->subclusters = extended ? 32 : 1;
    s->subcluster_size = s->cluster_size / s->subclusters;
    s->refcount_bits = 1u << s->h.refcount_order;
    s->refcount_max = s->refcount_bits == 64 ? UINT64_MAX >> 1 : (1ull << s->refcount_bits) - 1;
    s->refblock_bits = s->h.cluster_bits + 3 - s->h.refcount_order;
}

static void parse_fields(struct qcow2_header *h, const uint8_t *raw)
{
    h->version = img_get_be32(raw + 4);
    h->backing_offset = img_get_be64(raw + 8);
    h->backing_length = img_get_be32(raw + 16);
    h->cluster_bits = img_get_be32(raw + 20);
    h->size = img_get_be64(raw + 24);
    h->crypt_method = img_get_be32(raw + 32);
    h->l1_size = img_get_be32(raw + 36);
    h->l1_offset = img_get_be64(raw + 40);
    h->refcount_table_offset = img_get_be64(raw + 48);
    h->refcount_table_clusters = img_get_be32(raw + 56);
    h->snapshot_count = img_get_be32(raw + 60);
    h->snapshots_offset = img_get_be64(raw + 64);
    if (h->version == 2) {
        h->refcount_order = 4;
        h->length = V2_LENGTH;
        return;
    }
    h->incompatible = img_get_be64(raw + 72);
    h->compatible = img_get_be64(raw + 80);
    h->autoclear = img_get_be64(raw + 88);
    h->refcount_order = img_get_be32(raw + 96);
    h->length = img_get_be32(raw + 100);
    if (h->length > V3_LENGTH)
        h->compression = raw[104];
}

/* The first fields decide how to read the rest. */
static int check_shape(const struct qcow2_header *h, uint32_t magic, struct img_error *err)
{
    if (magic != QCOW2_MAGIC)
        return img_error_set(err, EINVAL, "Image is not in qcow2 format");
    if (h->version != 2 && h->version != 3)
        return img_error_set(err, ENOTSUP, "Unsupported qcow2 version %u", h->version);
    if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
        return img_error_set(err, EINVAL, "Unsupported cluster size: 2^%u", h->cluster_bits);
    if (h->version == 3) {
        if (h->length < V3_LENGTH)
            return img_error_set(err, EINVAL, "qcow2 header too short");
        if (h->length > 1u << h->cluster_bits)
            return img_error_set(err, EINVAL, "qcow2 header exceeds cluster size");
    }
    return 0;
}

/* Keep header bytes that a newer program wrote and we do not know. */
static int read_unknown_fields(struct img *image, struct img_error *err)
{
    struct qcow2_header *h = &qcow2_state(image)->h;
    if (h->length <= OUR_LENGTH)
        return 0;

    h->unknown_length = h->length - OUR_LENGTH;
    h->unknown = img_malloc(h->unknown_length);
    if (!h->unknown)
        return img_error_memory(err);
    int status = qcow2_read(image, h->unknown, OUR_LENGTH, h->unknown_length);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read unknown qcow2 header fields");
    return 0;
}

static int check_compression(const struct qcow2_header *h, struct img_error *err)
{
    bool flagged = h->incompatible & QCOW2_INCOMPAT_COMPRESSION;

    if (h->compression > QCOW2_ZSTD)
        return img_error_set(err, ENOTSUP, "qcow2: unknown compression type: %u", h->compression);
    if (h->compression == QCOW2_ZLIB && flagged)
        return img_error_set(err, EINVAL, "qcow2: Compression type incompatible feature bit must not be set");
    if (h->compression != QCOW2_ZLIB && !flagged)
        return img_error_set(err, EINVAL, "qcow2: Compression type incompatible feature bit must be set");
    return 0;
}

/* Refuse unknown features that change the meaning of the rest of the file. */
static int check_features(struct img *image, uint64_t extensions_end, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header *h = &s->h;
    uint64_t unknown = h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;

    if (unknown) {
        struct img_error ignored = IMG_ERROR_INIT;
        qcow2_read_extensions(image, h->length, extensions_end, true, &ignored);
        img_error_clear(&ignored);
        CLEANUP_FREE char *names = qcow2_feature_list(s, unknown);
        return !names ? img_error_memory(err)
                      : img_error_set(err, ENOTSUP, "Unsupported qcow2 feature(s): %s", names);
    }
    if (h->incompatible & QCOW2_INCOMPAT_CORRUPT && image->flags & IMG_RDWR && !(image->flags & IMG_CHECK)) {
        img_error_advise(err, "'check -r all' repairs it and removes the mark");
        return img_error_set(err, EACCES, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    uint32_t subcluster = (1u << h->cluster_bits) / 32;
    if (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 && subcluster < 512)
        return img_error_set(err, EINVAL, "Unsupported subcluster size: %u", subcluster);
    return 0;
}

/* A table that the header points to must be aligned, not too large, and end before 2^63. */
static int check_table(const struct qcow2 *s, uint64_t offset, uint64_t entries, size_t entry_size, uint64_t max_bytes,
                       const char *what, struct img_error *err)
{
    uint64_t end;

    if (entries > max_bytes / entry_size)
        return img_error_set(err, EFBIG, "%s too large", what);
    if (!img_add(offset, entries * entry_size, &end) || end > INT64_MAX || !img_aligned(offset, s->cluster_size))
        return img_error_set(err, EINVAL, "%s offset invalid", what);
    return 0;
}

static int check_refcounts(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header *h = &s->h;

    if (h->refcount_order > 6)
        return img_error_set(err, EINVAL, "Reference count entry width too large; may not exceed 64 bits");
    qcow2_derive(s);
    if (h->refcount_table_clusters == 0 && !(image->flags & IMG_CHECK))
        return img_error_set(err, EINVAL, "Image does not contain a reference count table");
    return check_table(s, h->refcount_table_offset, (uint64_t)h->refcount_table_clusters << (h->cluster_bits - 3), 8,
                       QCOW2_MAX_REFCOUNT_TABLE_BYTES, "Reference count table", err);
}

/* Number of L1 entries that a disk of this size needs. */
static uint64_t needed_l1(const struct qcow2 *s)
{
    unsigned shift = s->h.cluster_bits + s->l2_bits;
    return (s->h.size + (1ull << shift) - 1) >> shift;      /* absurd sizes wrap around, and are refused later */
}

static int check_tables(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header *h = &s->h;

    /* Repair can truncate a snapshot table with bad bounds. */
    if (!(image->flags & IMG_CHECK)) {
        int status = check_table(s, h->snapshots_offset, h->snapshot_count, 40, 40ull * QCOW2_MAX_SNAPSHOTS,
                                 "Snapshot table", err);
        if (status < 0)
            return status;
    }
    int status = check_table(s, h->l1_offset, h->l1_size, 8, QCOW2_MAX_L1_BYTES, "Active L1 table", err);
    if (status < 0)
        return status;
    if (needed_l1(s) > INT32_MAX)
        return img_error_set(err, EFBIG, "Image is too big");
    if (h->l1_size < needed_l1(s))
        return img_error_set(err, EINVAL, "L1 table is too small");
    if (h->size > INT64_MAX)
        return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    if (h->crypt_method > 2)
        return img_error_set(err, EINVAL, "Unsupported encryption method %d", (int)h->crypt_method);
    image->encrypted = h->crypt_method != 0;
    return 0;
}

static int read_backing_name(struct img *image, struct img_error *err)
{
    struct qcow2_header *h = &qcow2_state(image)->h;
    if (h->backing_offset == 0)
        return 0;

    uint64_t room = (1ull << h->cluster_bits) - h->backing_offset;
    if (h->backing_length > img_min(QCOW2_MAX_BACKING_NAME, room))
        return img_error_set(err, EINVAL, "Backing file name too long");
    CLEANUP_FREE char *name = img_calloc(1, (size_t)h->backing_length + 1);
    if (!name)
        return img_error_memory(err);
    int status = qcow2_read(image, name, h->backing_offset, h->backing_length);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read backing file name");
    return img_replace_text(&image->backing_name, name[0] ? name : NULL) < 0 ? img_error_memory(err) : 0;
}

int qcow2_read_header(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header *h = &s->h;
    uint8_t raw[OUR_LENGTH];

    qcow2_read_ahead(image, 0, HEAD_BYTES);
    int status = qcow2_read(image, raw, 0, sizeof raw);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read qcow2 header");
    parse_fields(h, raw);
    if ((status = check_shape(h, img_get_be32(raw), err)) < 0 || (status = read_unknown_fields(image, err)) < 0)
        return status;
    if (h->backing_offset > 1ull << h->cluster_bits)
        return img_error_set(err, EINVAL, "Invalid backing file offset");

    uint64_t extensions_end = h->backing_offset ? h->backing_offset : 1ull << h->cluster_bits;
    if ((status = check_compression(h, err)) < 0 ||
        (status = check_features(image, extensions_end, err)) < 0 ||
        (status = check_refcounts(image, err)) < 0 ||
        (status = check_tables(image, err)) < 0 ||
        (status = qcow2_read_extensions(image, h->length, extensions_end, false, err)) < 0)
        return status;
    return read_backing_name(image, err);
}

void qcow2_free_header(struct qcow2 *s)
{
    free(s->h.unknown);
    s->h.unknown = NULL;
    qcow2_free_extensions(s);
}

static void build_fields(const struct qcow2_header *h, uint32_t length, uint8_t *raw)
{
    img_put_be32(raw, QCOW2_MAGIC);
    img_put_be32(raw + 4, h->version);
    img_put_be32(raw + 20, h->cluster_bits);
    img_put_be64(raw + 24, h->size);
    img_put_be32(raw + 32, h->crypt_method);
    img_put_be32(raw + 36, h->l1_size);
    img_put_be64(raw + 40, h->l1_offset);
    img_put_be64(raw + 48, h->refcount_table_offset);
    img_put_be32(raw + 56, h->refcount_table_clusters);
    img_put_be32(raw + 60, h->snapshot_count);
    img_put_be64(raw + 64, h->snapshots_offset);
    if (h->version == 2)
        return;
    img_put_be64(raw + 72, h->incompatible);
    img_put_be64(raw + 80, h->compatible);
    img_put_be64(raw + 88, h->autoclear);
    img_put_be32(raw + 96, h->refcount_order);
    img_put_be32(raw + 100, length);
    raw[104] = h->compression;
}

/* *end: of what counts. */
static int build_header(const struct img *image, bool lean, uint8_t *cluster, size_t *end)
{
    const struct qcow2 *s = image->state;
    const struct qcow2_header *h = &s->h;
    size_t at = h->version == 2 ? V2_LENGTH : OUR_LENGTH + h->unknown_length;

    if (at > s->cluster_size)
        return -ENOSPC;
    memset(cluster, 0, s->cluster_size);
    build_fields(h, (uint32_t)at, cluster);
    if (h->version == 3 && h->unknown_length)
        memcpy(cluster + OUR_LENGTH, h->unknown, h->unknown_length);

    int status = qcow2_build_extensions(image, lean, cluster, &at);
    *end = at;
    if (status < 0 || !image->backing_name)
        return status;

    size_t length = strlen(image->backing_name);
    if (length > s->cluster_size - at)
        return -ENOSPC;
    memcpy(cluster + at, image->backing_name, length);
    img_put_be64(cluster + 8, at);
    img_put_be32(cluster + 16, (uint32_t)length);
    *end = at + length;
    return 0;
}

int qcow2_build_header(const struct img *image, uint8_t *cluster)
{
    size_t end;

    return build_header(image, false, cluster, &end);
}

/* ---- In the place of another one ------------------------------------------------- */

static int same_behind_first_sector(struct img *image, const uint8_t *header, uint8_t *old)
{
    const struct qcow2 *s = qcow2_state(image);
    int status = qcow2_read(image, old, 0, s->cluster_size);

    return status < 0 ? status : memcmp(header + SECTOR, old + SECTOR, s->cluster_size - SECTOR) == 0;
}

/*
 * A power cut may tear what lies in several sectors, and a new version, backing name or bitmap beside the rest of an
 * old header means something else, or nothing.  So the header is made lean first, without the names of features: it
 * fits into one sector, which is written as a whole or not at all.  While it stands nothing behind it counts.
 */
static int replace_header(struct img *image, const uint8_t *header, uint8_t *lean)
{
    const struct qcow2 *s = qcow2_state(image);
    size_t end;
    int status = build_header(image, true, lean, &end);

    /* What is too long even so (a long name) cannot be had in one step. */
    if (status < 0 || end > SECTOR)
        return status < 0 ? status : img_pwrite(image->file, header, 0, s->cluster_size);
    if ((status = img_pwrite(image->file, lean, 0, SECTOR)) < 0 || (status = qcow2_barrier(image)) < 0 ||
        (status = img_pwrite(image->file, header + SECTOR, SECTOR, s->cluster_size - SECTOR)) < 0 ||
        (status = qcow2_barrier(image)) < 0)
        return status;
    return img_pwrite(image->file, header, 0, SECTOR);
}

int qcow2_write_header(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *header = malloc(s->cluster_size);
    CLEANUP_FREE uint8_t *other = malloc(s->cluster_size);
    if (!header || !other)
        return -ENOMEM;

    int status = qcow2_build_header(image, header);
    int same = status < 0 ? status : same_behind_first_sector(image, header, other);
    if (same < 0)
        return same;
    return same ? img_pwrite(image->file, header, 0, SECTOR) : replace_header(image, header, other);
}

int qcow2_set_incompatible(struct img *image, uint64_t bit, bool on)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t wanted = on ? s->h.incompatible | bit : s->h.incompatible & ~bit;
    uint8_t raw[8];

    if (s->h.version < 3)
        return -ENOTSUP;
    if (wanted == s->h.incompatible)
        return 0;
    img_put_be64(raw, wanted);
    int status = img_pwrite(image->file, raw, 72, sizeof raw);
    if (status < 0)
        return status;
    s->h.incompatible = wanted;
    return img_barrier(image);
}
