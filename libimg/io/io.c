/* SPDX-License-Identifier: MIT */
/*
 * io.c - guest bytes: reads through map, writes through reserve and publish.
 *
 * The lock of a format node is held around driver calls only, never while data move.  A write stores its data first and
 * links them in afterwards, so an interrupted write leaves the old content.
 */
#include "io.h"
#include "cipher-node.h"
#include "request.h"
#include "waiting.h"
#include "node/trace.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/scratch.h"
#include <string.h>

/* Up to this size, a write and the old bytes around it are written at once. */
enum { MERGE_LIMIT = 256 << 10 };

static bool is_format(const struct img *image)
{
    return image->driver->kind == IMG_FORMAT;
}

static bool passes_through(const struct img *image)
{
    return (image->driver->traits & IMG_PASS_THROUGH) != 0;
}

void img_grew_to(struct img *image, uint64_t end)
{
    uint64_t size = img_size(image);

    while (size < end && !__atomic_compare_exchange_n(&image->size, &size, end, true, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED)) { }
}

/* ---- Locking units ---------------------------------------------------------------- */

uint64_t img_lock_unit(const struct img *image)
{
    const struct img_limits *limits = &image->limits;

    if (limits->lock_unit)
        return limits->lock_unit;
    return is_format(image) && limits->cluster ? limits->cluster : 1;
}

static void hold(struct img *image, struct img_range *range, uint64_t offset, uint64_t length, bool alone)
{
    uint64_t unit = img_lock_unit(image);

    img_range_acquire(&img_node_of(image)->ranges, range, img_align_down(offset, unit),
                      img_align_up(offset + length, unit), alone);
}

void img_hold_units(struct img *image, struct img_range *range, uint64_t offset, uint64_t length)
{
    hold(image, range, offset, length, true);
}

void img_release_units(struct img *image, struct img_range *range)
{
    img_range_release(&img_node_of(image)->ranges, range);
}

/* ---- Reading ------------------------------------------------------------------ */

int img_read_extent(const struct img_extent *extent, void *buffer, uint64_t offset, size_t length)
{
    uint64_t host = extent->host + (offset - extent->offset);

    if (extent->stale) {
        if (extent->stale->driver->backing_refused)
            extent->stale->driver->backing_refused(extent->stale);
        return -EINVAL;
    }
    if (extent->via && (extent->kind == IMG_DATA || extent->kind == IMG_CODED))
        return img_pread(extent->via, buffer, offset, length);
    switch (extent->kind) {
    case IMG_HOLE:
    case IMG_ZERO:
        memset(buffer, 0, length);
        return 0;
    case IMG_CODED:
        return img_decoded_read(extent->layer, extent, buffer, offset, length);
    case IMG_DATA:
        break;
    }
    if (img_extent_there(extent, offset, length) < length)
        return img_extent_lacks(extent);
    IMG_EVENT(extent->file, read_aio);
    return img_pread_for(extent->file, buffer, host, length, offset);
}

static int read_mapped(struct img *image, unsigned char *buffer, uint64_t offset, size_t length)
{
    while (length > 0) {
        struct img_extent extent;
        size_t part;
        int ret = img_find_layer(image, NULL, offset, length, &extent);

        if (ret < 0)
            return ret;
        part = (size_t)img_min(extent.length, length);
        if (part == 0)
            return -EIO;
        ret = img_read_extent(&extent, buffer, offset, part);
        if (ret < 0)
            return ret;
        buffer += part;
        offset += part;
        length -= part;
    }
    return 0;
}

/* Read guest bytes of a format.  A caller that must exclude writers holds the range. */
static int read_guest(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    if (!image->driver->pread)
        return read_mapped(image, buffer, offset, length);
    if (image->driver->traits & IMG_READS_CONCURRENTLY)
        return image->driver->pread(image, buffer, offset, length);
    LOCK_SCOPE(&image->lock);
    return image->driver->pread(image, buffer, offset, length);
}

/* Hold the range: a mapped cluster must not be freed and reused before it is read. */
static int read_beside_writers(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct img_range range;
    int ret;

    hold(image, &range, offset, length, false);
    ret = read_guest(image, buffer, offset, length);
    img_release_units(image, &range);
    return ret;
}

int img_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    if (length == 0)
        return 0;
    IMG_TRACE(read, image, offset, length);
    if (!is_format(image))
        return offset > (uint64_t)INT64_MAX - length ? -EINVAL : img_request_read(image, buffer, offset, length);
    if (!img_within(offset, length, image->size))
        return -EINVAL;
    if (image->flags & IMG_RDWR && !passes_through(image))
        return read_beside_writers(image, buffer, offset, length);
    return read_guest(image, buffer, offset, length);
}

int img_pread_padded(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    uint64_t size = img_size(image);
    size_t there = offset < size ? (size_t)img_min(length, size - offset) : 0;

    memset((unsigned char *)buffer + there, 0, length - there);
    return there ? img_pread(image, buffer, offset, there) : 0;
}

