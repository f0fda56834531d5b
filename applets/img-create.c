/* SPDX-License-Identifier: MIT */
/*
 * img-create.c - create an image, empty or as an overlay of a backing file.  All
 * checks are done before anything is written, in the order of qemu-img, because scripts
 * expect its messages.
 */
#include "applet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    { 'f', "format", "FMT", "format of the new image (raw)" },
    APP_OBJECT_ROW,
    { 'o', "options", "FMT_OPTS", "creation options, key=value,...; '-o help' lists them" },
    { 'b', "backing", "BACKING_FILENAME", "make the image an overlay of this file" },
    { 'F', "backing-format", "BACKING_FMT", "format of that backing file" },
    { 'B', NULL, "BACKING_FMT", NULL },
    { 'u', "backing-unsafe", NULL, "do not open the backing file to check it" },
    { 0, NULL, NULL, NULL }
};

struct request {
    struct app *app;
    const char *format, *name;
    const char *backing, *backing_format;   /* from -b and -F */
    bool clones;                            /* the storage takes the backing file, and needs no format of it */
    const struct img_driver *driver;
    struct img_doc *options;        /* flat: those of -o, with -b, -F and SIZE added */
    bool want_help, unchecked, has_size;
    uint64_t size;
};

/* ---- The command line ----------------------------------------------------------- */

static bool parse_options(struct request *r)
{
    struct app *app = r->app;
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'f': r->format = app->argument; break;
        case 'o':
            if (!app_add_options(&r->options, app->argument, &r->want_help))
                return false;
            break;
        case 'b': r->backing = app->argument; break;
        case 'F': case 'B': r->backing_format = app->argument; break;
        case 'u': r->unchecked = true; break;
        }
    }
    return true;
}

static bool parse_operands(struct request *r)
{
    struct app *app = r->app;

    r->name = app->operand_count ? app->operands[0] : NULL;
    if (r->want_help)
        return true;
    if (!r->name)
        app_usage(app, "Expecting image file name");
    if (app->operand_count > 1) {
        if (!app_size(app->operands[1], "image size", &r->size))
            return false;
        r->has_size = true;
    }
    if (app->operand_count > 2)
        app_usage(app, "Unexpected argument: %s", app->operands[2]);
    return true;
}

/* ---- Help ------------------------------------------------------------------------- */

static int print_help(const struct request *r)
{
    if (!r->driver) {
        app_unknown_format(r->format);
        return 1;
    }
    return app_can_create(r->driver) ? app_create_help(r->driver, r->name) : 1;
}

/* ---- The backing file --------------------------------------------------------------- */

static void say_backing_failed(struct img_error *err, const char *backing)
{
    app_cut_prefix(err, backing);
    img_error_hint(err, "Could not open backing image.");
}

/* Open the backing file to check it, and to get its size if none was given. */
static int check_backing(struct request *r, const char *backing, const char *format, struct img_error *err)
{
    CLEANUP_FREE char *full = app_need(img_name_beside(r->name, backing));
    /* This only looks at the file, so it may be open for writing elsewhere. */
    struct img_open how = { .format = format, .flags = IMG_NO_IO | IMG_SHARE };
    struct img *image = NULL;
    struct img_error ignored = IMG_ERROR_INIT;
    int rc;

    if (!*r->name && img_name_is_relative(backing))
        return img_error_set(err, EINVAL, "Cannot use relative backing file names for ''");
    rc = img_open(&image, full, &how, err);
    if (rc < 0) {
        app_advise_beside(backing, full, err);
        say_backing_failed(err, full);
        return rc;
    }
    if (!format && !r->clones) {
        rc = img_error_set(err, EINVAL, "Backing file specified without backing format");
        img_error_hint(err, "Detected format of %s.", img_driver_name(img_driver_of(image)));
        img_error_advise(err, "if that is right, add '-F %s'", img_driver_name(img_driver_of(image)));
    } else if (!r->has_size && !img_doc_get(r->options, "size")) {
        r->size = img_size(image);
        r->has_size = true;
    }
    app_protect(image);
    img_close(image, &ignored);
    img_error_clear(&ignored);
    return rc;
}

/* -b and -F override -o, in any order. */
static int take_letters(struct request *r, struct img_error *err)
{
    bool possible;

    r->clones = img_create_clones(r->driver, r->name);
    possible = r->clones || img_driver_can_back(r->driver);
    if (r->backing && !possible)
        return img_error_set(err, ENOTSUP, "Backing file not supported for file format '%s'", r->format);
    if (r->backing_format && !possible)
        return img_error_set(err, ENOTSUP, "Backing file format not supported for file format '%s'", r->format);
    if (r->backing)
        img_doc_put_string(r->options, "backing_file", r->backing);
    if (r->backing_format)
        img_doc_put_string(r->options, "backing_fmt", r->backing_format);
    return 0;
}

