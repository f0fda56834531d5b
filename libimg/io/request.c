/* SPDX-License-Identifier: MIT */
/* request.c - splits and aligns requests to the limits of a node (see request.h). */
#include "request.h"
#include "answers.h"
#include "io.h"
#include "util/checked.h"
#include "util/scratch.h"
#include <string.h>

/* Largest bounce buffer; a longer request is split. */
#define BOUNCE_BYTES (1u << 20)
/* Maximum number of extents per answer of a storage. */
enum { ASKED_FOR = 32 };

/* ---- Limits of the node ------------------------------------------------------- */

static uint64_t bound(uint64_t length, uint64_t most)
{
    return most ? img_min(length, most) : length;
}

static bool aligned_to(const struct img *image, uint64_t number)
{
    return (number & (image->limits.request_alignment - 1)) == 0;
}

static bool memory_fits(const struct img *image, const void *buffer)
{
    return ((uintptr_t)buffer & (image->limits.memory_alignment - 1)) == 0;
}

/* How much of a request goes through a bounce buffer at once. */
static size_t bounce_length(const struct img *image, uint64_t length)
{
    const struct img_limits *limits = &image->limits;
    uint64_t most = img_max(bound(BOUNCE_BYTES, limits->max_transfer), limits->request_alignment);

    return (size_t)img_min(img_align_up(length, limits->request_alignment), most);
}

/* ---- Driver calls ----------------------------------------------------------------- */

static void event(struct img *image, enum img_event what)
{
    if (image->driver->event)
        image->driver->event(image, what);
}

static int call_read(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    char *bytes = buffer;
    int ret = 0;

    while (ret == 0 && length > 0) {
        size_t part = (size_t)bound(length, image->limits.max_transfer);
        ret = image->driver->pread ? image->driver->pread(image, bytes, offset, part)
                                   : img_pread(image->file, bytes, offset, part);
        bytes += part;
        offset += part;
        length -= part;
    }
    return ret;
}

static int call_write(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    const char *bytes = buffer;
    int ret = 0;

    event(image, IMG_EVENT_pwritev);
    while (ret == 0 && length > 0) {
        size_t part = (size_t)bound(length, image->limits.max_transfer);
        ret = image->driver->pwrite ? image->driver->pwrite(image, bytes, offset, part, flags)
                                    : img_pwrite_flags(image->file, bytes, offset, part, flags);
        bytes += part;
        offset += part;
        length -= part;
    }
    event(image, IMG_EVENT_pwritev_done);
    return ret;
}

/* ---- Reading ------------------------------------------------------------------------ */

/*
 * Read whole blocks.  The last one may extend beyond the end of the node: that part is zero.  A storage does this
 * itself, but the node below a filter may end at the unaligned end.
 */
static int read_blocks(struct img *image, char *blocks, uint64_t start, size_t length)
{
    uint64_t size = img_size(image);
    size_t inside = length;

    if (image->driver->kind == IMG_FILTER && start + length > size)
        inside = start < size ? (size_t)(size - start) : 0;
    memset(blocks + inside, 0, length - inside);
    return inside ? call_read(image, blocks, start, inside) : 0;
}

static int read_bounced(struct img *image, char *buffer, uint64_t offset, size_t length)
{
    uint32_t unit = image->limits.request_alignment;
    size_t capacity = bounce_length(image, (offset & (unit - 1)) + length);
    char *bounce = img_scratch_get(capacity);
    int ret = bounce ? 0 : -ENOMEM;

    while (ret == 0 && length > 0) {
        uint64_t start = img_align_down(offset, unit);
        size_t skip = (size_t)(offset - start), part = (size_t)img_min(length, capacity - skip);
        ret = read_blocks(image, bounce, start, (size_t)img_align_up(skip + part, unit));
        if (ret == 0)
            memcpy(buffer, bounce + skip, part);
        buffer += part;
        offset += part;
        length -= part;
    }
    img_scratch_put(bounce);
    return ret;
}

/* Beyond the end, a storage reads as zeroes, since metadata may point there.  A filter asks the node below. */
static size_t before_end(const struct img *image, uint64_t offset, size_t length)
{
    uint64_t size = img_size(image);

    if (image->driver->kind == IMG_FILTER && image->file->driver->kind != IMG_FORMAT)
        return length;
    return offset < size ? (size_t)img_min(length, size - offset) : 0;
}

