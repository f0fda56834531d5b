/* SPDX-License-Identifier: MIT */
/* convert-bitmaps.c - copying persistent bitmaps (img-convert --bitmaps). */
#include "convert.h"

static int refuse_format(const char *name)
{
    app_error("Format driver '%s' does not support bitmaps", name);
    return -1;
}

static size_t bitmaps_of(const struct convert *r, struct img_bitmap **list)
{
    int count = img_bitmaps(r->images[0], list);

    if (count < 0)
        app_need(NULL);
    return (size_t)count;
}

static int refuse_target(const struct convert *r)
{
    struct img_error err = IMG_ERROR_INIT;

    if (r->to_stream || img_check_target(r->target_name, &err) == 0)
        return refuse_format(r->target_format);
    convert_report_target(r, &err);
    return -1;
}

/* The last bitmap first, as in qemu-img. */
int convert_check_bitmaps(struct convert *r)
{
    struct img_bitmap *list;
    int status = 0;

    if (!r->bitmaps)
        return 0;
    if (r->source_count > 1) {
        app_error("Copying bitmaps only possible with single source");
        return -1;
    }
    if (!img_has_bitmaps(r->images[0])) {
        app_error("Source lacks bitmap support");
        return -1;
    }
    if (r->to_stream && r->driver) {
        app_error("Bitmaps cannot be copied into an image that is written in order");
        return -1;
    }
    if (r->to_stream || (r->driver && !img_driver_can_bitmap(r->driver)))
        return refuse_target(r);
    size_t count = bitmaps_of(r, &list);
    for (size_t i = count; status == 0 && !r->skip_broken && i > 0; i--) {
        if (!list[i - 1].inconsistent)
            continue;
        app_error("Cannot copy inconsistent bitmap '%s'", list[i - 1].name);
        app_tell("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n");
        status = -1;
    }
    img_bitmaps_free(list, count);
    return status;
}

/* It is enabled at the end, so that it does not record the copy. */
static int copy_one(struct convert *r, const struct img_bitmap *bitmap)
{
    struct img_error err = IMG_ERROR_INIT, dropped = IMG_ERROR_INIT;

    if (img_bitmap_add(r->target, bitmap->name, bitmap->granularity, false, &err) < 0) {
        app_report_with(&err, "Failed to create bitmap %s: ", bitmap->name);
        return -1;
    }
    int status = img_bitmap_merge(r->target, bitmap->name, r->images[0], bitmap->name, &err);
    if (status == 0 && bitmap->enabled)
        status = img_bitmap_enable(r->target, bitmap->name, true, &err);
    if (status == 0)
        return 0;
    app_report_with(&err, "Failed to populate bitmap %s: ", bitmap->name);
    img_bitmap_remove(r->target, bitmap->name, &dropped);
    img_error_clear(&dropped);
    return -1;
}

int convert_copy_bitmaps(struct convert *r)
{
    struct img_bitmap *list;
    int status = 0;

    if (!r->bitmaps)
        return 0;
    size_t count = bitmaps_of(r, &list);
    for (size_t i = count; status == 0 && i > 0; i--) {
        if (list[i - 1].inconsistent)
            app_warning("Skipping inconsistent bitmap '%s'", list[i - 1].name);
        else
            status = copy_one(r, &list[i - 1]);
    }
    img_bitmaps_free(list, count);
    return status < 0 ? 1 : 0;
}
