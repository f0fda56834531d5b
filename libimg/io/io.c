/* SPDX-License-Identifier: MIT */
/*
 * io.c - guest bytes: reading through map, writing through reserve and publish.
 *
 * The lock of a format node is held around calls of its driver only, never
 * while bytes move.  A write puts its data in place first and is linked in
 * afterwards, so what is cut short shows the old content.
 */
#include "io.h"
#include "waiting.h"
#include "node/trace.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include <string.h>

/* Up to here the bytes around a write go out with it in one piece. */
enum { MERGE_LIMIT = 256 << 10 };

static bool is_format(const struct img *image)
{
    return image->driver->kind == IMG_FORMAT;
}

static bool is_filter(const struct img *image)
{
    return image->driver->kind == IMG_FILTER;
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

/* ---- Reading ------------------------------------------------------------------ */

/* What lies behind the end of the storage reads as zeroes: metadata may point there. */
static int read_storage(struct img *image, unsigned char *buffer, uint64_t offset, size_t length)
{
    uint64_t size = img_size(image);
    size_t inside = offset < size ? (size_t)img_min(length, size - offset) : 0;

    memset(buffer + inside, 0, length - inside);
    return inside ? image->driver->pread(image, buffer, offset, inside) : 0;
}

int img_read_extent(const struct img_extent *extent, void *buffer, uint64_t offset, size_t length)
{
    uint64_t host = extent->host + (offset - extent->offset);

    if (extent->stale)
        return -EINVAL;
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
    IMG_EVENT(extent->file, read_aio);
    return img_pread(extent->file, buffer, host, length);
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

int img_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    if (length == 0)
        return 0;
    IMG_TRACE(read, image, offset, length);
    if (image->driver->kind == IMG_PROTOCOL)
        return offset > INT64_MAX - length ? -EINVAL : read_storage(image, buffer, offset, length);
    if (is_filter(image))
        return image->driver->pread ? image->driver->pread(image, buffer, offset, length)
                                    : img_pread(image->file, buffer, offset, length);
    if (!img_within(offset, length, image->size))
        return -EINVAL;
    if (!image->driver->pread)
        return read_mapped(image, buffer, offset, length);
    if (image->driver->traits & IMG_READS_CONCURRENTLY)
        return image->driver->pread(image, buffer, offset, length);
    LOCK_SCOPE(&image->lock);
    return image->driver->pread(image, buffer, offset, length);
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
    /* Storage becomes longer by what is written behind its end, also through a filter. */
    if (img_behind_filters(image)->driver->kind == IMG_FORMAT)
        return img_within(offset, length, image->size) ? 0 : -EINVAL;
    return img_within(offset, length, INT64_MAX) ? 0 : -EINVAL;
}

static void forget_decoded(struct img *image, uint64_t offset, uint64_t length)
{
    if (image->decoded)
        img_decoded_forget(image, offset, length);
}

/* The new bytes with the old ones around them, in one write. */
static int write_merged(struct img *image, const struct img_reservation *at, const void *buffer)
{
    size_t head = (size_t)at->head, tail = (size_t)at->tail, length = (size_t)at->length;
    CLEANUP_FREE unsigned char *all = malloc(head + length + tail);
    int ret;

    if (!all)
        return -ENOMEM;
    IMG_EVENT(at->file, cow_read);
    ret = img_pread(image, all, at->offset - head, head);
    if (ret == 0)
        ret = img_pread(image, all + head + length, at->offset + length, tail);
    if (ret < 0)
        return ret;
    memcpy(all + head, buffer, length);
    IMG_EVENT(at->file, cow_write);
    return img_pwrite(at->file, all, at->host - head, head + length + tail);
}

/* Old guest bytes to their new place. */
static int copy_old(struct img *image, struct img *file, uint64_t offset, uint64_t host, uint64_t length)
{
    size_t capacity = (size_t)img_min(length, MERGE_LIMIT);
    CLEANUP_FREE void *bytes = NULL;

    if (length == 0)
        return 0;
    bytes = malloc(capacity);
    if (!bytes)
        return -ENOMEM;
    while (length > 0) {
        size_t part = (size_t)img_min(length, capacity);
        int ret;
        IMG_EVENT(file, cow_read);
        ret = img_pread(image, bytes, offset, part);
        IMG_EVENT(file, cow_write);
        if (ret == 0)
            ret = img_pwrite(file, bytes, host, part);
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
        return img_pwrite(at->file, buffer, at->host, (size_t)at->length);
    if (at->head + at->length + at->tail <= MERGE_LIMIT)
        return write_merged(image, at, buffer);
    ret = copy_old(image, at->file, at->offset - at->head, at->host - at->head, at->head);
    if (ret == 0)
        ret = img_pwrite(at->file, buffer, at->host, (size_t)at->length);
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
    return is_format(image) && !passes_through(image) && !image->driver->pwrite && image->driver->reserve &&
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

    forget_decoded(image, at->offset - at->head, at->head + at->length + at->tail);
    return ret;
}

static int write_mapped(struct img *image, const unsigned char *buffer, uint64_t offset, size_t length)
{
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

static int write_through(struct img *image, const unsigned char *buffer, uint64_t offset, size_t length)
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
        ret = part ? img_pwrite(extent.file, buffer, extent.host, part) : -EIO;
        buffer += part;
        offset += part;
        length -= part;
    }
    return ret;
}

/* detect-zeroes: 0 when that did it. */
static int write_as_zeroes(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    unsigned flags = IMG_ZERO_NO_FALLBACK | (image->detect_zeroes == IMG_DETECT_UNMAP ? IMG_ZERO_MAY_UNMAP : 0u);

    return img_is_zero(buffer, length) ? img_zero(image, offset, length, flags) : -ENOTSUP;
}

/* An image of nothing but coded clusters. */
static int write_coded(struct img *image, const unsigned char *buffer, uint64_t offset, size_t length)
{
    int ret = 0;

    while (ret == 0 && length > 0) {
        size_t part = (size_t)img_min(length, image->cluster_size);
        ret = img_pwrite_compressed(image, buffer, offset, part);
        buffer += part;
        offset += part;
        length -= part;
    }
    return ret;
}

static int write_filter(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    int ret = image->driver->pwrite ? image->driver->pwrite(image, buffer, offset, length)
                                    : img_pwrite(image->file, buffer, offset, length);

    if (ret == 0)
        img_grew_to(image, offset + length);
    return ret;
}

int img_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    int ret = img_check_writable(image, offset, length);

    if (ret < 0 || length == 0)
        return ret;
    IMG_TRACE(write, image, offset, length);
    if (image->detect_zeroes && write_as_zeroes(image, buffer, offset, length) == 0)
        return 0;
    if (is_filter(image))
        return write_filter(image, buffer, offset, length);
    if (passes_through(image))
        return write_through(image, buffer, offset, length);
    if (image->coded_only)
        return write_coded(image, buffer, offset, length);
    if (!image->driver->pwrite)
        return image->driver->reserve ? write_mapped(image, buffer, offset, length) : -ENOTSUP;
    if (is_format(image)) {
        LOCK_SCOPE(&image->lock);
        return image->driver->pwrite(image, buffer, offset, length);
    }
    ret = image->driver->pwrite(image, buffer, offset, length);
    if (ret == 0)
        img_grew_to(image, offset + length);
    return ret;
}