int img_request_read(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    size_t inside = before_end(image, offset, length);

    memset((char *)buffer + inside, 0, length - inside);
    if (inside == 0)
        return 0;
    if (aligned_to(image, offset | inside) && memory_fits(image, buffer))
        return call_read(image, buffer, offset, inside);
    return read_bounced(image, buffer, offset, inside);
}

/* ---- Writing ------------------------------------------------------------------------- */

/* Where the write-back of a block ends: at the old or the new end of the node at the latest. */
static uint64_t end_of_block(const struct img *image, uint64_t start, uint64_t end)
{
    return img_min(start + image->limits.request_alignment, img_max(img_size(image), end));
}

/* Write bytes within one block, which the caller has locked for itself. */
static int write_edge(struct img *image, const void *bytes, uint64_t offset, size_t length, unsigned flags, bool head)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t start = img_align_down(offset, unit);
    char *block = img_scratch_get(unit);
    int ret;

    if (!block)
        return -ENOMEM;
    event(image, head ? IMG_EVENT_pwritev_rmw_head : IMG_EVENT_pwritev_rmw_tail);
    ret = read_blocks(image, block, start, unit);
    event(image, head ? IMG_EVENT_pwritev_rmw_after_head : IMG_EVENT_pwritev_rmw_after_tail);
    if (ret == 0) {
        memcpy(block + (offset - start), bytes, length);
        ret = call_write(image, block, start, (size_t)(end_of_block(image, start, offset + length) - start), flags);
    }
    img_scratch_put(block);
    return ret;
}

/* Write whole blocks, or up to the end of the node. */
static int write_body(struct img *image, const char *bytes, uint64_t offset, size_t length, unsigned flags)
{
    size_t capacity;
    char *bounce;
    int ret = 0;

    if (memory_fits(image, bytes))
        return call_write(image, bytes, offset, length, flags);
    capacity = bounce_length(image, length);
    bounce = img_scratch_get(capacity);
    if (!bounce)
        return -ENOMEM;
    while (ret == 0 && length > 0) {
        size_t part = (size_t)img_min(length, capacity);
        memcpy(bounce, bytes, part);
        ret = call_write(image, bounce, offset, part, flags);
        bytes += part;
        offset += part;
        length -= part;
    }
    img_scratch_put(bounce);
    return ret;
}

/* Does the request need no old bytes, since it covers whole blocks, or ends at the end of the node? */
static bool whole_blocks(const struct img *image, uint64_t offset, uint64_t end)
{
    return aligned_to(image, offset) && (aligned_to(image, end) || end >= img_size(image));
}

static int write_blocks(struct img *image, const char *bytes, uint64_t offset, size_t length, unsigned flags)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t end = offset + length;
    size_t head = (size_t)img_min(img_align_up(offset, unit) - offset, length);
    size_t tail = head == length || whole_blocks(image, offset + head, end) ? 0 : (size_t)(end & (unit - 1));
    size_t body = length - head - tail;
    int ret = 0;

    if (head > 0)
        ret = write_edge(image, bytes, offset, head, flags, true);
    if (ret == 0 && body > 0)
        ret = write_body(image, bytes + head, offset + head, body, flags);
    if (ret == 0 && tail > 0)
        ret = write_edge(image, bytes + head + body, end - tail, tail, flags, false);
    return ret;
}

/*
 * Lock the blocks of a range, exclusively if one is written in part.  Writes of whole blocks may run beside each other,
 * but never between the read and the write-back of a partial one.
 */
static void hold_blocks(struct img *image, struct img_range *range, uint64_t offset, uint64_t end, bool alone)
{
    uint32_t unit = image->limits.request_alignment;

    img_range_acquire(&img_node_of(image)->ranges, range, img_align_down(offset, unit), img_align_up(end, unit), alone);
}

static void let_go(struct img *image, struct img_range *range)
{
    img_range_release(&img_node_of(image)->ranges, range);
}

