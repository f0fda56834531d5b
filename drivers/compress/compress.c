/* SPDX-License-Identifier: MIT */
/*
 * compress: a filter above a format with compression: what is written through it is stored compressed.  Since only a
 * whole cluster can be compressed, a partial write is completed with the bytes around it.
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/scratch.h"
#include <string.h>

static int compress_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct img_driver *below = img_driver_of(img_behind_filters(image->file));

    (void)parsed, (void)options;
    if (!img_driver_can_compress(below))
        return img_error_set(err, ENOTSUP, "Compression is not supported for underlying format: %s",
                             image->file->driver->name);
    /* Partial writes of one cluster must not overlap. */
    image->limits.lock_unit = image->limits.cluster;
    return 0;
}

static int write_piece(struct img *image, const void *buffer, uint64_t offset, size_t length, uint64_t start,
                       size_t whole)
{
    CLEANUP_SCRATCH char *cluster = img_scratch_get(whole);
    int ret;

    if (!cluster)
        return -ENOMEM;
    ret = img_pread(image->file, cluster, start, whole);
    if (ret < 0)
        return ret;
    memcpy(cluster + (offset - start), buffer, length);
    return img_pwrite_compressed(image->file, cluster, start, whole);
}

static int compress_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    const char *bytes = buffer;
    uint64_t unit = img_cluster_size(image->file);
    int ret = 0;

    (void)flags;
    while (ret == 0 && length > 0) {
        uint64_t start = img_align_down(offset, unit);
        size_t whole = (size_t)img_min(unit, image->size - start);
        size_t part = (size_t)img_min(length, start + whole - offset);

        ret = part == whole ? img_pwrite_compressed(image->file, bytes, offset, part)
                            : write_piece(image, bytes, offset, part, start, whole);
        bytes += part;
        offset += part;
        length -= part;
    }
    return ret;
}

const struct img_driver img_driver_compress = {
    IMG_ROW(
        .name = "compress", .kind = IMG_FILTER
    ),
    .traits = IMG_COMPRESSES,
    .open = compress_open, .pwrite = compress_pwrite,
};
