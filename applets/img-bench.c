/* SPDX-License-Identifier: MIT */
/* img-bench.c - run requests of one size on an image, several in flight at once, and time them. */
#include "applet.h"

#include <stdio.h>
#include <string.h>

enum { OPT_PATTERN = APP_LONG, OPT_FLUSH_INTERVAL, OPT_NO_DRAIN };

static const struct app_option options[] = {
    { 'q', "quiet", NULL, "accepted and ignored" },
    APP_IMAGE_ROWS,
    { 't', "cache", "CACHE", "cache mode of the image (writeback)" },
    { 'c', "count", "COUNT", "number of requests (75000)" },
    { 's', "buffer-size", "BUFFER_SIZE", "size of each request (4k)" },
    { 'd', "depth", "DEPTH", "requests in flight at once (64)" },
    { 'o', "offset", "OFFSET", "offset of the first request (0)" },
    { 'S', "step-size", "STEP_SIZE", "distance between the starts of two requests;\n"
                                     "0, the default: the request size" },
    { 'i', "aio", "AIO", "threads, native or io_uring; always uses threads,\n"
                         "but native needs a cache mode without the page cache" },
    { 'n', "native", NULL, "the same as -i native" },
    { 'w', "write", NULL, "write instead of read" },
    { OPT_PATTERN, "pattern", "PATTERN", "value of the bytes to write (0)" },
    { OPT_FLUSH_INTERVAL, "flush-interval", "FLUSH_INTERVAL", "flush after this many writes; 0: never" },
    { OPT_NO_DRAIN, "no-drain", NULL, "do not wait for requests in flight before a flush" },
    { 'U', "force-share", NULL, "do not lock the image, and ignore locks" },
    { 0, NULL, NULL, NULL }
};

struct request {
    struct app *app;
    struct img_open how;
    struct img_bench bench;
    bool native;
};

/* ---- The command line ----------------------------------------------------------------- */

/* A number without a suffix.  The old profile has a shorter message for an invalid number. */
static bool plain_number(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *number)
{
    bool hexadecimal = !strncmp(text, "0x", 2) || !strncmp(text, "0X", 2), suffixed = false;

    if (!hexadecimal)
        suffixed = strpbrk(text, "bBkKmMgGtTpPeE.") != NULL;
    if (compat_profile() >= COMPAT_10_0 && !suffixed)
        return app_number(text, what, min, max, number);
    if (!suffixed && img_parse_size(text, 'b', number) == 0 && *number >= min && *number <= max)
        return true;
    if (compat_profile() >= COMPAT_10_0)
        app_error("Invalid %s specified: '%s'.", what, text);
    else
        app_error("Invalid %s specified", what);
    return false;
}

static bool parse_cache(struct request *r, const char *name)
{
    if (img_cache_parse(name, &r->how.cache) == 0)
        return true;
    app_error("Invalid cache mode");
    return false;
}

static bool parse_aio(struct request *r, const char *name)
{
    if (strcmp(name, "threads") && strcmp(name, "native") && strcmp(name, "io_uring")) {
        app_error("Invalid aio option: %s", name);
        return false;
    }
    r->native = !strcmp(name, "native");
    return true;
}

static bool parse_depth(struct request *r, const char *text)
{
    uint64_t depth;

    if (!plain_number(text, "queue depth", 1, INT32_MAX, &depth))
        return false;
    r->bench.depth = (unsigned)depth;
    return true;
}

static bool parse_pattern(struct request *r, const char *text)
{
    uint64_t pattern;

    if (!plain_number(text, "pattern byte", 0, 255, &pattern))
        return false;
    r->bench.pattern = (uint8_t)pattern;
    return true;
}