/* Set the new end before the blocks are unlocked: the next request reads up to it. */
static int done_to(struct img *image, uint64_t end, int ret)
{
    if (ret == 0)
        img_grew_to(image, end);
    return ret;
}

/* Drop cached answers for the range, also after a failure. */
static int changed(struct img *image, uint64_t offset, uint64_t length, int ret)
{
    if (image->limits.round_trip)
        img_answers_forget(image, offset, length);
    return ret;
}

static int write_range(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct img_range range;
    int ret;

    if (image->limits.request_alignment == 1)
        return done_to(image, offset + length, write_body(image, buffer, offset, length, flags));
    /* The end of the node can move meanwhile, so an unaligned request locks its blocks exclusively. */
    hold_blocks(image, &range, offset, offset + length, !aligned_to(image, offset | length));
    ret = done_to(image, offset + length, write_blocks(image, buffer, offset, length, flags));
    let_go(image, &range);
    return ret;
}

int img_request_write(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    return changed(image, offset, length, write_range(image, buffer, offset, length, flags));
}

/* ---- Zeroes and discards ------------------------------------------------------------------ */

static uint64_t zero_unit(const struct img *image)
{
    return img_max(image->limits.write_zeroes_alignment, image->limits.request_alignment);
}

/* Length of the next piece: at most `most` bytes, and a multiple of the unit if longer than one. */
static uint64_t piece_of(uint64_t length, uint64_t most, uint64_t unit)
{
    if (most > unit)
        most = most / unit * unit;
    return bound(length, most);
}

static int call_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = 0;

    if (!image->driver->zero && image->driver->kind != IMG_FILTER)
        return -ENOTSUP;
    event(image, IMG_EVENT_pwritev_zero);
    while (ret == 0 && length > 0) {
        uint64_t part = piece_of(length, image->limits.max_write_zeroes, zero_unit(image));
        ret = image->driver->zero ? image->driver->zero(image, offset, part, flags)
                                  : img_zero(image->file, offset, part, flags);
        offset += part;
        length -= part;
    }
    event(image, IMG_EVENT_pwritev_done);
    /* A storage knows its own length: a hole beyond the end does not extend it. */
    return image->driver->kind == IMG_FILTER ? done_to(image, img_size(image->file), ret) : ret;
}

/* Zero part of a block. */
static int zero_edge(struct img *image, uint64_t offset, size_t length, bool head)
{
    char *zeroes;
    int ret;

    if (length == 0)
        return 0;
    zeroes = img_scratch_get_zeroed(length);
    if (!zeroes)
        return -ENOMEM;
    ret = done_to(image, offset + length, write_edge(image, zeroes, offset, length, 0, head));
    img_scratch_put(zeroes);
    return ret;
}

static int zero_blocks(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t end = offset + length, first = img_min(img_align_up(offset, unit), end);
    uint64_t last = whole_blocks(image, first, end) ? end : img_max(img_align_down(end, unit), first);
    int ret = 0;

    /* Return -ENOTSUP before anything is written. */
    if (last > first)
        ret = call_zero(image, first, last - first, flags);
    else if (flags & IMG_ZERO_NO_FALLBACK)
        return -ENOTSUP;
    if (ret == 0)
        ret = zero_edge(image, offset, (size_t)(first - offset), true);
    return ret ? ret : zero_edge(image, last, (size_t)(end - last), false);
}

int img_request_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct img_range range;
    int ret;

    if (image->limits.request_alignment == 1)
        return changed(image, offset, length, call_zero(image, offset, length, flags));
    hold_blocks(image, &range, offset, offset + length, !aligned_to(image, offset | length));
    ret = zero_blocks(image, offset, length, flags);
    let_go(image, &range);
    return changed(image, offset, length, ret);
}

static int call_discard(struct img *image, uint64_t offset, uint64_t length)
{
    uint64_t unit = img_max(image->limits.discard_alignment, image->limits.request_alignment);
    int ret = 0;

    while (ret == 0 && length > 0) {
        uint64_t part = piece_of(length, image->limits.max_discard, unit);
        ret = image->driver->discard ? image->driver->discard(image, offset, part)
                                     : img_discard(image->file, offset, part);
        offset += part;
        length -= part;
    }
    return ret;
}

