/* SPDX-License-Identifier: MIT */
/* convert-source.c - opening the sources of img-convert, or a snapshot of one. */
#include "convert.h"

#include <stdlib.h>

/*
 * A raw, qcow2 or qed file grows as input arrives.  Other formats cannot grow, nor can an image that is itself written
 * to a pipe; it may also read its source twice.
 */
static struct app_reading needs(const struct convert *r)
{
    const struct img_driver *driver = img_driver_find(r->target_format);
    bool image_to_pipe = r->to_stream && !r->raw_stream;
    bool grows = !image_to_pipe && (r->no_create || r->raw_stream || !driver || img_driver_grows(driver));

    return (struct app_reading){ .sized = r->source_count > 1 || !grows,
                                 .any_order = image_to_pipe || r->snapshot || r->bitmaps };
}

static int add_size(struct convert *r, struct img *image)
{
    if (!img_add(r->total, img_size(image), &r->total) || r->total > INT64_MAX)
        return app_refuse("The sources together are too large for an image"), -1;
    return 0;
}

static int open_all(struct convert *r)
{
    struct img_open how = { .format = r->source_format, .flags = r->share ? IMG_SHARE : IMG_NO_WRITERS,
                            .cache = r->source_cache, .image_opts = r->source_opts };
    CLEANUP_FREE char *folder = app_spool_folder(r->to_stream || r->target_opts ? NULL : r->target_name);
    struct app_reading reading = needs(r);

    reading.folder = folder;
    r->opened = app_calloc(r->source_count, sizeof *r->opened);
    r->images = app_calloc(r->source_count, sizeof *r->images);
    for (size_t i = 0; i < r->source_count; i++)
        r->opened[i] = (struct app_source)APP_SOURCE_INIT;
    for (size_t i = 0; i < r->source_count; i++) {
        if (app_open_source(&r->opened[i], r->sources[i], &how, &reading) < 0)
            return -1;
        r->images[i] = r->opened[i].image;
        if (app_is_raw_stream(&r->opened[i])) {
            r->from_stream = true;
            return 0;
        }
        if (add_size(r, r->images[i]) < 0)
            return -1;
    }
    return 0;
}

/* Better now than in the middle of the copy. */
static int check_whole(const struct convert *r)
{
    for (size_t i = 0; i < r->source_count && !r->salvage; i++) {
        if (r->images[i] && !app_is_whole(r->images[i], r->sources[i]))
            return -1;
    }
    return 0;
}

static int load_snapshot(struct convert *r)
{
    if (r->source_count > 1 && !app_snapshot_has_keys(r->snapshot)) {
        app_error("No support for concatenating multiple snapshot");
        return -1;
    }
    r->total -= img_size(r->images[0]);
    if (app_load_snapshot(r->images[0], r->snapshot) < 0)
        return -1;
    return add_size(r, r->images[0]);
}

int convert_open_sources(struct convert *r)
{
    if (open_all(r) < 0 || (r->snapshot && load_snapshot(r) < 0))
        return -1;
    return check_whole(r);
}

int convert_close_sources(struct convert *r, int status)
{
    for (size_t i = 0; r->opened && i < r->source_count; i++)
        status = app_close_source(&r->opened[i], status);
    free(r->opened);
    free(r->images);
    r->opened = NULL;
    r->images = NULL;
    return status;
}
