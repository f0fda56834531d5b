/* SPDX-License-Identifier: MIT */
/*
 * img-convert.c - copy one or more images into a new or existing one, and
 * convert the format if asked.  Usage, options and checks of their
 * combinations are here, the steps in convert-*.c, the copy engine in libimg/copy/copy.c.
 */
#include "convert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_TARGET_IMAGE_OPTS = APP_LONG, OPT_TARGET_IS_ZERO, OPT_SALVAGE, OPT_BITMAPS, OPT_SKIP_BROKEN,
       OPT_DIGEST, OPT_KEEP_PARTIAL, OPT_ATOMIC };

static const struct app_option options[] = {
    { 'f', "source-format", "SRC_FMT", "format of the source; probed if omitted" },
    { 'f', "format", "SRC_FMT", NULL },
    { APP_IMAGE_OPTS, "source-image-opts", NULL, "SRC_FILENAME is a list key=value,..., not a file name" },
    { APP_IMAGE_OPTS, "image-opts", NULL, NULL },
    APP_STRICT_FORMAT_ROW,
    { 'l', "source-snapshot", "SNAPSHOT", "copy this internal snapshot: its id or name,\n"
                                          "or snapshot.id=ID,snapshot.name=NAME" },
    { 'l', "snapshot", "SNAPSHOT", NULL },
    { 'T', "source-cache", "SRC_CACHE", "cache mode of the sources (writeback)" },
    { 'O', "target-format", "TGT_FMT", "format of the target (raw)" },
    { 'O', "output-format", "TGT_FMT", NULL },
    { OPT_TARGET_IMAGE_OPTS, "target-image-opts", NULL, "TGT_FILENAME is a list key=value,...; needs -n" },
    { 'o', "target-options", "TGT_OPTS", "creation options, key=value,...; '-o help' lists them" },
    { 'o', "options", "TGT_OPTS", NULL },
    { 'c', "compress", NULL, "write compressed clusters" },
    { 't', "target-cache", "TGT_CACHE", "cache mode of the target (unsafe)" },
    { 't', "output-cache", "TGT_CACHE", NULL },
    { 't', "cache", "TGT_CACHE", NULL },
    { 'B', "backing", "BACKING_FILENAME", "make the target an overlay of this file, and copy\n"
                                          "only what the source itself allocates" },
    { 'b', NULL, "BACKING_FILENAME", NULL },
    { 'F', "backing-format", "BACKING_FMT", "format of that backing file" },
    { 'n', "no-create", NULL, "write to an existing target" },
    { OPT_TARGET_IS_ZERO, "target-is-zero", NULL, "the existing target reads as zeroes: do not write zeroes" },
    { 'S', "sparse-size", "SPARSE_SIZE", "minimum length of a run of zeroes that becomes a hole (4k);\n"
                                         "0: allocate everything" },
    { OPT_BITMAPS, "bitmaps", NULL, "also copy persistent bitmaps" },
    { OPT_SKIP_BROKEN, "skip-broken-bitmaps", NULL, "skip bitmaps that are marked inconsistent" },
    { 'U', "force-share", NULL, "do not lock the sources, and ignore locks" },
    { 'r', "rate-limit", "RATE", "limit the rate to this many bytes per second" },
    { 'r', "rate", "RATE", NULL },
    { 'm', "parallel", "NUM", "number of workers, 1 to 16" },
    { 'm', "coroutines", "NUM", NULL },
    { 'C', "copy-range-offloading", NULL, "let the kernel copy where possible" },
    { 'C', "copy-range", NULL, NULL },
    { OPT_SALVAGE, "salvage", NULL, "replace unreadable ranges by zeroes" },
    { 'W', "oob-writes", NULL, "write out of order, which can be faster" },
    { OPT_DIGEST, "digest", "ALGO", "print the digest of the content, as img-digest does:\n"
                                    "sha256 sha512 sha1 md5 ripemd160, tree, sha512-tree ..." },
    { OPT_KEEP_PARTIAL, "keep-partial", NULL, "keep a new target that could not be completed" },
    { OPT_ATOMIC, "atomic", NULL, "write a temporary file beside the target, which replaces it at the end" },
    APP_OBJECT_ROW,
    APP_PROGRESS_ROW,
    { 'q', "quiet", NULL, "print only errors" },
    { 0, NULL, NULL, NULL }
};

/* ---- The command line ----------------------------------------------------------- */

