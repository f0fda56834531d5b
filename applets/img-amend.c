/* SPDX-License-Identifier: MIT */
/* img-amend.c - give an image other options than those that it was created with. */
#include "applet.h"
#include "../libimg/util/cleanup.h"

#include <stdio.h>

enum { OPT_IMAGE_OPTS = APP_LONG, OPT_OBJECT, OPT_FORCE };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print nothing but errors" },
    { 'p', "progress", NULL, "show how far it has come" },
    { 'f', "format", "FMT", "format of the image; without it the content is probed" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is key=value,... instead of a file name" },
    { 't', "cache", "CACHE_MODE", "cache mode of the image (writeback)" },
    { OPT_FORCE, "force", NULL, "allow what may make an encrypted image unreadable" },
    { 'o', "options", "FMT_OPTS", "what to change, key=value,...; '-o help' lists what can be" },
    { OPT_OBJECT, "object", "OBJDEF", "define an object (such as a secret)" },
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name, *cache;
    struct img_open how;
    struct img_doc *options;        /* flat; NULL: no -o was given */
    bool want_help, progress, force;
};

/* ---- The command line --------------------------------------------------------------------- */

static bool add_options(struct request *r, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;

    if (!r->options)
        r->options = img_doc_object();
    if (img_options_want_help(text)) {
        r->want_help = true;
        return true;
    }
    if (img_options_add(r->options, text, &err) == 0)
        return true;
    app_report(&err);
    return false;
}

static bool parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'p': r->progress = true; break;
        case 'f': r->how.format = app->argument; break;
        case OPT_IMAGE_OPTS: r->how.image_opts = true; break;
        case 't': r->cache = app->argument; break;
        case OPT_FORCE: r->force = true; break;
        case 'o':
            if (!add_options(r, app->argument))
                return false;
            break;
        case OPT_OBJECT: app_object(app->argument); break;
        }
    }
    if (!r->options)
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
    printf("%s", text);
    return 0;
}

/* -o help with -f needs no image. */
static int print_format_help(const struct request *r)
{
    const struct img_driver *driver = img_driver_find(r->how.format);

    if (driver)
        return print_help(driver);
    app_error("Unknown file format '%s'", r->how.format);
    return 1;
}

static int amend(struct img *image, const struct request *r)
{
    struct img_amend how = { .force = r->force, .progress = app_progress };
    struct img_error err = IMG_ERROR_INIT;

    if (r->want_help)
        return print_help(img_driver_of(image));
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
    return app_close(image, amend(image, r));
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
    .title = "give an image other options than those that it was created with",
    .synopsis = "[-q] [-p] [-f FMT | --image-opts] [-t CACHE_MODE] [--force] [--object OBJDEF] -o FMT_OPTS FILENAME",
    .options = options,
    .operands = "Several options are applied one after the other; what was applied before an error stays.",
    .main = run,
};