/* ---- Writing -------------------------------------------------------------------- */

int img_check_writable(const struct img *image, uint64_t offset, uint64_t length)
{
    if (img_read_only(image))
        return -EPERM;
    /* Writing beyond the end extends a storage, also through a filter. */
    if (img_behind_filters(image)->driver->kind == IMG_FORMAT)
        return img_within(offset, length, image->size) ? 0 : -EINVAL;
    return img_within(offset, length, INT64_MAX) ? 0 : -EINVAL;
}

/* Write the new bytes, and the old ones around them, at once. */
static int write_merged(struct img *image, const struct img_reservation *at, const void *buffer)
{
    size_t head = (size_t)at->head, tail = (size_t)at->tail, length = (size_t)at->length;
    CLEANUP_SCRATCH unsigned char *all = img_scratch_get(head + length + tail);
    int ret;

    if (!all)
        return -ENOMEM;
    IMG_EVENT(at->file, cow_read);
    ret = head ? read_guest(image, all, at->offset - head, head) : 0;
    if (ret == 0 && tail)
        ret = read_guest(image, all + head + length, at->offset + length, tail);
    if (ret < 0)
        return ret;
    memcpy(all + head, buffer, length);
    IMG_EVENT(at->file, cow_write);
    return img_pwrite_for(at->file, all, at->host - head, head + length + tail, at->offset - head);
}

/* Copy old guest bytes to their new place. */
static int copy_old(struct img *image, struct img *file, uint64_t offset, uint64_t host, uint64_t length)
{
    size_t capacity = (size_t)img_min(length, MERGE_LIMIT);
    CLEANUP_SCRATCH void *bytes = NULL;

    if (length == 0)
        return 0;
    bytes = img_scratch_get(capacity);
    if (!bytes)
        return -ENOMEM;
    while (length > 0) {
        size_t part = (size_t)img_min(length, capacity);
        int ret;
        IMG_EVENT(file, cow_read);
        ret = read_guest(image, bytes, offset, part);
        IMG_EVENT(file, cow_write);
        if (ret == 0)
            ret = img_pwrite_for(file, bytes, host, part, offset);
        if (ret < 0)
            return ret;
        offset += part;
        host += part;
        length -= part;
    }
    return 0;
}

static int write_reserved(struct img *image, const struct img_reservation *at, const void *buffer)
{
    int ret;

    IMG_EVENT(at->file, write_aio);
    if (at->head == 0 && at->tail == 0)
        return img_pwrite_for(at->file, buffer, at->host, (size_t)at->length, at->offset);
    if (at->head + at->length + at->tail <= MERGE_LIMIT)
        return write_merged(image, at, buffer);
    ret = copy_old(image, at->file, at->offset - at->head, at->host - at->head, at->head);
    if (ret == 0)
        ret = img_pwrite_for(at->file, buffer, at->host, (size_t)at->length, at->offset);
    if (ret == 0)
        ret = copy_old(image, at->file, at->offset + at->length, at->host + at->length, at->tail);
    return ret;
}

static int reserve(struct img *image, uint64_t offset, size_t length, struct img_reservation *at)
{
    int ret;

    IMG_TRACE(reserve, image, offset, length);
    pthread_mutex_lock(&image->lock);
    image->patience = IMG_RESERVE_PATIENCE;
    do {
        *at = (struct img_reservation){ .offset = offset };
        ret = image->driver->reserve(image, offset, length, at);
    } while (ret == IMG_LOOK_AGAIN);
    image->patience = 0;
    pthread_mutex_unlock(&image->lock);
    return ret;
}

int img_settle(struct img *image, struct img_reservation *at, int error)
{
    if (error == 0) {
        IMG_TRACE(publish, image, at->offset, at->length);
        return image->driver->publish(image, at);
    }
    if (image->driver->cancel)
        image->driver->cancel(image, at);
    return error;
}

static int settle(struct img *image, struct img_reservation *at, int error)
{
    if (at->published)
        return error;
    LOCK_SCOPE(&image->lock);
    return img_settle(image, at, error);
}

bool img_places(const struct img *image)
{
    return is_format(image) && !passes_through(image) && image->driver->reserve &&
           !image->coded_only && !image->detect_zeroes && img_check_writable(image, 0, 0) == 0;
}

int img_place(struct img *image, uint64_t offset, size_t length, struct img_reservation *at)
{
    int ret = reserve(image, offset, length, at);

    if (ret == 0 && (at->length == 0 || at->length > length || at->head > offset))
        return settle(image, at, -EIO);
    return ret;
}

int img_fill(struct img *image, struct img_reservation *at, const void *buffer, int error)
{
    int ret = settle(image, at, error || !buffer ? error : write_reserved(image, at, buffer));

    img_decoded_forget(image, at->offset - at->head, at->head + at->length + at->tail);
    return ret;
}

