/* SPDX-License-Identifier: MIT */
/*
 * bitmap.c - persistent bitmaps of any format: finds them by name, and applies the rules that all formats share.  Bits
 * are copied between images as guest ranges, since granularities and formats may differ.
 */
#include "graph.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

#include <string.h>

enum { LEAST_GRANULARITY = 512, LEAST_STANDARD = 4096, MOST_STANDARD = 65536 };
#define MOST_GRANULARITY (1ull << 31)

static size_t count_of(struct img *image)
{
    return image->driver->bitmaps ? image->driver->bitmaps->count(image) : 0;
}

int img_bitmaps(struct img *image, struct img_bitmap **list)
{
    size_t count = count_of(image);

    *list = NULL;
    if (count == 0)
        return 0;
    *list = img_calloc(count, sizeof **list);
    if (!*list)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        image->driver->bitmaps->describe(image, i, &(*list)[i]);
        (*list)[i].name = img_strdup((*list)[i].name);
        if (!(*list)[i].name) {
            img_bitmaps_free(*list, i);
            *list = NULL;
            return -ENOMEM;
        }
    }
    return (int)count;
}

void img_bitmaps_free(struct img_bitmap *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        free(list[i].name);
    free(list);
}

static int find(struct img *image, const char *name, size_t *index, struct img_bitmap *bitmap, struct img_error *err)
{
    for (size_t i = 0, count = count_of(image); i < count; i++) {
        image->driver->bitmaps->describe(image, i, bitmap);
        if (strcmp(bitmap->name, name) == 0) {
            *index = i;
            return 0;
        }
    }
    img_bitmaps_advise(image, err);
    return img_error_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
}

int img_bitmap_unusable(const char *name, struct img_error *err)
{
    img_error_set(err, EINVAL, "Bitmap '%s' is inconsistent and cannot be used", name);
    img_error_hint(err, "Try block-dirty-bitmap-remove to delete this bitmap from disk");
    return -EINVAL;
}

static int need_consistent(const struct img_bitmap *bitmap, struct img_error *err)
{
    return bitmap->inconsistent ? img_bitmap_unusable(bitmap->name, err) : 0;
}

static int need_writable(const struct img *image, const struct img_bitmap *bitmap, struct img_error *err)
{
    if (!img_read_only(image))
        return 0;
    return img_error_set(err, EROFS, "Bitmap '%s' is readonly and cannot be modified", bitmap->name);
}

/* Changing a bitmap needs more than removing it. */
static int need_changeable(const struct img *image, const struct img_bitmap *bitmap, struct img_error *err)
{
    int status = need_consistent(bitmap, err);

    return status < 0 ? status : need_writable(image, bitmap, err);
}

static int find_to_change(struct img *image, const char *name, size_t *index, struct img_error *err)
{
    struct img_bitmap bitmap;
    int status = find(image, name, index, &bitmap, err);

    return status < 0 ? status : need_changeable(image, &bitmap, err);
}

static int failed(int status, const char *name, struct img_error *err)
{
    return status < 0 ? img_error_errno(err, -status, "Could not change bitmap '%s'", name) : 0;
}

/* ---- The operations -------------------------------------------------------------------- */

static uint64_t standard_granularity(const struct img *image)
{
    uint32_t cluster = img_cluster_size(image);

    return cluster ? img_max(LEAST_STANDARD, img_min(cluster, MOST_STANDARD)) : MOST_STANDARD;
}

int img_bitmap_add(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err)
{
    const char *node = image->node_name ? image->node_name : "#block100";
    struct img_error none = IMG_ERROR_INIT;
    struct img_bitmap there;
    size_t index;

    if (!*name)
        return img_error_set(err, EINVAL, "Bitmap name cannot be empty");
    if (!granularity)
        granularity = standard_granularity(image);
    if (granularity < LEAST_GRANULARITY || granularity > MOST_GRANULARITY || !img_power_of_two(granularity))
        return img_error_set(err, EINVAL, "Granularity must be power of 2 and at least %d", LEAST_GRANULARITY);
    int status = find(image, name, &index, &there, &none);
    img_error_clear(&none);
    if (status == 0)
        return img_error_set(err, EEXIST, "Bitmap already exists: %s", name);
    if (!image->driver->bitmaps)
        return img_error_errno(err, ENOTSUP, "Can't store persistent bitmaps to %s", node);
    if (img_read_only(image))
        return img_error_errno(err, EROFS, "Can't make bitmap '%s' persistent in '%s'", name, node);
    status = image->driver->bitmaps->add(image, name, granularity, enabled, err);
    return status < 0 ? img_error_prefix(err, "Can't make bitmap '%s' persistent in '%s': ", name, node) : 0;
}

int img_bitmap_remove(struct img *image, const char *name, struct img_error *err)
{
    struct img_bitmap bitmap;
    size_t index;

    int status = find(image, name, &index, &bitmap, err);
    if (status < 0 || (status = need_writable(image, &bitmap, err)) < 0)
        return status;
    return failed(image->driver->bitmaps->remove(image, index), name, err);
}

int img_bitmap_clear(struct img *image, const char *name, struct img_error *err)
{
    size_t index;

    int status = find_to_change(image, name, &index, err);
    return status < 0 ? status : failed(image->driver->bitmaps->clear(image, index), name, err);
}

int img_bitmap_enable(struct img *image, const char *name, bool enabled, struct img_error *err)
{
    size_t index;

    int status = find_to_change(image, name, &index, err);
    return status < 0 ? status : failed(image->driver->bitmaps->enable(image, index, enabled), name, err);
}

static int merge_runs(struct img *image, size_t index, struct img *source, size_t source_index)
{
    uint64_t size = img_size(source), start, length;
    int status = 0;

    for (uint64_t at = 0; status == 0 && at < size; at = start + length) {
        status = source->driver->bitmaps->next(source, source_index, at, &start, &length);
        if (status < 0 || length == 0 || start >= size)
            break;
        length = img_min(length, size - start);     /* a snapshot lists the bitmaps of the active disk */
        status = image->driver->bitmaps->mark(image, index, start, length);
    }
    return status;
}

int img_bitmap_merge(struct img *image, const char *name, struct img *source, const char *source_name,
                     struct img_error *err)
{
    size_t index, source_index;
    struct img_bitmap into, from;
    int status;

    if ((status = find(image, name, &index, &into, err)) < 0 ||
        (status = find(source, source_name, &source_index, &from, err)) < 0 ||
        (status = need_changeable(image, &into, err)) < 0 || (status = need_consistent(&from, err)) < 0)
        return status;
    if (img_size(image) != img_size(source))
        return img_error_set(err, EINVAL, "Bitmaps are of different sizes (destination size is %llu, source size is "
                             "%llu) and can't be merged", (unsigned long long)img_size(image),
                             (unsigned long long)img_size(source));
    if (image == source && index == source_index)
        return 0;
    if (image->driver == source->driver && into.granularity == from.granularity && image->driver->bitmaps->merge)
        status = image->driver->bitmaps->merge(image, index, source, source_index);
    else
        status = merge_runs(image, index, source, source_index);
    return failed(status, name, err);
}