int img_request_discard(struct img *image, uint64_t offset, uint64_t length)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t end = offset + length, first = img_align_up(offset, unit);
    struct img_range range;
    int ret;

    if (!image->driver->discard && image->driver->kind != IMG_FILTER)
        return 0;
    if (unit == 1)
        return changed(image, offset, length, call_discard(image, offset, length));
    if (end < img_size(image))
        end = img_align_down(end, unit);
    if (first >= end)
        return 0;
    hold_blocks(image, &range, first, end, !aligned_to(image, end));
    ret = call_discard(image, first, end - first);
    let_go(image, &range);
    return changed(image, first, end - first, ret);
}

int img_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                   bool share)
{
    const struct img_driver *driver = from->driver;
    struct img_range range;
    int ret = img_check_writable(to, to_offset, length);

    if (ret < 0)
        return ret;
    if (driver != to->driver || !driver->copy_range)
        return -ENOTSUP;
    hold_blocks(to, &range, to_offset, to_offset + length, !aligned_to(to, to_offset | length));
    ret = done_to(to, to_offset + length, driver->copy_range(from, from_offset, to, to_offset, length, share));
    let_go(to, &range);
    changed(to, to_offset, length, ret);
    img_written(to);
    return ret;
}

/* ---- Mapping ---------------------------------------------------------------------------------- */

/* Round the end of a run to a block: a block with any data is data. */
static void round_run(const struct img *image, uint64_t start, struct img_extent *extent)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t end = start + extent->length;

    if (extent->kind != IMG_DATA)
        end = img_align_down(end, unit);
    if (end == start) {
        extent->kind = IMG_DATA;
        end = start + unit;
    }
    extent->length = img_align_up(end, unit) - start;
}

/* Returns the number of extents. */
static int call_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count)
{
    int ret;

    if (image->driver->map_list)
        return image->driver->map_list(image, offset, length, extents, count);
    ret = image->driver->map(image, offset, length, extents);
    return ret < 0 ? ret : 1;
}

/* Map whole blocks, or up to the end of the node. */
static int ask_map(struct img *image, uint64_t offset, uint64_t end, struct img_extent *extent)
{
    uint32_t unit = image->limits.request_alignment;
    uint64_t start = img_align_down(offset, unit), last = img_min(img_align_up(end, unit), img_max(img_size(image), end));
    int ret = call_map(image, start, last - start, extent, 1);

    if (ret < 0)
        return ret;
    if (start + extent->length < last)
        round_run(image, start, extent);
    img_extent_skip(extent, offset);
    extent->length = img_min(extent->length, end - offset);
    return 0;
}

/* Round extents to whole blocks: where one ends inside a block, drop the rest, which is asked for again. */
static int whole_extents(const struct img *image, struct img_extent *extents, int count)
{
    uint32_t unit = image->limits.request_alignment;
    int good = 0;

    while (good < count && aligned_to(image, extents[good].offset + extents[good].length))
        good++;
    if (good == count || unit == 1)
        return count;
    round_run(image, extents[good].offset, &extents[good]);
    return good + 1;
}

/* Where map takes a round trip, ask for all that may be needed next, and keep the whole answer. */
static int ask_once(struct img *image, uint64_t offset, uint64_t end, struct img_extent *extent)
{
    uint64_t start = img_align_down(offset, image->limits.request_alignment);
    struct img_extent extents[ASKED_FOR];
    unsigned generation;
    int count;

    if (img_answers_find(image, offset, end, extent, &generation))
        return 0;
    count = call_map(image, start, img_max(img_size(image), end) - start, extents, ASKED_FOR);
    if (count < 0)
        return count;
    count = whole_extents(image, extents, count);
    for (int i = 0; i < count; i++)
        img_answers_keep(image, &extents[i], generation);
    *extent = extents[0];
    img_extent_skip(extent, offset);
    extent->length = img_min(extent->length, end - offset);
    return 0;
}

int img_request_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret;

    if (image->limits.round_trip)
        return ask_once(image, offset, offset + length, extent);
    if (image->limits.request_alignment > 1)
        return ask_map(image, offset, offset + length, extent);
    ret = call_map(image, offset, length, extent, 1);
    return ret < 0 ? ret : 0;
}