int img_pwrite_held(struct img *image, const void *bytes, uint64_t offset, size_t length)
{
    const unsigned char *buffer = bytes;

    while (length > 0) {
        struct img_reservation at;
        int ret = img_place(image, offset, length, &at);

        if (ret == 0)
            ret = img_fill(image, &at, buffer, 0);
        if (ret < 0)
            return ret;
        buffer += at.length;
        offset += at.length;
        length -= (size_t)at.length;
    }
    return 0;
}

static int write_through(struct img *image, const unsigned char *buffer, uint64_t offset, size_t length,
                         unsigned flags)
{
    int ret = image->guard ? image->guard(image, buffer, offset, length) : 0;

    while (ret == 0 && length > 0) {
        struct img_extent extent;
        size_t part;
        ret = img_map(image, offset, length, &extent);
        if (ret < 0)
            return ret;
        part = (size_t)img_min(extent.length, length);
        IMG_EVENT(extent.file, write_aio);
        ret = part ? img_pwrite_flags(extent.file, buffer, extent.host, part, flags) : -EIO;
        buffer += part;
        offset += part;
        length -= part;
    }
    return ret;
}

/* detect-zeroes.  Returns 0 if the range was zeroed. */
static int write_as_zeroes(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    flags |= IMG_ZERO_NO_FALLBACK | (image->detect_zeroes == IMG_DETECT_UNMAP ? IMG_ZERO_MAY_UNMAP : 0u);
    return img_is_zero(buffer, length) ? img_zero(image, offset, length, flags) : -ENOTSUP;
}

/* An image that has compressed clusters only. */
static int write_coded(struct img *image, const unsigned char *buffer, uint64_t offset, size_t length)
{
    int ret = 0;

    while (ret == 0 && length > 0) {
        size_t part = (size_t)img_min(length, image->limits.cluster);
        ret = img_pwrite_compressed(image, buffer, offset, part);
        buffer += part;
        offset += part;
        length -= part;
    }
    return ret;
}

static int write_guest(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    struct img_range range;
    int ret;

    if (image->coded_only)
        return write_coded(image, buffer, offset, length);
    if (!image->driver->reserve)
        return -ENOTSUP;
    img_hold_units(image, &range, offset, length);
    ret = img_pwrite_held(image, buffer, offset, length);
    img_release_units(image, &range);
    return ret;
}

/* Storage and filters: pass the bytes on unchanged. */
static int write_bytes(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct img_range range;
    bool alone = image->limits.lock_unit > 1;
    int ret;

    if (alone)
        img_hold_units(image, &range, offset, length);
    ret = img_request_write(image, buffer, offset, length, flags);
    if (alone)
        img_release_units(image, &range);
    /* A failed write may have changed a part. */
    img_written(image);
    return ret;
}

/* Does the driver, or do the nodes below it, handle IMG_WRITE_FUA? */
static bool writes_fua(const struct img *image)
{
    unsigned traits = image->driver->traits;

    if (image->driver->kind == IMG_FILTER)
        return !(traits & IMG_COMPRESSES);
    return (traits & (IMG_WRITES_FUA | IMG_PASS_THROUGH)) != 0;
}

int img_pwrite_flags(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    unsigned kept = writes_fua(image) ? flags : flags & ~(unsigned)IMG_WRITE_FUA;
    int ret = img_check_writable(image, offset, length);

    if (ret < 0 || length == 0)
        return ret;
    IMG_TRACE(write, image, offset, length);
    if (image->detect_zeroes && write_as_zeroes(image, buffer, offset, length, kept) == 0)
        ret = 0;
    else if (!is_format(image))
        ret = write_bytes(image, buffer, offset, length, kept);
    else if (passes_through(image))
        ret = write_through(image, buffer, offset, length, kept);
    else
        ret = write_guest(image, buffer, offset, length);
    return ret == 0 && flags != kept ? img_flush(image) : ret;
}

int img_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    return img_pwrite_flags(image, buffer, offset, length, 0);
}

int img_pwrite_compressed(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    uint32_t unit = image->limits.cluster;
    CLEANUP_SCRATCH void *coded = NULL;
    struct coded_cluster cluster = { .offset = offset };
    int64_t n;
    int ret = img_check_writable(image, offset, length);

    if (ret < 0)
        return ret;
    if (image->driver->kind == IMG_FILTER && image->driver->traits & IMG_COMPRESSES)
        return img_pwrite_compressed(image->file, buffer, offset, length);
    if (!image->driver->encode || !image->driver->reserve_coded)
        return -ENOTSUP;
    if (length == 0 || offset % unit || (length != unit && (length > unit || offset + length != image->size)))
        return -EINVAL;
    coded = img_scratch_get(img_coded_bound(image));
    if (!coded)
        return -ENOMEM;
    n = img_encode_cluster(image, buffer, length, coded, img_coded_bound(image));
    if (n == -ENOSPC && !image->coded_only)
        return img_pwrite(image, buffer, offset, length);
    if (n < 0)
        return (int)n;
    cluster.bytes = coded;
    cluster.length = (size_t)n;
    return img_pwrite_coded(image, &cluster, 1);
}
