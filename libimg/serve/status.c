/* SPDX-License-Identifier: MIT */
/* status.c - block status: what is data, in which layer it lies, and which bits of a bitmap are set. */
#include "internal.h"
#include "io/io.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/endian.h"

/* Extents as they travel.  Neighbours with the same flags become one. */
struct list {
    unsigned char *bytes;
    size_t count, most;
    bool extended;
    uint64_t length;                /* of the last one */
    uint32_t flags;
};

static void put_last(struct list *list)
{
    unsigned char *at = list->bytes + (list->count - 1) * (list->extended ? 16u : 8u);

    if (list->extended) {
        img_put_be64(at, list->length);
        img_put_be64(at + 8, list->flags);
    } else {
        img_put_be32(at, (uint32_t)list->length);
        img_put_be32(at + 4, list->flags);
    }
}

/* False: the list is full, and this extent is not in it. */
static bool add(struct list *list, uint64_t length, uint32_t flags)
{
    if (list->count && list->flags == flags) {
        list->length += length;
    } else {
        if (list->count == list->most)
            return false;
        list->count++;
        list->length = length;
        list->flags = flags;
    }
    put_last(list);
    return true;
}

static uint32_t allocation_flags(const struct img_extent *extent)
{
    return (img_extent_shows_data(extent) ? 0 : NBD_STATE_HOLE) | (img_extent_shows_zero(extent) ? NBD_STATE_ZERO : 0);
}

static int list_allocation(struct img *image, uint64_t at, uint64_t end, struct list *list)
{
    struct img_extent extent;

    for (; at < end; at += extent.length) {
        int ret = img_map_told(image, at, end - at, &extent);
        if (ret < 0)
            return ret;
        if (!add(list, extent.length, allocation_flags(&extent)))
            return 0;
    }
    return 0;
}

/* 1: the image itself, 2: its backing file, and so on.  The zeroes behind the end of a short one count as its own. */
static uint32_t depth_of(const struct img_extent *extent)
{
    if (extent->kind != IMG_HOLE)
        return extent->depth + 1;
    return extent->layer && extent->layer->backing ? extent->depth + 2 : 0;
}

static int list_depth(struct img *image, uint64_t at, uint64_t end, struct list *list)
{
    struct img_extent extent;

    for (; at < end; at += extent.length) {
        int ret = img_find_layer(image, NULL, at, end - at, &extent);
        if (ret < 0)
            return ret;
        if (!add(list, extent.length, depth_of(&extent)))
            return 0;
    }
    return 0;
}

static int list_bitmap(const struct serve_bitmap *bitmap, uint64_t at, uint64_t end, struct list *list)
{
    /* Writes set bits under this lock. */
    LOCK_SCOPE(&bitmap->image->lock);

    while (at < end) {
        uint64_t start = end, length = 0;
        int ret = 0;
        /* That of a backing file may end earlier. */
        if (at < bitmap->image->size)
            ret = bitmap->image->driver->bitmaps->next(bitmap->image, bitmap->index, at, &start, &length);
        if (ret < 0)
            return ret;
        if (length == 0 || start >= end) {
            add(list, end - at, 0);
            return 0;
        }
        if (start > at && !add(list, start - at, 0))
            return 0;
        at = img_max(start, at);
        length = img_min(length, end - at);
        if (!add(list, length, NBD_STATE_DIRTY))
            return 0;
        at += length;
    }
    return 0;
}

/* One context; *left counts those that are still to be told. */
static int tell(struct serve_client *client, struct serve_request *request, uint32_t id, size_t *left)
{
    const struct img_export *told = &client->export->told;
    uint64_t begin = told->offset + request->from, end = begin + request->length;
    struct list list = { .bytes = request->buffer.bytes, .extended = client->mode == SERVE_EXTENDED,
                         .most = request->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : SERVE_EXTENTS };
    struct serve_chunks chunks;
    int ret;

    if (id == SERVE_ALLOCATION)
        ret = list_allocation(told->image, begin, end, &list);
    else if (id == SERVE_DEPTH)
        ret = list_depth(told->image, begin, end, &list);
    else
        ret = list_bitmap(&client->export->bitmaps[id - SERVE_BITMAPS], begin, end, &list);
    if (ret < 0) {
        serve_fail(request, ret, "can't get block status");
        return serve_answer(client, request);
    }
    serve_chunks_begin(&chunks, client, request);
    serve_chunk_status(&chunks, id, list.bytes, list.count, --*left == 0);
    return serve_chunks_end(&chunks);
}

int serve_status(struct serve_client *client, struct serve_request *request)
{
    const struct serve_contexts *contexts = request->contexts;
    size_t left = contexts->count;
    int ret = 0;

    if (contexts->allocation)
        ret = tell(client, request, SERVE_ALLOCATION, &left);
    if (ret == 0 && !request->failed && contexts->depth)
        ret = tell(client, request, SERVE_DEPTH, &left);
    for (uint32_t i = 0; ret == 0 && !request->failed && i < contexts->export->told.bitmap_count; i++)
        if (contexts->bitmaps[i])
            ret = tell(client, request, SERVE_BITMAPS + i, &left);
    return ret;
}
