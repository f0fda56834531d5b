/* SPDX-License-Identifier: MIT */
/* img-compare.c - compare the content of two images.  The walk is in compare-walk.c. */
#include "compare.h"
#include "source.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { OPT_OUTPUT = APP_LONG };
enum { STATUS_SAME, STATUS_DIFFERENT, STATUS_OPEN, STATUS_MAP, STATUS_READ };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "print only errors" },
    APP_PROGRESS_ROW,
    { 'f', "a-format", "FMT", "format of the first image; probed if omitted" },
    { 'f', "left-format", "FMT", NULL },
    { 'F', "b-format", "FMT", "format of the second image" },
    { 'F', "right-format", "FMT", NULL },
    { APP_IMAGE_OPTS, "image-opts", NULL, "FILENAMEs are lists key=value,..., not file names" },
    APP_STRICT_FORMAT_ROW,
    { 's', "strict", NULL, "sizes and allocation must be equal too" },
    { 'T', "cache", "CACHE_MODE", "cache mode of the images (writeback)" },
    { 'U', "force-share", NULL, "do not lock the images, and ignore locks" },
    APP_OBJECT_ROW,
    { OPT_OUTPUT, "output", "human|json", "output format (human)" },
    { 0, NULL, NULL, NULL }
};

struct request {
    const char *names[2];
    struct img_open how[2];
    const char *cache;
    bool strict, progress;
    enum app_output output;
    struct app_source opened[2];
    struct img *images[2];
    uint64_t sizes[2], total;
};

/* ---- The verdict --------------------------------------------------------------------- */

static void say(const struct request *r, const char *format, ...) IMG_PRINTF(2, 3);

static void say(const struct request *r, const char *format, ...)
{
    va_list arguments;

    if (app_quiet || r->output == APP_JSON)
        return;
    app_progress_break();
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}

static void print_json(const struct request *r, const char *reason, const struct compare_finding *finding)
{
    struct img_doc *verdict;

    if (app_quiet || r->output != APP_JSON)
        return;
    verdict = img_doc_object();
    img_doc_put_bool(verdict, "identical", !reason);
    if (reason)
        img_doc_put_string(verdict, "difference", reason);
    if (finding)
        img_doc_put_uint(verdict, "offset", finding->offset);
    img_doc_put_uint(verdict, "size-a", r->sizes[0]);
    img_doc_put_uint(verdict, "size-b", r->sizes[1]);
    img_doc_put_bool(verdict, "strict", r->strict);
    app_print_json(verdict);
    img_doc_free(verdict);
}

