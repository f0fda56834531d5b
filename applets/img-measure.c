/* SPDX-License-Identifier: MIT */
/* img-measure.c - calculate the file size of a new image. */
#include "applet.h"

#include <inttypes.h>
#include <stdio.h>

enum { OPT_OUTPUT = APP_LONG, OPT_SIZE };

static const struct app_option options[] = {
    { 'O', "target-format", "FMT", "format of the new image (raw)" },
    { 'o', "target-options", "FMT_OPTS", "creation options of the new image, key=value,..." },
    { 'o', "options", "FMT_OPTS", NULL },
    { OPT_SIZE, "size", "SIZE", "measure an empty disk of this size" },
    { 'f', "source-format", "FMT", "format of FILENAME; probed if omitted" },
    { 'f', "format", "FMT", NULL },
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list key=value,..., not a file name" },
    { APP_IMAGE_OPTS, "source-image-opts", NULL, NULL },
    APP_STRICT_FORMAT_ROW,
    { 'l', "snapshot", "SNAPSHOT", "measure this internal snapshot: its id or name,\n"
                                   "or snapshot.id=ID,snapshot.name=NAME" },
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks" },
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    struct app *app;
    const char *name, *snapshot;    /* name NULL: `size` */
    const char *target_format;
    struct img_open how;
    struct img_doc *create_options; /* flat; NULL: none */
    enum app_output output;
    uint64_t size;
    bool has_size;
};

/* ---- The command line -------------------------------------------------------------------- */

static bool parse_options(struct request *r)
{
    struct app *app = r->app;
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'O': r->target_format = app->argument; break;
        case 'o':
            if (!app_add_options(&r->create_options, app->argument, NULL))
                return false;
            break;
        case OPT_SIZE:
            if (!app_size(app->argument, "image size", &r->size))
                return false;
            r->has_size = true;
            break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 'l':
            if (!app_check_snapshot(app->argument, '\''))
                return false;
            r->snapshot = app->argument;
            break;
        case 'U': r->how.flags |= IMG_SHARE; break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    return true;
}

static bool check_operands(struct request *r)
{
    if (r->app->operand_count > 1)
        return app_refuse("At most one filename argument is allowed.");
    r->name = r->app->operand_count ? r->app->operands[0] : NULL;
    if (!r->name && (r->how.image_opts || r->how.format || r->snapshot))
        return app_refuse("--image-opts, -f, and -l require a filename argument.");
    if (!r->name && !r->has_size)
        return app_refuse("Either --size N or one filename must be specified.");
    if (r->name && r->has_size)
        return app_refuse("--size N cannot be used together with a filename.");
    return true;
}

/* ---- Output -------------------------------------------------------------------------------- */

static void print_json(const struct img_measure *result)
{
    struct img_doc *report = img_doc_object();

    if (result->has_bitmaps)
        img_doc_put_uint(report, "bitmaps", result->bitmaps);
    img_doc_put_uint(report, "required", result->required);
    img_doc_put_uint(report, "fully-allocated", result->fully_allocated);
    app_print_json(report);
    img_doc_free(report);
}

static void print_human(const struct img_measure *result)
{
    printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", result->required,
           result->fully_allocated);
    if (result->has_bitmaps)
        printf("bitmaps size: %" PRIu64 "\n", result->bitmaps);
}

/* ---- Measuring ------------------------------------------------------------------------------- */

/* Two lines, and advice behind both. */
static int refuse_options(const struct request *r, struct img_error *err)
{
    struct img_error advice = { .advice = err->advice };

    err->advice = NULL;
    app_report(err);
    app_error("Invalid options for file format '%s'", r->target_format);
    app_advise_all(&advice);
    return 1;
}

static const struct img_driver *find_target(const struct request *r)
{
    const struct img_driver *driver = img_driver_find(r->target_format);

    if (!driver) {
        app_unknown_format(r->target_format);
        return NULL;
    }
    if (!img_driver_usable(driver)) {
        app_error("Block driver '%s' does not support size measurement", r->target_format);
        return NULL;
    }
    return app_can_create(driver) ? driver : NULL;
}

static int measure(const struct request *r, struct img *source)
{
    const struct img_driver *driver = find_target(r);
    struct img_error err = IMG_ERROR_INIT;
    struct img_measure result;

    if (!driver)
        return 1;
    if (img_measure_check(driver, r->create_options, &err) < 0)
        return refuse_options(r, &err);
    if (img_measure(driver, r->create_options, source, r->size, &result, &err) < 0) {
        app_report(&err);
        return 1;
    }
    if (r->output == APP_JSON)
        print_json(&result);
    else
        print_human(&result);
    return 0;
}

static int open_and_measure(const struct request *r)
{
    struct img *source = NULL;
    int status = 1;

    if (r->name && !(source = app_open_seekable(r->name, &r->how)))
        return 1;
    if (!r->snapshot || app_load_snapshot(source, r->snapshot) == 0)
        status = measure(r, source);
    return app_close(source, status);
}

static int run(struct app *app)
{
    struct request r = { .app = app, .target_format = IMG_PLAIN_FORMAT };
    int status = 1;

    if (parse_options(&r) && check_operands(&r))
        status = open_and_measure(&r);
    img_doc_free(r.create_options);
    return status;
}

const struct applet applet_measure = {
    .name = "measure",
    .title = "calculate the file size of a new image, for a copy or for an empty disk",
    .synopsis = "[-O FMT] [-o FMT_OPTS] [-f FMT | --image-opts] [--strict-format] "
                "[-l SNAPSHOT] [-U] [--output human|json] "
                "[--object OBJDEF] (--size SIZE | FILENAME)",
    .options = options,
    .operands = "FILENAME is the image to convert.  Only its map is read, not its data.\n"
                "`required size` is the most that the copy needs, `fully allocated size` what\n"
                "it needs after the whole disk was written, `bitmaps size` what `convert\n"
                "--bitmaps` adds.",
    .owes_output = 1,
    .main = run,
};