static int parse_sparse(struct convert *r)
{
    if (!app_size(r->app->argument, "buffer size for sparse output", &r->sparse))
        return -1;
    if (r->sparse % 512 || r->sparse > 16 << 20) {
        app_error("Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. "
                  "Select 0 to disable sparse detection (fully allocates output).");
        return -1;
    }
    r->sparse_given = true;
    return 0;
}

static int parse_workers(struct convert *r)
{
    uint64_t n;

    /* A count: size suffixes are not allowed. */
    if (strpbrk(r->app->argument, "bkKMGTPE.") && strncmp(r->app->argument, "0x", 2)) {
        app_error("Invalid number of coroutines specified: '%s'.", r->app->argument);
        return -1;
    }
    if (!app_number(r->app->argument, "number of coroutines", 1, IMG_COPY_MAX_WORKERS, &n))
        return -1;
    r->workers = (unsigned)n;
    return 0;
}

static int parse_option(struct convert *r, int letter)
{
    char *argument = r->app->argument;

    switch (letter) {
    case 'f': r->source_format = argument; break;
    case APP_IMAGE_OPTS: r->source_opts = true; break;
    case 'l': r->snapshot = argument; return app_check_snapshot(argument, '\'') ? 0 : -1;
    case 'T': r->source_cache_name = argument; break;
    case 'O': r->target_format = argument; r->format_given = true; break;
    case OPT_TARGET_IMAGE_OPTS: r->target_opts = true; break;
    case 'o': return app_add_options(&r->create_options, argument, &r->want_help) ? 0 : -1;
    case 'c': r->compress = true; break;
    case 't': r->target_cache_name = argument; break;
    case 'B': case 'b': r->backing = argument; break;
    case 'F': r->backing_format = argument; break;
    case 'n': r->no_create = true; break;
    case OPT_TARGET_IS_ZERO: r->target_is_zero = true; break;
    case 'S': return parse_sparse(r);
    case OPT_BITMAPS: r->bitmaps = true; break;
    case OPT_SKIP_BROKEN: r->skip_broken = true; break;
    case 'U': r->share = true; break;
    case 'r': return app_size(argument, "rate limit", &r->rate) ? 0 : -1;
    case 'm': return parse_workers(r);
    case 'C': r->offload = true; break;
    case OPT_SALVAGE: r->salvage = true; break;
    case 'W': r->out_of_order = true; break;
    case OPT_DIGEST: return digest_choose(argument, &r->digest) ? 0 : -1;
    case OPT_KEEP_PARTIAL: r->keep_partial = true; break;
    case OPT_ATOMIC: r->atomic = true; break;
    case 'p': r->progress = true; break;
    case 'q': app_quiet = true; break;
    }
    return 0;
}

static int split_operands(struct convert *r)
{
    int count = r->app->operand_count;

    if (count < 1 && r->want_help)
        return 0;
    if (count < 1) {
        app_error("Must specify image file name");
        return -1;
    }
    r->target_name = r->app->operands[count - 1];
    r->sources = r->app->operands;
    r->source_count = (size_t)count - 1;
    if (r->source_count == 0 && !r->want_help) {
        app_error("Must specify image file name");
        return -1;
    }
    r->to_stream = !r->target_opts && (strcmp(r->target_name, "-") == 0 || app_is_stream(r->target_name));
    r->raw_stream = r->to_stream && app_is_plain(r->target_format);
    for (size_t i = 0; i < r->source_count; i++)
        r->piped |= !r->source_opts && app_source_kind(r->sources[i]) == APP_PIPE;
    return 0;
}

/* Refuse invalid combinations; the first one found is reported. */
static bool check_combination(const struct convert *r)
{
    if (r->skip_broken && !r->bitmaps)
        return app_refuse("Use of --skip-broken-bitmaps requires --bitmaps");
    if (r->compress && r->offload)
        return app_refuse("Cannot enable copy offloading when -c is used");
    if (r->sparse_given && r->offload)
        return app_refuse("Cannot enable copy offloading when -S is used");
    if (r->salvage && r->offload)
        return app_refuse("Cannot use copy offloading in salvaging mode");
    if (r->digest.hash && r->offload)
        return app_refuse("Cannot use copy offloading with --digest");
    if (r->atomic && r->keep_partial)
        return app_refuse("--atomic never leaves a part: --keep-partial has no meaning");
    if (r->atomic && r->no_create)
        return app_refuse("--atomic is for a new image, and -n for one that is there");
    if (r->target_opts && !r->no_create)
        return app_refuse("--target-image-opts requires use of -n flag");
    if (r->target_is_zero && !r->no_create)
        return app_refuse("--target-is-zero requires use of -n flag");
    return true;
}

