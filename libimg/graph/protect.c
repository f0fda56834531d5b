/* SPDX-License-Identifier: MIT */
/* protect.c - the storages of an image and its chain, which must not be overwritten; and those that it writes to. */
#include "graph.h"
#include "util/checked.h"

struct range {
    uint64_t start, end;
};

typedef int leaf_fn(struct img *leaf, int fd, const struct range *range, struct img_error *err);

/* The part of the node below that this range of `image` lies in: raw may show a window of it, a format may use all. */
static struct range range_below(struct img *image, const struct range *range)
{
    struct range below = { 0, UINT64_MAX };
    struct img_extent extent;

    if (image->driver->kind == IMG_FILTER)
        return *range;
    if (!(image->driver->traits & IMG_PASS_THROUGH) || !img_size(image) ||
        img_map(image, 0, img_size(image), &extent) < 0 || !extent.host_valid)
        return below;
    below.start = extent.host;
    /* Without a window, what is written beyond the end belongs to it. */
    if (extent.host || img_align_up(img_size(image), 512) != img_align_up(img_size(image->file), 512))
        below.end = extent.host + img_size(image);
    return below;
}

static int walk(struct img *image, const struct range *range, leaf_fn *leaf, struct img_error *err)
{
    struct range below = range_below(image, range);
    struct img *child;
    const char *name;
    int ret = 0, fd = image->driver->descriptor ? image->driver->descriptor(image) : -1;

    if (fd >= 0)
        ret = leaf(image, fd, range, err);
    for (size_t i = 0; ret == 0 && (child = img_child_at(image, i, &name)); i++)
        ret = walk(child, child == image->file ? &below : &(struct range){ 0, UINT64_MAX }, leaf, err);
    return ret;
}

static int protect_leaf(struct img *leaf, int fd, const struct range *range, struct img_error *err)
{
    return img_protect_range(fd, leaf->filename, range->start, range->end) < 0 ? img_error_memory(err) : 0;
}

int img_protect(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret = walk(image, &(struct range){ 0, UINT64_MAX }, protect_leaf, &err);

    img_error_clear(&err);
    return ret;
}

static int check_leaf(struct img *leaf, int fd, const struct range *range, struct img_error *err)
{
    return leaf->flags & IMG_RDWR ? img_may_overwrite_range(fd, leaf->filename, range->start, range->end, err) : 0;
}

int img_check_protected(struct img *image, struct img_error *err)
{
    return walk(image, &(struct range){ 0, UINT64_MAX }, check_leaf, err);
}
