/* SPDX-License-Identifier: MIT */
/* access.c - properties of a node and its neighbours that need no driver call. */
#include "node.h"

const struct img_driver *img_driver_of(const struct img *image)
{
    return image->driver;
}

uint64_t img_size(const struct img *image)
{
    return __atomic_load_n(&image->size, __ATOMIC_RELAXED);
}

bool img_read_only(const struct img *image)
{
    return !(image->flags & IMG_RDWR) || image->snapshot_view;
}

bool img_probed(const struct img *image)
{
    return image->probed;
}

bool img_unwrapped(const struct img *image)
{
    for (; image; image = image->file)
        if (image->driver->kind == IMG_ADAPTER && image->probed)
            return true;
    return false;
}

bool img_encrypted(const struct img *image)
{
    return image->encrypted;
}

/* The node whose properties the image has: raw over a format with clusters has those of the format. */
static const struct img *shown(const struct img *image)
{
    while (img_shows_below(image) && image->file)
        image = image->file;
    return image;
}

bool img_dirty(const struct img *image)
{
    return shown(image)->dirty;
}

bool img_has_details(const struct img *image)
{
    return !shown(image)->no_details;
}

struct img *img_behind_filters(const struct img *image)
{
    while (image && image->driver->kind == IMG_FILTER)
        image = image->file;
    return (struct img *)image;
}

struct img *img_child_at(const struct img *image, size_t index, const char **name)
{
    struct img *const children[] = { image->backing, image->data_file };
    const char *const names[] = { "backing", img_second_key(image->driver) };

    for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
        if (children[i] && index-- == 0) {
            *name = names[i];
            return children[i];
        }
    }
    /* qemu-img lists the last extent first. */
    if (index < image->extent_count) {
        struct img *extent = image->extents[image->extent_count - 1 - index];
        *name = extent->child_name;
        return extent;
    }
    *name = img_child_key(image->driver);
    return index == image->extent_count ? image->file : NULL;
}

bool img_has_bitmaps(const struct img *image)
{
    return image->driver->has_bitmaps && image->driver->has_bitmaps(image);
}

struct img *img_backing(const struct img *image)
{
    return img_behind_filters(image)->backing;
}

struct img *img_file(const struct img *image)
{
    return image->file;
}

struct img *img_data_file(const struct img *image)
{
    return image->data_file;
}

const char *img_backing_name(const struct img *image)
{
    return image->backing_name ? image->backing_name : "";
}

const char *img_backing_format(const struct img *image)
{
    return image->backing_format ? image->backing_format : "";
}