static bool check_streams(const struct convert *r)
{
    if (r->to_stream && r->atomic)
        return app_refuse("--atomic needs a target that is a regular file");
    if (r->to_stream && r->progress && app_progress_on_output() && strcmp(r->target_name, "-") == 0)
        return app_refuse("-p writes to standard output, which is the target");
    if (r->to_stream && !r->raw_stream && r->no_create)
        return app_refuse("Standard output is always a new image: -n is for one that is there");
    if (r->raw_stream && (r->compress || r->backing || r->create_options))
        return app_refuse("Raw standard output takes no creation options, compression or backing file");
    return true;
}

/* ---- The steps --------------------------------------------------------------------- */

static void protect_sources(const struct convert *r)
{
    if (r->piped)
        app_protect_descriptor(STDIN_FILENO, "standard input");
    for (size_t i = 0; r->images && i < r->source_count; i++)
        if (r->images[i])
            app_protect(r->images[i]);
}

static int open_and_copy(struct convert *r)
{
    int status;

    if (!r->piped && convert_open_sources(r) < 0)
        return 1;
    protect_sources(r);
    /* If what comes must be saved, that is done before the target is created, and all checks before that. */
    if (convert_judge_target(r) < 0 ||
        (r->piped && (convert_open_sources(r) < 0 || convert_check_bitmaps(r) < 0)) || convert_open_target(r) < 0)
        return 1;
    status = convert_copy(r);
    if (status == 0)
        status = convert_copy_bitmaps(r);
    status = app_close_after(r->target, status);
    r->target = NULL;
    status = convert_close_sources(r, status);
    return status == 0 && convert_atomic_end(r) < 0 ? 1 : status;
}

static int convert(struct convert *r)
{
    int status;

    if (!app_one_format(r->source_opts, r->source_format))
        return 1;
    app_progress_start(r->progress && !app_quiet, 1.0);
    app_partial_start(r->keep_partial);
    status = open_and_copy(r);
    app_progress_end(status == 0);
    if (status == 0)
        app_partial_done();
    if (status == 0 && r->digest.hash)
        convert_print_digest(r);
    return status;
}

static void release(struct convert *r)
{
    app_close(r->target, 1);
    convert_close_sources(r, 1);
    img_stream_close(r->stream);
    img_doc_free(r->create_options);
    free(r->final_name);
    free(r->temporary_name);
}

static int convert_main(struct app *app)
{
    struct convert r = { .app = app, .target_format = IMG_PLAIN_FORMAT, .sparse = 4096,
                         .target_cache = IMG_CACHE_UNSAFE };
    int letter, status = 1;

    while ((letter = app_next(app)) != -1)
        if (parse_option(&r, letter) < 0)
            goto out;
    if (!check_combination(&r))
        goto out;
    if (r.no_create && r.create_options) {
        app_error("-o has no effect when skipping image creation");
        goto out;
    }
    if (split_operands(&r) < 0 || !check_streams(&r))
        goto out;
    if (r.want_help) {
        status = convert_find_driver(&r) < 0 ? 1 : app_create_help(r.driver, r.target_name);
        goto out;
    }
    if (!r.source_cache_name || app_cache(r.source_cache_name, "source cache", &r.source_cache))
        status = convert(&r);
out:
    release(&r);
    return status;
}

const struct applet applet_convert = {
    .name = "convert",
    .title = "copy images, and convert the format if asked",
    .synopsis = "[-f SRC_FMT|--image-opts] [--strict-format] "
                "[-T SRC_CACHE] [-U] [-l SNAPSHOT] [-O TGT_FMT|--target-image-opts]"
                " [-o TGT_OPTS] [-t TGT_CACHE] [-n [--target-is-zero]] [-c] [-S SIZE]"
                " [--bitmaps [--skip-broken-bitmaps]] [-m NUM] [-W] [-C] [--salvage] [-r RATE] [--digest ALGO]"
                " [--keep-partial] [--atomic]"
                " [-B BACKING_FILENAME [-F BACKING_FMT]] [--object OBJDEF] [-p] [-q] SRC_FILENAME... TGT_FILENAME",
    .options = options,
    .operands = "SRC_FILENAME   source image; several are concatenated; `-` is standard input\n"
                "TGT_FILENAME   target image; `-` is standard output: raw, or a format that can\n"
                "               be written in order",
    .main = convert_main,
};
