/* SPDX-License-Identifier: MIT */
/* map.c - maps a node, its backing chain, and the storage below. */
#include "io.h"
#include "request.h"
#include "waiting.h"
#include "node/trace.h"
#include "util/cleanup.h"
#include "util/checked.h"

int img_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct img_driver *driver = image->driver;
    int ret;

    if (driver->kind == IMG_FILTER) {
        /* The node below knows what is there; only this node may read it. */
        ret = driver->map ? driver->map(image, offset, length, extent) : img_map(image->file, offset, length, extent);
        extent->via = image;
        return ret;
    }
    if (!img_within(offset, length, img_size(image)) || length == 0)
        return -EINVAL;
    IMG_TRACE(map, image, offset, length);
    *extent = (struct img_extent){ .offset = offset, .length = length, .layer = image };
    if (!driver->map && !driver->map_list) {
        /* Without map, all of it is data that only this driver can read. */
        extent->kind = IMG_DATA;
        extent->host_valid = img_is_storage(image);
        extent->file = image;
        extent->host = offset;
        return 0;
    }
    if (img_is_storage(image))
        return img_request_map(image, offset, length, extent);
    if (driver->traits & IMG_PASS_THROUGH)
        return driver->map(image, offset, length, extent);
    pthread_mutex_lock(&image->lock);
    image->patience = IMG_MAP_PATIENCE;
    do
        ret = driver->map(image, offset, length, extent);
    while (ret == IMG_LOOK_AGAIN);
    image->patience = 0;
    pthread_mutex_unlock(&image->lock);
    return ret;
}

/* Where the image has data, the storage may have a hole. */
static int look_below(struct img_extent *extent)
{
    struct img_extent below;
    bool through = extent->layer->driver->traits & IMG_PASS_THROUGH;
    struct img *file = extent->file;
    uint64_t length = extent->length, size = img_size(file);
    int ret;

    if (extent->host >= size) {
        /* A cluster may be cut at the end of a file: zeroes follow. */
        extent->kind = IMG_ZERO;
        return 0;
    }
    length = img_min(length, size - extent->host);
    ret = img_map_chain(file, NULL, extent->host, length, &below);
    if (ret < 0)
        return ret;
    extent->length = below.length;
    if (through && !img_is_storage(file)) {
        /* Raw over another format: take its answer.  Only that format can read coded bytes. */
        extent->kind = below.kind;
        extent->host_valid = below.kind != IMG_CODED && below.host_valid;
        if (!extent->via && (below.via || below.kind == IMG_CODED))
            extent->via = extent->layer;
        extent->file = below.file;
        extent->host = below.host;
        extent->host_length = below.host_length;
        return 0;
    }
    if (below.kind == IMG_ZERO || below.kind == IMG_HOLE)
        extent->kind = IMG_ZERO;
    extent->host_valid &= below.host_valid || !through;
    extent->stored = below.stored;
    extent->absent = below.absent && through;
    extent->marked_zero = below.marked_zero && through;
    return 0;
}

int img_find_layer(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                   struct img_extent *extent)
{
    struct img *layer = image, *via = NULL, *stale = NULL;
    unsigned depth = 0;

    base = img_behind_filters(base);
    for (;;) {
        struct img *next;
        int ret;
        /* From the first filter on, all bytes must be read through it. */
        if (!via && layer->driver->kind == IMG_FILTER)
            via = layer;
        for (; layer->driver->kind == IMG_FILTER; layer = layer->file) {
            ret = layer->driver->map ? layer->driver->map(layer, offset, length, extent) : 0;
            if (ret < 0)
                return ret;
        }
        next = layer->backing;
        ret = img_map(layer, offset, length, extent);
        if (ret < 0)
            return ret;
        extent->via = via;
        extent->depth = depth;
        extent->layer = layer;
        if (!stale && extent->kind == IMG_HOLE && layer->backing_changed)
            stale = layer;
        extent->stale = stale;
        if (extent->kind != IMG_HOLE || !next || img_behind_filters(next) == base)
            return 0;
        length = extent->length;
        if (offset >= next->size) {
            /* Zeroes hide all layers below. */
            if (base)
                extent->kind = IMG_ZERO;
            return 0;
        }
        length = img_min(length, next->size - offset);
        layer = next;
        depth++;
    }
}

int img_map_chain(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                  struct img_extent *extent)
{
    int ret = img_find_layer(image, base, offset, length, extent);

    uint64_t there;

    if (ret < 0 || extent->kind != IMG_DATA)
        return ret;
    there = img_extent_there(extent, extent->offset, extent->length);
    extent->missing = there == 0;
    if (extent->missing)
        return 0;
    extent->length = there;
    return extent->recurse && extent->host_valid ? look_below(extent) : 0;
}

int img_map_below(struct img *image, uint64_t start, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret = img_map_chain(image->file, NULL, start + offset, length, extent);
    bool data;

    if (ret < 0)
        return ret;
    data = extent->kind == IMG_DATA || extent->kind == IMG_CODED;
    *extent = (struct img_extent){ .offset = offset, .length = extent->length, .kind = data ? IMG_DATA : IMG_ZERO,
                                   .host_valid = true, .file = image, .host = offset };
    return 0;
}

/* qemu-img opens no vhdx image with a parent, so it has told nothing about one. */
static bool is_untold(const struct img *image)
{
    return image->driver->traits & IMG_MAP_UNTOLD && !image->has_parent;
}

int img_map_told(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct img *top = img_behind_filters(image);
    int ret;

    if (is_untold(top)) {
        *extent = (struct img_extent){ .offset = offset, .length = length, .kind = IMG_DATA, .layer = top };
        return 0;
    }
    ret = img_map_chain(image, NULL, offset, length, extent);
    if (ret == 0 && extent->missing && extent->recurse && extent->host_valid)
        extent->kind = IMG_ZERO;
    if (ret == 0 && !top->has_parent && is_untold(extent->layer)) {
        extent->kind = IMG_DATA;
        extent->host_valid = extent->recurse = false;
    }
    return ret;
}

bool img_extent_shows_data(const struct img_extent *extent)
{
    if (extent->kind == IMG_DATA || extent->kind == IMG_CODED)
        return !extent->absent;
    if (extent->stored)
        return true;
    return extent->kind == IMG_ZERO && extent->recurse && extent->layer &&
           !(extent->layer->driver->traits & IMG_PASS_THROUGH);
}

bool img_extent_shows_zero(const struct img_extent *extent)
{
    return extent->kind == IMG_HOLE || extent->kind == IMG_ZERO || extent->marked_zero;
}
