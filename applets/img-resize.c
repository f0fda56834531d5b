/* SPDX-License-Identifier: MIT */
/* img-resize.c - change the size of the disk in an image. */
#include "applet.h"

#include <string.h>

enum { OPT_SHRINK = APP_LONG, OPT_PREALLOCATION };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_IMAGE_ROWS,
    { OPT_SHRINK, "shrink", NULL, "allow the new size to be smaller; the data beyond it is lost" },
    { OPT_PREALLOCATION, "preallocation", "PREALLOC",
      "preallocate the new area: off, metadata, falloc, full (off)" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

enum relation { ABSOLUTE, LARGER_BY, SMALLER_BY };

struct request {
    const char *name;
    struct img_open how;
    const char *preallocation;
    bool shrink;
    enum relation relation;
    uint64_t size;
};

/* ---- The command line --------------------------------------------------------------------- */

static bool parse_preallocation(struct request *r, const char *text)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full" };

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(text, modes[i]) == 0) {
            r->preallocation = modes[i];
            return true;
        }
    }
    app_error("Invalid preallocation mode '%s'", text);
    return false;
}

static bool parse_size(struct request *r, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;

    if (*text == '+' || *text == '-')
        r->relation = *text++ == '+' ? LARGER_BY : SMALLER_BY;

    int rc = app_parse_size(text, &r->size);
    if (rc == 0)
        return true;
    img_options_bad_size("size", text, rc, &err);
    app_report(&err);
    return false;
}

static bool parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case OPT_SHRINK: r->shrink = true; break;
        case OPT_PREALLOCATION:
            if (!parse_preallocation(r, app->argument))
                return false;
            break;
        }
    }
    if (app->operand_count > 2 && compat_profile() >= COMPAT_10_0)
        app_usage(app, "Extra argument(s) in command line");
    if (app->operand_count != 2)
        app_usage(app, "Expecting image file name and size");
    r->name = app->operands[0];
    return parse_size(r, app->operands[1]);
}

/* ---- Resizing -------------------------------------------------------------------------------- */

static int resize(struct img *image, const struct request *r)
{
    struct img_error err = IMG_ERROR_INIT;
    uint64_t now = img_size(image), size = r->size;

    /* Sums wrap around as in qemu-img, so that both tools refuse the same sizes as negative. */
    if (r->relation == LARGER_BY)
        size = now + size;
    else if (r->relation == SMALLER_BY)
        size = now - size;
    if (size == 0 || size > INT64_MAX) {
        app_error("New image size must be positive");
        return 1;
    }
    if (size <= now && strcmp(r->preallocation, "off") != 0) {
        app_error("Preallocation can only be used for growing images");
        return 1;
    }
    if (size < now && !r->shrink) {
        app_error("Use the --shrink option to perform a shrink operation.");
        app_warning("Shrinking an image will delete all data beyond the shrunken image's end. Before performing such "
                    "an operation, make sure there is no important data there.");
        app_advise_sizes("disk", now, "resized one", size);
        if (r->relation == ABSOLUTE)
            app_advise("'+SIZE' makes the disk larger by this amount");
        return 1;
    }
    if (img_resize(image, size, r->preallocation, &err) < 0) {
        app_report(&err);
        return 1;
    }
    app_say("Image resized.\n");
    return 0;
}

static int run(struct app *app)
{
    struct request r = { .how = { .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_WRITEBACK },
                         .preallocation = "off" };

    if (!parse(app, &r))
        return 1;
    struct img *image = app_open(r.name, &r.how);
    if (!image)
        return 1;
    return app_close(image, resize(image, &r));
}

const struct applet applet_resize = {
    .name = "resize",
    .title = "change the size of the disk in an image",
    .synopsis = "[-q] [-f FMT | --image-opts] [--strict-format] "
                "[--shrink] [--preallocation PREALLOC] [--object OBJDEF] "
                "FILENAME [+|-]SIZE",
    .options = options,
    .minus_number = true,
    .operands = "SIZE is the new size; with + or - it is the amount to grow or shrink by.  It\n"
                "is in bytes, or has a suffix k, M, G, T, P or E (powers of 1024).  Partitions\n"
                "and file systems inside are not changed.",
    .main = run,
};