/* Report the finding; `names` are the names of the compared images. */
static int conclude(const struct request *r, const struct compare_finding *finding, struct img *const images[2],
                    const char *const names[2])
{
    switch (finding->result) {
    case COMPARE_CONTENT:
        say(r, "Content mismatch at offset %" PRIu64 "!\n", finding->offset);
        print_json(r, "content", finding);
        return STATUS_DIFFERENT;
    case COMPARE_STATUS:
        say(r, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", finding->offset);
        print_json(r, "allocation", finding);
        return STATUS_DIFFERENT;
    case COMPARE_MAP_FAILED:
        app_error("Sector allocation test failed for %s", names[finding->side]);
        return STATUS_MAP;
    case COMPARE_READ_FAILED:
        app_error("Error while reading offset %" PRIu64 " of %s: %s", finding->offset, names[finding->side],
                  img_read_error(images[finding->side], finding->code));
        return STATUS_READ;
    case COMPARE_SAME:
        break;
    }
    return STATUS_SAME;
}

/* ---- The comparison -------------------------------------------------------------------- */

static void report_progress(void *context, uint64_t done)
{
    const struct request *r = context;

    app_progress(NULL, done, r->total);
}

static int walk(struct request *r, struct img *a, struct img *b, uint64_t start, uint64_t end,
                const char *const names[2])
{
    struct compare what = { .images = { a, b }, .start = start, .end = end, .strict = r->strict,
                            .progress = report_progress, .context = r };
    struct compare_finding finding;

    if (start == end)
        return STATUS_SAME;
    finding = compare_images(&what);
    return conclude(r, &finding, what.images, names);
}

/* The rest of the longer image must be zeroes. */
static int compare_rest(struct request *r, uint64_t common)
{
    unsigned longer = r->sizes[1] > r->sizes[0];
    const char *names[2] = { r->names[longer], r->names[longer] };

    say(r, "Warning: Image size mismatch!\n");
    return walk(r, r->images[longer], NULL, common, r->total, names);
}

static int compare(struct request *r)
{
    uint64_t common = img_min(r->sizes[0], r->sizes[1]);
    int status;

    if (r->strict && r->sizes[0] != r->sizes[1]) {
        say(r, "Strict mode: Image size mismatch!\n");
        print_json(r, "size", NULL);
        return STATUS_DIFFERENT;
    }
    status = walk(r, r->images[0], r->images[1], 0, common, r->names);
    if (status == STATUS_SAME && r->sizes[0] != r->sizes[1])
        status = compare_rest(r, common);
    if (status == STATUS_SAME) {
        say(r, "Images are identical.\n");
        print_json(r, NULL, NULL);
    }
    return status;
}

static int compare_open(struct request *r)
{
    bool shown = r->progress && !app_quiet && r->output == APP_HUMAN;
    int status;

    for (unsigned i = 0; i < 2; i++)
        r->sizes[i] = img_size(r->images[i]);
    r->total = img_max(r->sizes[0], r->sizes[1]);
    app_progress_start(shown, 1.0);
    status = compare(r);
    app_progress_end(false);
    return status;
}

/* With -p qemu-img ends the progress line even if it never started one. */
static int give_up(const struct request *r, int status)
{
    if (r->progress && r->output == APP_HUMAN && app_progress_is_plain())
        app_say("\n");
    return status;
}

static int open_side(struct request *r, unsigned side)
{
    const struct app_reading reading = { .sized = true };

    if (app_open_source(&r->opened[side], r->names[side], &r->how[side], &reading) < 0)
        return -1;
    r->images[side] = r->opened[side].image;
    return 0;
}

static int open_and_compare(struct request *r)
{
    int status;

    if (!app_cache(r->cache, "source cache", &r->how[0].cache))
        return give_up(r, STATUS_OPEN);
    r->how[1].cache = r->how[0].cache;
    if (open_side(r, 0) < 0)
        return give_up(r, STATUS_OPEN);
    if (open_side(r, 1) < 0)
        return app_close_source(&r->opened[0], give_up(r, STATUS_OPEN));
    status = compare_open(r);
    status = app_close_source(&r->opened[1], status);
    return app_close_source(&r->opened[0], status);
}

static void parse(struct app *app, struct request *r)
{
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'q': app_quiet = true; break;
        case 'p': r->progress = true; break;
        case 'f': r->how[0].format = app->argument; break;
        case 'F': r->how[1].format = app->argument; break;
        case APP_IMAGE_OPTS: r->how[0].image_opts = r->how[1].image_opts = true; break;
        case 's': r->strict = true; break;
        case 'T': r->cache = app->argument; break;
        case 'U': r->how[0].flags |= IMG_SHARE; r->how[1].flags |= IMG_SHARE; break;
        case OPT_OUTPUT: r->output = app_output_format(app); break;
        }
    }
    if (app->operand_count != 2)
        app_usage(app, "Expecting two image file names");
    r->names[0] = app->operands[0];
    r->names[1] = app->operands[1];
}

static int run(struct app *app)
{
    struct request r = { .cache = "writeback" };

    app_object_status(STATUS_OPEN);
    parse(app, &r);
    return open_and_compare(&r);
}

const struct applet applet_compare = {
    .name = "compare",
    .title = "compare the content of two images",
    .synopsis = "[-f FMT] [-F FMT | --image-opts] [--strict-format] "
                "[-s] [-p] [-q] [-T CACHE_MODE] [-U] [--object OBJDEF] "
                "[--output human|json] FILENAME1 FILENAME2",
    .options = options,
    .operands = "Exit code: 0 same content, 1 different content, 2 an image cannot be opened or\n"
                "the result cannot be printed, 3 the allocation cannot be determined, 4 an\n"
                "image cannot be read.",
    .owes_output = STATUS_OPEN,
    .main = run,
};
