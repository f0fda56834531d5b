/* SPDX-License-Identifier: MIT */
/* img-rebase.c - change or remove the backing file; the guest-visible content stays the same unless -u is given. */
#include "applet.h"
#include "../libimg/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_PROGRESS_ROW,
    APP_IMAGE_ROWS,
    { 't', "cache", "CACHE", "cache mode of the image (writeback)" },
    { 'b', "backing", "BACKING_FILENAME", "new backing file, relative to the image;\n"
                                          "an empty name removes the backing file" },
    { 'F', "backing-format", "BACKING_FMT", "format of the new backing file" },
    { 'T', "backing-cache", "BACKING_CACHE", "cache mode of the new backing file (writeback)" },
    { 'u', "backing-unsafe", NULL, "change only the stored name; open no backing file" },
    { 'c', "compress", NULL, "compress the clusters that are copied" },
    { 'U', "force-share", NULL, "do not lock the new backing file, and ignore its locks" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name, *backing, *backing_format, *cache, *backing_cache;
    struct img_open how, backing_how;
    bool unsafe, compress, progress;
};

/* ---- The new backing file ---------------------------------------------------------------- */

/* The name resolved relative to the image; caller frees.  NULL after a message. */
static char *resolve_backing(const struct img *image, const char *name)
{
    if (img_name_is_relative(name) && strncmp(img_filename(image), "json:", 5) == 0) {
        app_error("Could not resolve backing filename: Cannot use relative backing file names for '%s'",
                  img_filename(image));
        return NULL;
    }
    return app_need(img_name_beside(img_filename(image), name));
}

/* Is the image, under whatever name, part of the chain? */
static bool is_in_chain(struct img *backing, struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    bool found = img_in_chain(backing, image);

    app_protect(backing);
    found |= img_check_protected(image, &err) < 0;
    img_error_clear(&err);
    return found;
}

/* NULL after a message. */
static struct img *open_backing(struct img *image, const struct request *r)
{
    char *full = resolve_backing(image, r->backing);
    struct img_error err = IMG_ERROR_INIT;
    struct img *backing = NULL;

    if (!full)
        return NULL;
    if (img_open(&backing, full, &r->backing_how, &err) < 0) {
        app_cut_prefix(&err, full);
        app_advise_share(&r->backing_how, &err);
        app_advise_beside(r->backing, full, &err);
        app_report_with(&err, "Could not open new backing file '%s': ", r->backing);
    } else if (img_driver_can_back(img_driver_of(image)) && is_in_chain(backing, image)) {
        app_error("Could not open new backing file '%s': Backing file '%s' creates an infinite loop.", r->backing,
                  img_filename(image));
        app_close(backing, 1);
        backing = NULL;
    }
    free(full);
    return backing;
}

/* ---- The rebase ---------------------------------------------------------------------------- */

static void explain(const struct img_copy_fault *fault, int error)
{
    switch (fault->stage) {
    case IMG_COPY_READING:
        app_error("error while reading from old backing file");
        break;
    case IMG_COPY_CHANGED:
    case IMG_COPY_COMPARING:
        app_error("error while reading from new backing file");
        break;
    case IMG_COPY_WRITING: case IMG_COPY_GROWING:
        app_error("Error while writing to COW image: %s", img_strerror(error));
        break;
    case IMG_COPY_MAPPING: case IMG_COPY_STARTING:
        app_error("error while reading image metadata: %s", img_strerror(error));
        break;
    }
}

/* Copy data into the image that would be lost with its old backing file. */
static int copy(struct img *image, const struct request *r)
{
    struct img_rebase how = { .compress = r->compress, .progress = app_progress_before_end };
    struct img_copy_fault fault = { .stage = IMG_COPY_STARTING };
    int rc;

    if (*r->backing) {
        how.backing = open_backing(image, r);
        if (!how.backing)
            return 1;
    }
    rc = img_rebase(image, &how, &fault);
    if (rc < 0)
        explain(&fault, rc);
    return how.backing ? app_close(how.backing, rc < 0) : rc < 0;
}

static int change(struct img *image, const struct request *r)
{
    bool named = r->backing && *r->backing;
    int rc;

    if (named && !r->backing_format) {
        app_error("Could not change the backing file to '%s': backing format must be specified", r->backing);
        app_advise("-F names the format of the backing file, and 'info' tells it");
        return 1;
    }
    rc = img_change_backing(image, named ? r->backing : NULL, named ? r->backing_format : NULL);
    if (rc < 0)
        app_error("Could not change the backing file to '%s': %s", r->backing ? r->backing : "(null)",
                  rc == -ENOSPC ? "No space left in the file header" : img_strerror(rc));
    return rc < 0;
}

static int rebase(struct img *image, const struct request *r, bool *copied)
{
    struct img_error err = IMG_ERROR_INIT;

    if (r->compress && !img_driver_can_compress(img_driver_of(image))) {
        app_error("Compression not supported for this file format");
        return 1;
    }
    if (r->backing_format && !img_driver_find(r->backing_format)) {
        img_error_set(&err, EINVAL, "Invalid format name: '%s'", r->backing_format);
        img_driver_advise(r->backing_format, false, &err);
        app_report(&err);
        return 1;
    }
    if (!r->unsafe && (!app_is_whole(image, r->name) || copy(image, r)))
        return 1;
    *copied = true;
    return change(image, r);
}

/* ---- The command line ------------------------------------------------------------------------ */

static void parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'p': r->progress = true; break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 't': r->cache = app->argument; break;
        case 'b': r->backing = app->argument; break;
        case 'F': r->backing_format = app->argument; break;
        case 'T': r->backing_cache = app->argument; break;
        case 'u': r->unsafe = true; break;
        case 'c': r->compress = true; break;
        case 'U': r->backing_how.flags |= IMG_SHARE; break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    if (!r->unsafe && !r->backing)
        app_usage(app, "Must specify backing file (-b) or use unsafe mode (-u)");
    r->name = app->operands[0];
    r->backing_how.format = r->backing_format;
    if (r->unsafe)
        r->how.flags |= IMG_NO_BACKING;
}

static struct img *open_image(struct request *r)
{
    if (!app_cache(r->cache, "cache", &r->how.cache) ||
        !app_cache(r->backing_cache, "source cache", &r->backing_how.cache))
        return NULL;
    return app_open(r->name, &r->how);
}

static int run(struct app *app)
{
    struct request r = { .how = { .flags = IMG_RDWR }, .cache = "writeback", .backing_cache = "writeback" };
    bool copied = false;
    struct img *image;
    int status = 1;

    parse(app, &r);
    app_progress_start(r.progress && !app_quiet, 1.0);
    image = open_image(&r);
    if (image)
        status = app_close_after(image, rebase(image, &r, &copied));
    app_progress_end(copied);
    return status;
}

const struct applet applet_rebase = {
    .name = "rebase",
    .title = "change or remove the backing file of an image",
    .synopsis = "[-q] [-f FMT | --image-opts] [--strict-format] "
                "[-t CACHE] [-U] [-p] [-b BACKING_FILENAME [-F BACKING_FMT] "
                "[-T BACKING_CACHE]] [-u] [-c] [--object OBJDEF] FILENAME",
    .options = options,
    .operands = "The guest-visible content stays the same: data that differs in the new backing\n"
                "file is first copied to the image.  With -u nothing is copied; the new backing\n"
                "file must have the content of the old one.",
    .main = run,
};
