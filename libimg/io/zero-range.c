/* SPDX-License-Identifier: MIT */
/* zero-range.c - writes zeroes in the cheapest way that the node supports, and discards. */
#include "io.h"
#include "request.h"
#include "node/trace.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/scratch.h"
#include <string.h>

enum { ZERO_BUFFER = 1 << 20 };

typedef int write_fn(struct img *image, const void *bytes, uint64_t offset, size_t length);

/* Write zeroes from a buffer. */
static int write_zeroes(struct img *image, uint64_t offset, uint64_t length, write_fn *write)
{
    size_t capacity = (size_t)img_min(length, ZERO_BUFFER);
    CLEANUP_SCRATCH void *zeroes = img_scratch_get_zeroed(capacity);
    int ret = 0;

    if (!zeroes)
        return -ENOMEM;
    while (ret == 0 && length > 0) {
        size_t part = (size_t)img_min(length, capacity);
        ret = write(image, zeroes, offset, part);
        offset += part;
        length -= part;
    }
    return ret;
}

/* A caller that zeroes units already holds them.  Compressed clusters are held one by one, by their writer. */
static write_fn *writer_of(const struct img *image)
{
    return image->coded_only ? img_pwrite : img_pwrite_held;
}

/* For formats. */
static int call_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret;

    if (length == 0)
        return 0;
    if (!image->driver->zero)
        return -ENOTSUP;
    pthread_mutex_lock(&image->lock);
    ret = image->driver->zero(image, offset, length, flags);
    pthread_mutex_unlock(&image->lock);
    img_decoded_forget(image, offset, length);
    return ret;
}

static int zero_or_write(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = call_zero(image, offset, length, flags);

    if (ret == -ENOTSUP && !(flags & IMG_ZERO_NO_FALLBACK))
        ret = write_zeroes(image, offset, length, writer_of(image));
    return ret;
}

/* Do the metadata say that the range reads as zeroes? */
static bool known_zero(struct img *image, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        struct img_extent extent;
        if (img_find_layer(image, NULL, offset, length, &extent) < 0 || extent.length == 0)
            return false;
        if (extent.kind != IMG_ZERO && extent.kind != IMG_HOLE)
            return false;
        offset += extent.length;
        length -= img_min(extent.length, length);
    }
    return true;
}

/* Zero a part of one unit.  If the rest of the unit is zero too, the whole becomes a zero unit. */
static int zero_piece(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t unit = img_write_unit(image), start = img_align_down(offset, unit);
    uint64_t end = img_min(start + unit, image->size), behind = offset + length;

    if (length == 0)
        return 0;
    if (image->driver->zero && known_zero(image, start, offset - start) && known_zero(image, behind, end - behind)) {
        int ret = call_zero(image, start, end - start, flags);
        if (ret != -ENOTSUP)
            return ret;
    }
    return flags & IMG_ZERO_NO_FALLBACK ? -ENOTSUP : write_zeroes(image, offset, length, writer_of(image));
}

static int zero_units(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t unit = img_write_unit(image), end = offset + length;
    uint64_t first = img_min(img_align_up(offset, unit), end);
    uint64_t last = end == image->size ? end : img_max(img_align_down(end, unit), first);
    int ret = zero_piece(image, offset, first - offset, flags);

    if (ret == 0 && last > first)
        ret = zero_or_write(image, first, last - first, flags);
    return ret ? ret : zero_piece(image, last, end - last, flags);
}

static int zero_format(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct img_range range;
    int ret;

    if (image->coded_only)
        return zero_units(image, offset, length, flags);
    img_hold_units(image, &range, offset, length);
    ret = zero_units(image, offset, length, flags);
    img_release_units(image, &range);
    return ret;
}

static int zero_below(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = image->guard ? image->guard(image, NULL, offset, (size_t)img_min(length, 512)) : 0;

    while (ret == 0 && length > 0) {
        struct img_extent extent;
        ret = img_map(image, offset, length, &extent);
        if (ret < 0)
            return ret;
        if (extent.length == 0)
            return -EIO;
        ret = img_zero(extent.file, extent.host, extent.length, flags);
        offset += extent.length;
        length -= extent.length;
    }
    return ret;
}

/* For storage and filters. */
static int zero_bytes(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = img_request_zero(image, offset, length, flags);

    if (ret == -ENOTSUP && !(flags & IMG_ZERO_NO_FALLBACK))
        return write_zeroes(image, offset, length, img_pwrite);
    img_written(image);
    return ret;
}

static int start_zero(struct img *image, uint64_t offset, uint64_t length, unsigned *flags)
{
    int ret = img_check_writable(image, offset, length);

    if (ret < 0 || length == 0)
        return ret;
    IMG_TRACE(zero, image, offset, length);
    if (image->keeps_discarded)
        *flags &= ~(unsigned)IMG_ZERO_MAY_UNMAP;
    return 1;
}

int img_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    unsigned how = flags & ~(unsigned)IMG_WRITE_FUA;
    int ret = start_zero(image, offset, length, &how);

    if (ret <= 0)
        return ret;
    if (image->driver->kind != IMG_FORMAT)
        ret = zero_bytes(image, offset, length, how);
    else if (image->driver->traits & IMG_PASS_THROUGH)
        ret = zero_below(image, offset, length, how);
    else
        ret = zero_format(image, offset, length, how);
    return ret == 0 && flags & IMG_WRITE_FUA ? img_flush(image) : ret;
}

int img_zero_held(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = start_zero(image, offset, length, &flags);

    return ret <= 0 ? ret : zero_units(image, offset, length, flags);
}

static int discard_below(struct img *image, uint64_t offset, uint64_t length)
{
    int ret = 0;

    while (ret == 0 && length > 0) {
        struct img_extent extent;
        ret = img_map(image, offset, length, &extent);
        if (ret == 0)
            ret = extent.length ? img_discard(extent.file, extent.host, extent.length) : -EIO;
        offset += extent.length;
        length -= extent.length;
    }
    return ret;
}

/* Advisory: partial clusters are kept. */
static int discard_clusters(struct img *image, uint64_t offset, uint64_t end)
{
    uint64_t unit = image->limits.cluster ? image->limits.cluster : 1, first = img_align_up(offset, unit);
    struct img_range range;
    int ret;

    if (end != image->size)
        end = img_align_down(end, unit);
    if (first >= end)
        return 0;
    img_hold_units(image, &range, first, end - first);
    pthread_mutex_lock(&image->lock);
    ret = image->driver->discard(image, first, end - first);
    pthread_mutex_unlock(&image->lock);
    img_decoded_forget(image, first, end - first);
    img_release_units(image, &range);
    return ret;
}

int img_discard(struct img *image, uint64_t offset, uint64_t length)
{
    int ret = img_check_writable(image, offset, length);

    if (ret < 0 || length == 0 || image->keeps_discarded)
        return ret;
    IMG_TRACE(discard, image, offset, length);
    if (image->driver->traits & IMG_PASS_THROUGH)
        return discard_below(image, offset, length);
    if (image->driver->kind == IMG_FORMAT)
        return image->driver->discard ? discard_clusters(image, offset, offset + length) : 0;
    ret = img_request_discard(image, offset, length);
    img_written(image);
    return ret;
}
