/* SPDX-License-Identifier: MIT */
/* img-commit.c - write the content of an image into its backing file, or further down the chain. */
#include "applet.h"
#include "../libimg/copy.h"

#include <errno.h>

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_PROGRESS_ROW,
    APP_IMAGE_ROWS,
    { 't', "cache", "CACHE_MODE", "cache mode of the image (writeback)" },
    { 'd', "drop", NULL, "do not empty the image afterwards" },
    { 'b', "base", "BASE_IMG", "write to this image of the backing chain instead of the\n"
                               "backing file of the image; implies -d" },
    { 'r', "rate-limit", "RATE", "limit the rate to this many bytes per second" },
    { 'r', "rate", "RATE", NULL },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name, *base, *cache;
    struct img_open how;
    bool drop, progress;
    uint64_t rate;
};

/* The image directly above the base; NULL after a message. */
static struct img *find_overlay(struct img *image, const struct request *r)
{
    struct img *overlay = image;
    struct img_error err = IMG_ERROR_INIT;

    if (r->base) {
        overlay = img_find_overlay(image, r->base);
        if (!overlay) {
            img_error_set(&err, ENOENT, "Did not find '%s' in the backing chain of '%s'", r->base, r->name);
            img_chain_advise(image, &err);
            app_report(&err);
        }
    } else if (!img_backing(image)) {
        app_error("Image does not have a backing file");
        overlay = NULL;
    }
    return overlay;
}

static int commit(struct img *image, const struct request *r)
{
    struct img_commit how = { .rate = r->rate, .progress = app_progress_before_end };
    struct img *overlay = find_overlay(image, r);
    struct img_error err = IMG_ERROR_INIT;
    int rc;

    if (!overlay || !app_is_whole(image, r->name))
        return 1;
    if (img_reopen_backing(overlay, img_size(img_backing(overlay)) < img_size(image), &err) < 0) {
        app_report(&err);
        return 1;
    }
    how.base = img_backing(overlay);
    rc = img_commit(image, &how);
    if (rc < 0) {
        app_error("Block job failed: %s", img_read_error(image, rc));
        return 1;
    }
    rc = r->drop ? 0 : img_make_empty(image, &err);
    if (rc < 0 && rc != -ENOTSUP) {         /* a format that cannot be emptied keeps its data */
        app_report(&err);
        return 1;
    }
    img_error_clear(&err);
    return 0;
}

/* ---- The command line ------------------------------------------------------------------------ */

static bool parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'p': r->progress = true; break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 't': r->cache = app->argument; break;
        case 'd': r->drop = true; break;
        case 'b':
            r->base = app->argument;
            r->drop = true;
            break;
        case 'r':
            if (!app_size(app->argument, "rate limit", &r->rate))
                return false;
            break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
    return true;
}

static struct img *open_image(struct request *r)
{
    if (!app_cache(r->cache, "cache", &r->how.cache))
        return NULL;
    return app_open(r->name, &r->how);
}

static int run(struct app *app)
{
    struct request r = { .how = { .flags = IMG_RDWR }, .cache = "writeback" };
    struct img *image;
    int status;

    if (!parse(app, &r))
        return 1;
    image = open_image(&r);
    if (!image)
        return 1;
    app_progress_start(r.progress && !app_quiet, 1.0);
    status = app_close_after(image, commit(image, &r));
    app_progress_end(status == 0);
    if (status == 0)
        app_say("Image committed.\n");
    return status;
}

const struct applet applet_commit = {
    .name = "commit",
    .title = "write the content of an image into its backing file",
    .synopsis = "[-q] [-f FMT | --image-opts] [--strict-format] "
                "[-t CACHE_MODE] [-b BASE_IMG] [-d] [-r RATE] [-p] [--object OBJDEF] "
                "FILENAME",
    .options = options,
    .operands = "A backing file that is smaller than the image grows.  Afterwards the image is\n"
                "emptied, unless -d or -b is given.",
    .main = run,
};
