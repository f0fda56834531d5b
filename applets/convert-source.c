/* SPDX-License-Identifier: MIT */
/* convert-source.c - opening the sources of img-convert, or a snapshot of one. */
#include "convert.h"

static int open_all(struct convert *r)
{
    struct img_open how = { .format = r->source_format, .flags = r->share ? IMG_SHARE : IMG_NO_WRITERS,
                            .cache = r->source_cache, .image_opts = r->source_opts };

    r->images = app_calloc(r->source_count, sizeof *r->images);
    for (size_t i = 0; i < r->source_count; i++) {
        r->images[i] = app_open(r->sources[i], &how);
        if (!r->images[i])
            return -1;
        if (!img_add(r->total, img_size(r->images[i]), &r->total) || r->total > INT64_MAX)
            return app_refuse("The sources together are too large for an image"), -1;
    }
    return 0;
}

/* Better now than in the middle of the copy. */
static int check_whole(const struct convert *r)
{
    for (size_t i = 0; i < r->source_count && !r->salvage; i++) {
        if (!app_is_whole(r->images[i], r->sources[i]))
            return -1;
    }
    return 0;
}

static int load_snapshot(struct convert *r)
{
    if (r->source_count > 1) {
        app_error("No support for concatenating multiple snapshot");
        return -1;
    }
    if (app_load_snapshot(r->images[0], r->snapshot) < 0)
        return -1;
    r->total = img_size(r->images[0]);
    return 0;
}

int convert_open_sources(struct convert *r)
{
    if (open_all(r) < 0 || (r->snapshot && load_snapshot(r) < 0))
        return -1;
    return check_whole(r);
}
