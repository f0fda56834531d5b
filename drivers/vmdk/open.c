/* SPDX-License-Identifier: MIT */
/*
 * The vmdk driver: finds the kind of file, opens and closes it.
 * Specification: VMware, "Virtual Disk Format 5.0".
 */
#include "vmdk.h"
#include <string.h>

enum { MAX_DESCRIPTOR = (1 << 20) - 1, MIN_FILE = 1 };

/* ---- Opening ------------------------------------------------------------------------------- */

static int refuse_text(const struct img *image, struct img_error *err)
{
    CLEANUP_FREE char *whole = NULL;

    if (vmdk_whole_name(img_filename(image->file), &whole) == 0 && whole)
        img_error_advise(err, "by its name it is a part of a disk: open the descriptor, '%s'", whole);
    return img_error_set(err, EINVAL, "invalid VMDK image descriptor");
}

/* Open a descriptor: a file of its text alone, or a text at `offset`. */
static int open_descriptor(struct img *image, uint64_t offset, const struct img_doc *options, bool backing_given,
                           struct img_error *err)
{
    static const char *const types[] = { "monolithicFlat", "vmfs", "vmfsSparse", "seSparse", "twoGbMaxExtentSparse",
                                         "twoGbMaxExtentFlat", "fullDevice", "partitionedDevice" };
    struct vmdk *s = vmdk_state(image);
    CLEANUP_FREE char *text = NULL;
    size_t i = 0, length = 0;
    int ret = vmdk_read_text(image->file, offset, MAX_DESCRIPTOR, &text, &length);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read from file");
    ret = vmdk_plain_text(&text, length, &s->foreign_text);
    if (ret < 0)
        return ret == -ENOMEM ? img_error_memory(err) : img_error_set(err, EINVAL, "invalid VMDK image descriptor");
    s->descriptor_at = offset;
    s->descriptor_room = MAX_DESCRIPTOR;
    if (!vmdk_text_value(text, "createType", s->create_type, sizeof s->create_type))
        return refuse_text(image, err);
    while (i < sizeof types / sizeof *types && strcmp(s->create_type, types[i]) != 0)
        i++;
    if (i == sizeof types / sizeof *types)
        return img_error_set(err, ENOTSUP, "Unsupported image type '%s'", s->create_type);
    if (s->foreign_text && image->flags & IMG_RDWR)
        return img_error_set(err, ENOTSUP, "An image whose descriptor is in UTF-16 can only be read");
    ret = vmdk_open_extents(image, text, options, err);
    return ret < 0 ? ret : vmdk_read_ids(image, text, backing_given, err);
}

/* The largest grain size; 0 if the grains are not all aligned to powers of two. */
static uint64_t common_unit(const struct vmdk *s, bool *same)
{
    uint64_t unit = 1;

    *same = true;
    for (size_t i = 0; i < s->extents.count; i++) {
        const struct vmdk_extent *extent = &s->extents.at[i];
        *same &= extent->grain == s->extents.at[0].grain;
        if (!extent->grain)
            continue;
        if (!img_power_of_two(extent->grain) || extent->start % extent->grain)
            return 0;
        unit = img_max(unit, extent->grain);
    }
    return unit;
}

/*
 * Set the unit of the image.  Compressed grains are decoded by unit, and writers are separated by it, so these need
 * an image with one unit.
 */
static int set_units(struct img *image, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    bool same;
    uint64_t unit = common_unit(s, &same);
    size_t coded = 0;

    for (size_t i = 0; i < s->extents.count; i++) {
        const struct vmdk_extent *extent = &s->extents.at[i];
        if (!extent->compressed)
            continue;
        if (extent->grain != unit || (coded && extent->markers != s->markers))
            return img_error_set(err, ENOTSUP, "Extents with compressed grains must have the same grain size and begin "
                                 "at multiples of it");
        s->markers = extent->markers;
        coded++;
    }
    if (unit == 0 && image->flags & IMG_RDWR)
        return img_error_set(err, ENOTSUP, "Images whose grains are not aligned can only be read");
    if (unit > 1 && (same || coded || image->flags & IMG_RDWR))
        image->limits.cluster = (uint32_t)unit;
    image->no_details = !same;
    image->coded_only = coded && coded == s->extents.count;
    return 0;
}

static void release(struct img *image)
{
    struct vmdk *s = vmdk_state(image);

    img_pages_free(s->pages);
    s->pages = NULL;
    if (s->stream) {
        vmdk_stream_free(s->stream);
        free(s->stream);
        s->stream = NULL;
    }
    free(s->forward);
    s->forward = NULL;
    for (size_t i = 0; i < s->extents.count; i++)
        free(s->extents.at[i].rebuilt);
    free(s->extents.at);
    s->extents.at = NULL;
    s->extents.count = 0;
}