static bool parse_option(struct request *r, int letter)
{
    const char *argument = r->app->argument;
    bool older = compat_profile() < COMPAT_10_0;
    struct img_bench *bench = &r->bench;

    switch (letter) {
    case 'q': break;
    case 'f': r->how.format = argument; break;
    case APP_IMAGE_OPTS: r->how.image_opts = true; break;
    case 't': return parse_cache(r, argument);
    case 'c': return plain_number(argument, "request count", older ? 0 : 1, INT32_MAX, &bench->count);
    case 's': return app_number(argument, "buffer size", older ? 0 : 1, INT32_MAX, &bench->request);
    case 'd': return parse_depth(r, argument);
    case 'o': return app_size(argument, "offset", &bench->start);
    case 'S': return app_number(argument, older ? "step_size" : "step size", 0, INT32_MAX, &bench->step);
    case 'i': return parse_aio(r, argument);
    case 'n': r->native = true; break;
    case 'w': bench->write = true; r->how.flags |= IMG_RDWR; break;
    case OPT_PATTERN: return parse_pattern(r, argument);
    case OPT_FLUSH_INTERVAL: return plain_number(argument, "flush interval", 0, INT32_MAX, &bench->flush_every);
    case OPT_NO_DRAIN: bench->drain = false; break;
    case 'U': r->how.flags |= IMG_SHARE; break;
    }
    return true;
}

static bool check_combination(const struct request *r)
{
    const struct img_bench *bench = &r->bench;

    if (r->app->operand_count != 1)
        app_usage(r->app, "Expecting one image file name");
    if (!bench->write && bench->flush_every)
        return app_refuse("--flush-interval is only available in write tests");
    if (bench->flush_every && bench->flush_every < bench->depth)
        return app_refuse("Flush interval can't be smaller than depth");
    return true;
}

/* ---- The run ------------------------------------------------------------------------------ */

static double seconds(void)
{
    return (double)img_now_nanoseconds() / 1e9;
}

static void announce(const struct img_bench *bench)
{
    printf("Sending %llu %s requests, %llu bytes each, %u in parallel (starting at offset %lld, step size %llu)\n",
           (unsigned long long)bench->count, bench->write ? "write" : "read", (unsigned long long)bench->request,
           bench->depth, (long long)bench->start, (unsigned long long)bench->step);
    if (bench->flush_every)
        printf("Sending flush every %llu requests\n", (unsigned long long)bench->flush_every);
    app_flush();
}

static int measure(struct img *image, const struct img_bench *bench)
{
    double start;
    int ret;

    announce(bench);
    start = seconds();
    ret = img_bench(image, bench);
    if (ret < 0) {
        app_error("Failed request: %s", img_strerror(ret));
        return 1;
    }
    printf("Run completed in %3.3f seconds.\n", seconds() - start);
    return 0;
}

static int run(struct app *app)
{
    struct request r = { .app = app, .bench = { .count = 75000, .request = 4096, .depth = 64, .drain = true } };
    struct img *image;
    int letter;

    while ((letter = app_next(app)) != -1)
        if (!parse_option(&r, letter))
            return 1;
    if (!check_combination(&r))
        return 1;
    if (!r.bench.step)
        r.bench.step = r.bench.request;
    image = app_open(app->operands[0], &r.how);
    if (!image)
        return 1;
    if (r.native && !img_direct(image)) {
        app_error("Could not open '%s': aio=native was specified, but it requires cache.direct=on, "
                  "which was not specified.", app->operands[0]);
        return app_close(image, 1);
    }
    return app_close_after(image, measure(image, &r.bench));
}

const struct applet applet_bench = {
    .name = "bench",
    .title = "run requests on an image and print the time they took",
    .synopsis = "[-f FMT | --image-opts] [--strict-format] "
                "[-t CACHE] [-c COUNT] [-d DEPTH] [-o OFFSET] [-s BUFFER_SIZE] [-S STEP_SIZE]"
                " [-i AIO] [-n] [-w [--pattern PATTERN] [--flush-interval FLUSH_INTERVAL [--no-drain]]] [-q] [-U]"
                " FILENAME",
    .options = options,
    .operands = "When the next request would start beyond the end of the image, it starts at\n"
                "the beginning again.  A request that starts inside the image and ends beyond\n"
                "it fails.",
    .owes_output = 1,
    .main = run,
};
