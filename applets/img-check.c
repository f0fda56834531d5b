/* SPDX-License-Identifier: MIT */
/* img-check.c - check the metadata of an image for consistency, and repair it on request. */
#include "applet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OPT_OUTPUT = APP_LONG };
enum { STATUS_GOOD = 0, STATUS_FAILED = 1, STATUS_CORRUPT = 2, STATUS_LEAKS = 3, STATUS_UNSUPPORTED = 63 };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_IMAGE_ROWS,
    { 'T', "cache", "CACHE_MODE", "cache mode of the image (writeback)" },
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks" },
    { 'r', "repair", "leaks|all", "free leaked clusters, or repair everything" },
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *name;
    struct img_open how;
    unsigned repair;
    enum app_output output;
    const char *cache;
};

/* ---- Output --------------------------------------------------------------------------- */

static void put_nonzero(struct img_doc *report, const char *key, uint64_t value)
{
    if (value)
        img_doc_put_uint(report, key, value);
}

static void print_json(struct img *image, const struct request *r, const struct img_check *check)
{
    struct img_doc *report = img_doc_object();

    put_nonzero(report, "image-end-offset", check->image_end_offset);
    put_nonzero(report, "compressed-clusters", check->compressed_clusters);
    put_nonzero(report, "total-clusters", check->total_clusters);
    put_nonzero(report, "corruptions", check->corruptions);
    put_nonzero(report, "corruptions-fixed", check->corruptions_fixed);
    img_doc_put_uint(report, "check-errors", check->check_errors);
    put_nonzero(report, "leaks", check->leaks);
    put_nonzero(report, "leaks-fixed", check->leaks_fixed);
    put_nonzero(report, "allocated-clusters", check->allocated_clusters);
    img_doc_put_string(report, "filename", r->name);
    img_doc_put_string(report, "format", img_driver_name(img_driver_of(image)));
    put_nonzero(report, "fragmented-clusters", check->fragmented_clusters);
    app_print_json(report);
    img_doc_free(report);
}

static double percent(uint64_t part, uint64_t whole)
{
    return (double)part * 100 / (double)whole;
}

static void print_clusters(const struct img_check *check)
{
    if (!check->total_clusters || !check->allocated_clusters)
        return;
    printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
           check->allocated_clusters, check->total_clusters,
           percent(check->allocated_clusters, check->total_clusters),
           percent(check->fragmented_clusters, check->allocated_clusters),
           percent(check->compressed_clusters, check->allocated_clusters));
}

static void print_human(const struct img_check *check)
{
    if (!check->corruptions && !check->leaks && !check->check_errors)
        printf("No errors were found on the image.\n");
    if (check->corruptions)
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n", check->corruptions);
    if (check->leaks)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", check->leaks);
    if (check->check_errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", check->check_errors);
    print_clusters(check);
    if (check->image_end_offset)
        printf("Image end offset: %" PRIu64 "\n", check->image_end_offset);
}

static void print(struct img *image, const struct request *r, const struct img_check *check)
{
    if (app_quiet)
        return;
    if (r->output == APP_JSON)
        print_json(image, r, check);
    else
        print_human(check);
}

static void print_repaired(const struct request *r, const struct img_check *check)
{
    if (r->output == APP_HUMAN)
        app_say("The following inconsistencies were found and repaired:\n\n"
                "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
                "Double checking the fixed image now...\n", check->leaks_fixed, check->corruptions_fixed);
}

/* ---- The check -------------------------------------------------------------------------- */

/* One pass; STATUS_GOOD if it could be completed. */
static int check_once(struct img *image, unsigned repair, struct img_check *check)
{
    struct img_error err = IMG_ERROR_INIT;
    int rc = img_check(image, repair, check, &err);

    img_error_clear(&err);
    if (rc == 0)
        return STATUS_GOOD;
    if (rc == -ENOTSUP) {
        app_error("This image format does not support checks");
        return STATUS_UNSUPPORTED;
    }
    app_error("Check failed: %s", img_strerror(rc));
    return STATUS_FAILED;
}

static int check_image(struct img *image, const struct request *r)
{
    struct img_check check = { 0 };
    int status = check_once(image, r->repair, &check);

    if (status == STATUS_GOOD && (check.leaks_fixed || check.corruptions_fixed)) {
        struct img_check again = { 0 };

        print_repaired(r, &check);
        status = check_once(image, 0, &again);
        again.leaks_fixed = check.leaks_fixed;
        again.corruptions_fixed = check.corruptions_fixed;
        check = again;
    }
    if (status != STATUS_GOOD)
        return status;
    print(image, r, &check);
    if (check.check_errors) {
        app_error("Check failed");
        return STATUS_FAILED;
    }
    if (check.corruptions)
        return STATUS_CORRUPT;
    return check.leaks ? STATUS_LEAKS : STATUS_GOOD;
}

/* ---- The command line --------------------------------------------------------------------- */

static void parse_repair(const struct app *app, struct request *r)
{
    if (!strcmp(app->argument, "leaks"))
        r->repair = IMG_REPAIR_LEAKS;
    else if (!strcmp(app->argument, "all"))
        r->repair = IMG_REPAIR_LEAKS | IMG_REPAIR_ERRORS;
    else if (compat_profile() < COMPAT_10_0)
        app_usage(app, "Unknown option value for -r (expecting 'leaks' or 'all'): %s", app->argument);
    else
        app_usage(app, "--repair (-r) expects 'leaks' or 'all' not '%s'", app->argument);
    r->how.flags |= IMG_RDWR;
}

static void parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'f': r->how.format = app->argument; break;
        case APP_IMAGE_OPTS: r->how.image_opts = true; break;
        case 'T': r->cache = app->argument; break;
        case 'U': r->how.flags |= IMG_SHARE; break;
        case 'r': parse_repair(app, r); break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    if (app->operand_count != 1)
        app_usage(app, "Expecting one image file name");
    r->name = app->operands[0];
}

static int run(struct app *app)
{
    struct request r = { .how = { .flags = IMG_CHECK }, .cache = "writeback" };
    struct img *image;

    parse(app, &r);
    if (!app_cache(r.cache, "source cache", &r.how.cache))
        return STATUS_FAILED;
    image = app_open_seekable(r.name, &r.how);
    if (!image)
        return STATUS_FAILED;
    return app_close(image, check_image(image, &r));
}

const struct applet applet_check = {
    .name = "check",
    .title = "check the metadata of an image for consistency, and repair it on request",
    .synopsis = "[-q] [-f FMT | --image-opts] [--strict-format] "
                "[-T CACHE_MODE] [-U] [-r leaks|all] [--output human|json] "
                "[--object OBJDEF] FILENAME",
    .options = options,
    .operands = "Exit code: 0 consistent (possibly after a repair), 1 the check failed, 2\n"
                "corrupt, 3 leaked clusters but not corrupt, 63 the format does not support\n"
                "checks.",
    .owes_output = 1,
    .main = run,
};