/* Does a sparse header without sectors only carry the descriptor? */
static bool only_carries(const uint8_t *sector, uint64_t *descriptor)
{
    struct vmdk_header header;

    return vmdk_get_header(sector, &header) && header.capacity == 0 && header.descriptor &&
           img_mul(header.descriptor, VMDK_SECTOR, descriptor);
}

static bool has_magic(const uint8_t *sector)
{
    return img_get_le32(sector) == VMDK_MAGIC || img_get_le32(sector) == VMDK_COWD_MAGIC;
}

static int vmdk_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct img_doc *extents = img_doc_type(img_doc_get(options, "extents")) == IMG_DOC_OBJECT
                                  ? img_doc_take(options, "extents") : NULL;
    uint8_t sector[VMDK_SECTOR];
    bool backing_given = img_doc_get(options, "backing") != NULL;
    uint64_t descriptor = 0;
    int ret;

    (void)parsed;
    if (vmdk_open_tables(image) < 0) {
        img_doc_free(extents);
        return img_error_memory(err);
    }
    ret = img_size(image->file) < MIN_FILE
              ? img_error_set(err, EINVAL, "File is too small, not a valid image")
              : vmdk_read(image->file, sector, 0, sizeof sector);
    if (ret < 0 && !err->text)
        img_error_errno(err, -ret, "Could not read from file");
    if (ret == 0 && has_magic(sector) && !only_carries(sector, &descriptor))
        ret = vmdk_open_monolithic(image, backing_given, err);
    else if (ret == 0 && memcmp(sector, VMDK_SESPARSE_MARK, sizeof VMDK_SESPARSE_MARK - 1) == 0)
        ret = vmdk_refuse_part(image, err);
    else if (ret == 0)
        ret = open_descriptor(image, descriptor, extents, backing_given, err);
    if (ret == 0)
        ret = set_units(image, err);
    img_doc_free(extents);
    if (ret < 0)
        release(image);
    return ret;
}

static int vmdk_flush(struct img *image)
{
    return img_pages_write_aside(vmdk_state(image)->pages);
}

static int vmdk_close(struct img *image)
{
    int ret = vmdk_finish_stream(image);

    release(image);
    return ret;
}

static bool vmdk_zero_initialised(struct img *image)
{
    const struct vmdk *s = vmdk_state(image);

    for (size_t i = 0; i < s->extents.count; i++) {
        if (s->extents.at[i].kind == VMDK_FLAT && !img_zero_initialised(s->extents.at[i].file))
            return false;
    }
    return true;
}

const struct img_driver img_driver_vmdk = {
    IMG_ROW(
        .name = "vmdk", .kind = IMG_FORMAT, .alias = "vmdk3 vmdk4 vmware", .precedence = 2,
        /* A sparse extent of any kind, or a separate descriptor. */
        .marks = IMG_MARKS(IMG_AT(0, "KDMV"), IMG_OR, IMG_AT(0, "COWD"), IMG_OR,
                           IMG_AT(0, "\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0"), IMG_OR,
                           IMG_LINE("version=1"), IMG_OR, IMG_LINE("version=2"), IMG_OR, IMG_LINE("version=3"), IMG_OR,
                           IMG_TEXT("#DiskDescriptorFile"), IMG_OR, IMG_SETTING("version"), IMG_SETTING("createType"))
    ),
    .traits = IMG_CAN_BACK | IMG_CAN_COMPRESS | IMG_READS_FORWARD,
    .state_size = sizeof(struct vmdk),
    .options = vmdk_options,
    .create_size = sizeof(struct vmdk_create_options),
    .open = vmdk_open,
    .close = vmdk_close,
    .create = vmdk_create,
    .zero = vmdk_zero,
    .flush = vmdk_flush,
    .map = vmdk_map,
    .reserve = vmdk_reserve,
    .publish = vmdk_publish,
    .cancel = vmdk_cancel,
    .encode = vmdk_encode,
    .stream = &vmdk_stream_ops,
    .decode = vmdk_decode,
    .reserve_coded = vmdk_reserve_coded,
    .check = vmdk_check,
    .look_for_missing = vmdk_look_for_missing,
    .info = vmdk_info,
    .zero_initialised = vmdk_zero_initialised,
    .is_backing = vmdk_is_backing,
    .backing_refused = vmdk_backing_refused,
    .whole_name = vmdk_whole_name,
};