int img_pwrite_compressed(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    uint32_t unit = image->cluster_size;
    CLEANUP_FREE void *coded = NULL;
    struct coded_cluster cluster = { .offset = offset };
    int64_t n;
    int ret = img_check_writable(image, offset, length);

    if (ret < 0)
        return ret;
    if (is_filter(image) && image->driver->traits & IMG_COMPRESSES)
        return img_pwrite_compressed(image->file, buffer, offset, length);
    if (!image->driver->encode || !image->driver->reserve_coded)
        return -ENOTSUP;
    if (length == 0 || offset % unit || (length != unit && (length > unit || offset + length != image->size)))
        return -EINVAL;
    coded = malloc(img_coded_bound(image));
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

/* ---- Flushing ----------------------------------------------------------------------- */

static int flush_node(struct img *image)
{
    IMG_TRACE(flush, image, 0, 0);
    if (!image->driver->flush)
        return 0;
    if (is_filter(image))
        return image->driver->flush(image);
    if (!is_format(image))
        return img_cache_unsafe(image->cache) ? 0 : image->driver->flush(image);
    LOCK_SCOPE(&image->lock);
    return image->driver->flush(image);
}

int img_flush(struct img *image)
{
    struct img *child;
    const char *name;
    int ret;

    if (!(image->flags & IMG_RDWR))
        return 0;
    if (image->file)
        IMG_EVENT(image->file, flush_to_os);
    ret = flush_node(image);
    if (image->file)
        IMG_EVENT(image->file, flush_to_disk);
    for (size_t i = 0; ret == 0 && (child = img_child_at(image, i, &name)); i++)
        ret = child == image->backing ? 0 : img_flush(child);
    return ret;
}

int img_barrier(struct img *image)
{
    return img_cache_unsafe(image->cache) ? 0 : img_flush(image->file);
}
