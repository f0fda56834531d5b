/* SPDX-License-Identifier: MIT */
/* img-amend.c - change creation options of an existing image. */
#include "applet.h"

#include <stdio.h>

enum { OPT_FORCE = APP_LONG };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_PROGRESS_ROW,
    APP_IMAGE_ROWS,
    { 't', "cache", "CACHE_MODE", "cache mode of the image (writeback)" },
    { OPT_FORCE, "force", NULL, "allow changes that may make an encrypted image unreadable" },
    { 'o', "options", "FMT_OPTS", "options to change, key=value,...; '-o help' lists them" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name, *cache;
    struct img_open how;
    struct img_doc *options;        /* flat; NULL: none */
    bool want_help, progress, force;
};

/* ---- The command line --------------------------------------------------------------------- */

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
        case OPT_FORCE: r->force = true; break;
        case 'o':
            if (!app_add_options(&r->options, app->argument, &r->want_help))
                return false;
            break;
        }
    }
    if (!r->options && !r->want_help)
        app_usage(app, "Must specify options (-o)");
    r->name = app->operand_count == 1 ? app->operands[0] : NULL;
    return true;
}

/* ---- Amending --------------------------------------------------------------------------------- */

static int print_help(const struct img_driver *driver)
{
    struct img_error err = IMG_ERROR_INIT;
    CLEANUP_FREE char *text = img_amend_help(driver, &err);

    if (!text) {
        app_report(&err);
        return 1;
    }
    app_output_is_help();
    printf("%s", text);
    return 0;
}

/* -o help with -f needs no image. */
static int print_format_help(const struct request *r)
{
    const struct img_driver *driver = img_driver_find(r->how.format);

    if (driver)
        return print_help(driver);
    app_unknown_format(r->how.format);
    return 1;
}

static int amend(struct img *image, const struct request *r)
{
    struct img_amend how = { .force = r->force, .progress = app_progress };
    struct img_error err = IMG_ERROR_INIT;

    if (r->want_help)
        return print_help(img_driver_of(image));
    app_progress_in_steps();
    app_progress_start(r->progress && !app_quiet, 1.0);
    int rc = img_amend(image, r->options, &how, &err);
    if (rc < 0)
        app_report(&err);
    app_progress_end(rc == 0);
    return rc < 0;
}

static int amend_file(struct request *r)
{
    struct img *image;

    if (r->want_help && r->how.format)
        return print_format_help(r);
    if (!app_one_format(r->how.image_opts, r->how.format))
        return 1;
    if (!r->name) {
        app_error("Expecting one image file name");
        return 1;
    }
    if (!app_cache(r->cache, "cache", &r->how.cache) || !(image = app_open(r->name, &r->how)))
        return 1;
    return app_close_after(image, amend(image, r));
}

static int run(struct app *app)
{
    struct request r = { .cache = "writeback", .how = { .flags = IMG_RDWR | IMG_RESIZE } };
    int status = parse(app, &r) ? amend_file(&r) : 1;

    img_doc_free(r.options);
    return status;
}

const struct applet applet_amend = {
    .name = "amend",
    .title = "change creation options of an existing image",
    .synopsis = "[-q] [-p] [-f FMT | --image-opts] [--strict-format] "
                "[-t CACHE_MODE] [--force] [--object OBJDEF] -o FMT_OPTS FILENAME",
    .options = options,
    .operands = "Changes are applied one after the other. If one fails, the changes before it\n"
                "stay.",
    .main = run,
};