static int settle_backing(struct request *r, struct img_error *err)
{
    const char *backing = img_doc_string_at(r->options, "backing_file");
    const char *format = img_doc_string_at(r->options, "backing_fmt");

    if (!backing)
        return 0;
    if (!*backing)
        return img_error_set(err, EINVAL, "Expected backing file name, got empty string");
    if (!strcmp(backing, r->name))
        return img_error_set(err, EINVAL,
                             "Error: Trying to create an image with the same filename as the backing file");
    if (!r->unchecked)
        return check_backing(r, backing, format, err);
    if (!format && !r->clones)
        return img_error_set(err, EINVAL, "Backing file specified without backing format");
    return 0;
}

/* ---- Creating it ---------------------------------------------------------------------- */

static int check_driver(const struct request *r, struct img_error *err)
{
    int rc;

    if (!r->driver) {
        img_driver_advise(r->format, true, err);
        return img_error_set(err, EINVAL, "Unknown file format '%s'", r->format);
    }
    rc = img_driver_need(r->driver, err);
    if (rc == 0 && !img_driver_can_create(r->driver))
        rc = img_error_set(err, ENOTSUP, "Format driver '%s' does not support image creation", r->format);
    return rc;
}

/* All checks that are possible before the target is touched. */
static int check(struct request *r, struct img_error *err)
{
    int rc = check_driver(r, err);

    if (rc == 0)
        rc = img_create_check(r->driver, r->name, r->options, err);
    if (rc == 0 && r->has_size && img_doc_get(r->options, "size"))
        rc = img_error_set(err, EINVAL, "The image size must be specified only once");
    if (rc == 0)
        rc = take_letters(r, err);
    if (rc == 0)
        rc = settle_backing(r, err);
    if (rc < 0)
        return rc;
    if (r->has_size)
        img_doc_put_uint(r->options, "size", r->size);
    if (!img_doc_get(r->options, "size")) {
        img_error_advise(err, "the size stands behind the name, as in 'create %s 10G'", r->name);
        return img_error_set(err, EINVAL, "Image creation needs a size parameter");
    }
    return 0;
}

/* All options with their values, of the format and of the storage of this name. */
static char *describe(const struct request *r)
{
    const struct img_driver *storage = img_driver_for_name(r->name);
    const struct img_option *tables[2] = { img_driver_options(r->driver),
                                           storage ? img_driver_options(storage) : NULL };
    size_t count = img_driver_kind(r->driver) == IMG_PROTOCOL ? 1 : 2;

    return app_need(img_options_describe(tables, count, r->options));
}

/* Whatever was too large, the message names the image that the user asked for. */
static void say_too_large(const struct request *r, struct img_error *err)
{
    const struct img_option *option = img_driver_options(r->driver);
    struct img_error said = *err;

    while (option && option->name && strcmp(option->name, "cluster_size"))
        option++;
    *err = (struct img_error){ .advice = said.advice };
    said.advice = NULL;
    img_error_clear(&said);
    img_error_set(err, EFBIG, "The image size is too large for file format '%s'%s", r->format,
                  option && option->name ? " (try using a larger cluster size)" : "");
}

static int create(struct request *r, struct img_error *err)
{
    int rc = check(r, err);

    if (rc < 0)
        return rc;
    if (!app_quiet) {
        CLEANUP_FREE char *description = describe(r);
        CLEANUP_FREE char *line = app_asprintf("Formatting '%s', fmt=%s%s%s\n", r->name, r->format,
                                               *description ? " " : "", description);

        img_hide_passwords(line);
        fputs(line, stdout);
        app_flush();
    }
    app_partial_start(false);
    rc = img_create(r->driver, r->name, r->options, err);
    if (rc == 0)
        app_partial_done();
    if (rc == -EFBIG)
        say_too_large(r, err);
    return rc;
}

static int run(struct app *app)
{
    struct request r = { .app = app, .format = IMG_PLAIN_FORMAT, .options = app_whole(img_doc_object()) };
    struct img_error err = IMG_ERROR_INIT;
    int status = 1;

    if (parse_options(&r) && parse_operands(&r)) {
        r.driver = img_driver_find(r.format);
        if (r.want_help)
            status = print_help(&r);
        else if (create(&r, &err) == 0)
            status = 0;
        else
            app_report_with(&err, "%s: ", r.name);
    }
    img_doc_free(r.options);
    return status;
}

const struct applet applet_create = {
    .name = "create",
    .title = "create an image, empty or as an overlay of a backing file",
    .synopsis = "[-q] [-f FMT] [-o FMT_OPTS] [-b BACKING_FILENAME [-F BACKING_FMT]] [-u] [--object OBJDEF] "
                "FILENAME [SIZE]",
    .options = options,
    .operands = "FILENAME is the image to create; an existing file is replaced.\n"
                "SIZE is in bytes, or has a suffix k, M, G, T, P or E (powers of 1024).  It\n"
                "defaults to the size of the backing file.",
    .main = run,
};
