/* SPDX-License-Identifier: MIT */
/*
 * img-convert.c - copy one or more images into a new (or existing) one, with a
 * change of format where wanted.  Usage, options and the checks of their
 * combinations stand here; the copying is libimg/copy.c.
 */
#include "applet.h"
#include "../libimg/copy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_IMAGE_OPTS = APP_LONG, OPT_TARGET_IMAGE_OPTS, OPT_TARGET_IS_ZERO, OPT_SALVAGE, OPT_OBJECT,
       OPT_BITMAPS, OPT_SKIP_BROKEN };

static const struct app_option options[] = {
    { 'f', "source-format", "SRC_FMT", "format of the source; without it the content is probed" },
    { 'f', "format", "SRC_FMT", NULL },
    { OPT_IMAGE_OPTS, "source-image-opts", NULL, "SRC_FILENAME is key=value,... instead of a file name" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, NULL },
    { 'l', "source-snapshot", "SNAPSHOT", "copy this internal snapshot: its id or name,\n"
                                          "or snapshot.id=ID,snapshot.name=NAME" },
    { 'l', "snapshot", "SNAPSHOT", NULL },
    { 'T', "source-cache", "SRC_CACHE", "cache mode of the sources (writeback)" },
    { 'O', "target-format", "TGT_FMT", "format of the target (raw)" },
    { 'O', "output-format", "TGT_FMT", NULL },
    { OPT_TARGET_IMAGE_OPTS, "target-image-opts", NULL, "TGT_FILENAME is key=value,...; needs -n" },
    { 'o', "target-options", "TGT_OPTS", "creation options, key=value,...; '-o help' lists them" },
    { 'o', "options", "TGT_OPTS", NULL },
    { 'c', "compress", NULL, "write compressed clusters" },
    { 't', "target-cache", "TGT_CACHE", "cache mode of the target (unsafe)" },
    { 't', "output-cache", "TGT_CACHE", NULL },
    { 't', "cache", "TGT_CACHE", NULL },
    { 'B', "backing", "BACKING_FILENAME", "make the target an overlay of this file, and copy\n"
                                          "only what the source itself holds" },
    { 'b', NULL, "BACKING_FILENAME", NULL },
    { 'F', "backing-format", "BACKING_FMT", "format of that backing file" },
    { 'n', "no-create", NULL, "write into an existing target" },
    { OPT_TARGET_IS_ZERO, "target-is-zero", NULL, "the existing target reads as zeroes: do not write any" },
    { 'S', "sparse-size", "SPARSE_SIZE", "length of a run of zeroes that becomes a hole (4k);\n"
                                         "0: allocate everything" },
    { OPT_BITMAPS, "bitmaps", NULL, "copy persistent bitmaps too; so far a source that has\n"
                                 "some is refused" },
    { OPT_SKIP_BROKEN, "skip-broken-bitmaps", NULL, "leave out bitmaps that are marked inconsistent" },
    { 'U', "force-share", NULL, "open the sources without regard to their users" },
    { 'r', "rate-limit", "RATE", "bytes a second at most" },
    { 'r', "rate", "RATE", NULL },
    { 'm', "parallel", "NUM", "workers, 1 to 16" },
    { 'm', "coroutines", "NUM", NULL },
    { 'C', "copy-range-offloading", NULL, "let the kernel copy where it can" },
    { 'C', "copy-range", NULL, NULL },
    { OPT_SALVAGE, "salvage", NULL, "what can't be read becomes zeroes" },
    { 'W', "oob-writes", NULL, "write out of order, which can be faster" },
    { OPT_OBJECT, "object", "OBJDEF", "define an object (such as a secret)" },
    { 'p', "progress", NULL, "show how far it is" },
    { 'q', "quiet", NULL, "print nothing but errors" },
    { 0, NULL, NULL, NULL }
};

struct request {
    struct app *app;
    const char *source_format, *target_format, *backing, *backing_format, *snapshot;
    struct img_doc *create_options;    /* flat, NULL: none given */
    bool want_help, source_opts, target_opts, no_create, target_is_zero, compress, share, offload, salvage,
         out_of_order, progress, sparse_given, bitmaps, skip_broken, format_given;
    uint64_t sparse, rate;
    unsigned workers;
    const char *source_cache_name, *target_cache_name;
    enum img_cache source_cache, target_cache;

    char **sources;
    size_t source_count;
    const char *target_name;
    bool from_stream, to_stream;

    const struct img_driver *driver;   /* of the target */
    struct img **images;
    uint64_t total;
    struct img *target;
};

/* ---- The command line ----------------------------------------------------------- */

static int add_create_options(struct request *r, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_options_want_help(text)) {
        r->want_help = true;
        return 0;
    }
    if (!r->create_options)
        r->create_options = img_doc_object();
    if (img_options_add(r->create_options, text, &err) < 0) {
        app_report(&err);
        return -1;
    }
    return 0;
}

static int parse_sparse(struct request *r)
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

static int parse_workers(struct request *r)
{
    uint64_t n;

    /* A count: suffixes of sizes are no part of it. */
    if (strpbrk(r->app->argument, "bkKMGTPE.") && strncmp(r->app->argument, "0x", 2)) {
        app_error("Invalid number of coroutines specified: '%s'.", r->app->argument);
        return -1;
    }
    if (!app_number(r->app->argument, "number of coroutines", 1, IMG_COPY_MAX_WORKERS, &n))
        return -1;
    r->workers = (unsigned)n;
    return 0;
}

static int parse_option(struct request *r, int letter)
{
    char *argument = r->app->argument;

    switch (letter) {
    case 'f': r->source_format = argument; break;
    case OPT_IMAGE_OPTS: r->source_opts = true; break;
    case 'l': r->snapshot = argument; break;
    case 'T': r->source_cache_name = argument; break;
    case 'O': r->target_format = argument; r->format_given = true; break;
    case OPT_TARGET_IMAGE_OPTS: r->target_opts = true; break;
    case 'o': return add_create_options(r, argument);
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
    case OPT_OBJECT: app_object(argument); break;
    case 'p': r->progress = true; break;
    case 'q': app_quiet = true; break;
    }
    return 0;
}

static bool is_stream(const char *name)
{
    struct stat st;

    if (strcmp(name, "-") == 0)
        return true;
    return stat(name, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

static int split_operands(struct request *r)
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
    r->to_stream = !r->target_opts && is_stream(r->target_name);
    for (size_t i = 0; i < r->source_count; i++)
        r->from_stream |= !r->source_opts && strcmp(r->sources[i], "-") == 0;
    return 0;
}

static const char EXCLUSIVE[] = "--image-opts and --format are mutually exclusive";

static bool refuse(const char *why)
{
    app_error("%s", why);
    return false;
}

/* Combinations that make no sense; the first one found is told. */
static bool check_combination(const struct request *r)
{
    if (r->skip_broken && !r->bitmaps)
        return refuse("Use of --skip-broken-bitmaps requires --bitmaps");
    if (r->compress && r->offload)
        return refuse("Cannot enable copy offloading when -c is used");
    if (r->sparse_given && r->offload)
        return refuse("Cannot enable copy offloading when -S is used");
    if (r->salvage && r->offload)
        return refuse("Cannot use copy offloading in salvaging mode");
    if (r->target_opts && !r->no_create)
        return refuse("--target-image-opts requires use of -n flag");
    if (r->target_is_zero && !r->no_create)
        return refuse("--target-is-zero requires use of -n flag");
    return true;
}

static bool check_streams(const struct request *r)
{
    if (r->from_stream && r->source_count > 1)
        return refuse("Standard input must be the only source");
    if (r->from_stream && r->source_format && strcmp(r->source_format, "raw"))
        return refuse("Standard input can only be read as raw");
    if (r->from_stream && (r->snapshot || r->bitmaps))
        return refuse("Standard input has neither snapshots nor bitmaps");
    if (r->to_stream && strcmp(r->target_format, "raw"))
        return refuse("Standard output can only be written as raw");
    if (r->to_stream && (r->compress || r->backing || r->target_opts || r->create_options))
        return refuse("Standard output takes no creation options, compression or backing file");
    if (r->to_stream && r->progress && strcmp(r->target_name, "-") == 0)
        return refuse("-p writes to standard output, which is the target");
    return true;
}

/* ---- Sources ---------------------------------------------------------------------- */

static int open_sources(struct request *r)
{
    struct img_open how = { .format = r->source_format, .flags = r->share ? IMG_SHARE : IMG_NO_WRITERS,
                            .cache = r->source_cache, .image_opts = r->source_opts };

    r->images = calloc(r->source_count, sizeof *r->images);
    if (!r->images)
        img_out_of_memory();
    for (size_t i = 0; i < r->source_count; i++) {
        r->images[i] = app_open(r->sources[i], &how);
        if (!r->images[i])
            return -1;
        r->total += img_size(r->images[i]);
    }
    return 0;
}

/* "-l": a plain id or name, or snapshot.id=..,snapshot.name=... */
static int load_snapshot(struct request *r)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *keys = NULL;
    const char *id = r->snapshot, *name = r->snapshot;
    int ret = -1;

    if (r->source_count > 1) {
        app_error("No support for concatenating multiple snapshot");
        return -1;
    }
    if (strncmp(r->snapshot, "snapshot.", 9) == 0) {
        keys = img_doc_object();
        if (img_options_add(keys, r->snapshot, &err) < 0) {
            app_report(&err);
            app_error("Failed in parsing snapshot param '%s'", r->snapshot);
            goto out;
        }
        for (size_t i = 0; i < img_doc_count(keys); i++) {
            const char *key = img_doc_key_at(keys, i);
            if (strcmp(key, "snapshot.id") && strcmp(key, "snapshot.name")) {
                app_error("Invalid parameter '%s'", key);
                app_error("Failed in parsing snapshot param '%s'", r->snapshot);
                goto out;
            }
        }
        id = img_doc_string_at(keys, "snapshot.id");
        name = img_doc_string_at(keys, "snapshot.name");
    }
    ret = img_snapshot_load(r->images[0], id, name, &err);
    if (ret < 0)
        app_report_with(&err, "Failed to load snapshot: ");
    r->total = img_size(r->images[0]);
out:
    img_doc_free(keys);
    return ret;
}

/* ---- The target --------------------------------------------------------------------- */

static int find_driver(struct request *r)
{
    const struct img_driver *driver = img_driver_find(r->target_format);

    if (!driver) {
        app_error("Unknown file format '%s'", r->target_format);
        return -1;
    }
    if (!img_driver_usable(driver)) {
        app_error("%s support is not built in", r->target_format);
        return -1;
    }
    if (!img_driver_can_create(driver)) {
        app_error("Format driver '%s' does not support image creation", r->target_format);
        return -1;
    }
    r->driver = driver;
    return 0;
}

/* Backing file of the target, from -B and -F or from -o; into the creation options. */
static bool settle_backing(struct request *r)
{
    const char *name, *format;

    if (r->backing)
        img_doc_put_string(r->create_options, "backing_file", r->backing);
    if (r->backing_format)
        img_doc_put_string(r->create_options, "backing_fmt", r->backing_format);
    name = img_doc_string_at(r->create_options, "backing_file");
    format = img_doc_string_at(r->create_options, "backing_fmt");
    if (format && !name && !img_driver_can_back(r->driver)) {
        app_error("Backing file format not supported for file format '%s'", r->target_format);
        return false;
    }
    if (name && !img_driver_can_back(r->driver)) {
        app_error("Backing file not supported for file format '%s'", r->target_format);
        return false;
    }
    if (name && r->source_count > 1)
        return refuse("Having a backing file for the target makes no sense when concatenating multiple input images");
    if (name && !format)
        return refuse("Use of backing file requires explicit backing format");
    r->backing = name;
    return true;
}

static bool preallocated(const struct request *r)
{
    const char *mode = img_doc_string_at(r->create_options, "preallocation");

    return mode && strcmp(mode, "off");
}

/* A backing file that can't be opened is found before an old target is gone. */
static int try_backing(const struct request *r)
{
    struct img_open how = { .format = img_doc_string_at(r->create_options, "backing_fmt"), .flags = IMG_SHARE };
    char *full = img_name_beside(r->target_name, r->backing);
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    int ret;

    if (!img_driver_find(how.format)) {
        free(full);
        return 0;       /* creating words it */
    }
    ret = img_open(&image, full, &how, &err);
    if (ret < 0) {
        app_cut_prefix(&err, full);
        app_report_with(&err, "Could not open '%s': Could not open backing file: ", r->target_name);
    } else {
        img_close(image, &err);
    }
    free(full);
    return ret;
}

static int create_target(struct request *r)
{
    struct img_error err = IMG_ERROR_INIT;
    char size[32];

    snprintf(size, sizeof size, "%llu", (unsigned long long)r->total);
    img_doc_put_string(r->create_options, "size", size);
    if (r->from_stream && preallocated(r)) {
        app_error("Preallocation needs a source of known size");
        return -1;
    }
    if (img_create(r->driver, r->target_name, r->create_options, &err) < 0) {
        app_report_with(&err, "%s: error while converting %s: ", r->target_name, r->target_format);
        return -1;
    }
    return 0;
}

static int open_target(struct request *r)
{
    struct img_open how = { .flags = IMG_RDWR | (r->from_stream ? IMG_RESIZE : 0), .cache = r->target_cache,
                            .image_opts = r->target_opts };

    if (r->target_opts && r->format_given)
        return refuse(EXCLUSIVE), -1;
    how.format = r->target_opts ? NULL : r->target_format;
    r->target = app_open(r->target_name, &how);
    if (!r->target)
        return -1;
    if (r->compress && (!img_driver_can_compress(img_driver_of(r->target)) || !img_cluster_size(r->target))) {
        app_error("Compression not supported for this file format");
        return -1;
    }
    if (r->bitmaps && !img_has_bitmaps(r->target)) {
        app_error("Format driver '%s' does not support bitmaps", img_driver_name(img_driver_of(r->target)));
        return -1;
    }
    if (r->no_create && !r->from_stream && img_size(r->target) < r->total) {
        app_error("output file is smaller than input file");
        return -1;
    }
    return 0;
}

static size_t count_bitmaps(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *specific = img_format_specific(image, &err);
    const struct img_doc *data = specific ? img_doc_get(specific, "data") : NULL;
    const struct img_doc *bitmaps = data ? img_doc_get(data, "bitmaps") : NULL;
    size_t count = bitmaps ? img_doc_count(bitmaps) : 0;

    img_doc_free(specific);
    img_error_clear(&err);
    return count;
}

static int check_bitmaps(const struct request *r)
{
    if (!r->bitmaps)
        return 0;
    if (!img_has_bitmaps(r->images[0])) {
        app_error("Source lacks bitmap support");
        return -1;
    }
    if (!r->no_create && !img_driver_can_bitmap(r->driver)) {
        app_error("Format driver '%s' does not support bitmaps", r->target_format);
        return -1;
    }
    /* Until they can be copied, leaving them out in silence would lose somebody's backup chain. */
    if (count_bitmaps(r->images[0]) > 0) {
        app_error("Copying persistent bitmaps is not built in yet");
        return -1;
    }
    return 0;
}

/* Everything that can be judged without touching the target. */
static int judge_options(struct request *r)
{
    struct img_error err = IMG_ERROR_INIT;

    if (find_driver(r) < 0)
        return -1;
    if (!r->create_options)
        r->create_options = img_doc_object();
    if (img_create_check(r->driver, r->target_name, r->create_options, &err) < 0) {
        app_report(&err);
        return -1;
    }
    if (!settle_backing(r))
        return -1;
    if (r->compress && !img_driver_can_compress(r->driver)) {
        app_error("Compression not supported for this file format");
        return -1;
    }
    if (r->compress && preallocated(r)) {
        app_error("Compression and preallocation not supported at the same time");
        return -1;
    }
    return 0;
}

static int prepare_target(struct request *r)
{
    if (r->to_stream)
        return 0;
    if (!r->no_create && judge_options(r) < 0)
        return -1;
    if (check_bitmaps(r) < 0)
        return -1;
    if (r->target_cache_name && !app_cache(r->target_cache_name, "cache", &r->target_cache))
        return -1;
    if (!r->no_create && ((r->backing && try_backing(r) < 0) || create_target(r) < 0))
        return -1;
    return open_target(r);
}

/* ---- Copying ------------------------------------------------------------------------------ */

static void tell_salvaged(void *context, uint64_t offset, int error)
{
    (void)context;
    if (!app_quiet)
        app_warning("error while reading offset %llu: %s", (unsigned long long)offset, img_strerror(error));
}

static void explain(const struct img_copy_fault *fault, int error)
{
    unsigned long long at = fault->offset;

    switch (fault->stage) {
    case IMG_COPY_MAPPING:
        app_error("error while reading block status at offset %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_READING:
        app_error("error while reading at byte %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_WRITING:
        app_error("error while writing at byte %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_GROWING:
        app_error("error while growing the target at byte %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_STARTING:
        app_error("error while starting to copy: %s", img_strerror(error));
        break;
    }
}

static unsigned default_workers(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (cpus < 2)
        return 2;
    return cpus > 8 ? 8 : (unsigned)cpus;
}

/* Standard output, or a named pipe (also /dev/stdout where that is one). */
static int open_stream(const struct request *r)
{
    int fd;

    if (strcmp(r->target_name, "-") == 0)
        return STDOUT_FILENO;
    fd = open(r->target_name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        app_error("Could not open '%s': %s", r->target_name, img_strerror(errno));
    return fd;
}

static int close_stream(int fd, int status)
{
    if (fd == STDOUT_FILENO || close(fd) == 0)
        return status;
    app_error("error while closing the target: %s", img_strerror(errno));
    return 1;
}

static int copy(struct request *r)
{
    struct img_copy what = {
        .sources = r->images, .source_count = r->from_stream ? 0 : r->source_count, .source_fd = STDIN_FILENO,
        .target = r->target, .target_fd = -1,
        .top_layer_only = r->backing != NULL, .grow_target = r->from_stream && !r->to_stream,
        .compress = r->compress, .salvage = r->salvage, .salvaged = tell_salvaged, .offload = r->offload,
        .in_order = !r->out_of_order || r->from_stream || r->to_stream,
        .workers = r->workers ? r->workers : default_workers(),
        .sparse = r->sparse, .rate = r->rate, .progress = app_progress,
    };
    struct img_copy_fault fault;
    int ret, status;

    if (r->to_stream) {
        what.target_fd = open_stream(r);
        if (what.target_fd < 0)
            return 1;
        what.sparse = 512;
    } else {
        /* What a hole of the target shows: zeroes of a fresh image, or its backing file. */
        what.target_is_zero = r->target_is_zero ||
            (!r->no_create && !r->backing && r->sparse && img_zero_initialised(r->target));
        if (img_backing(r->target))
            what.target_backing_size = img_size(img_backing(r->target));
        else
            what.target_backing_size = UINT64_MAX;
    }
    ret = img_copy(&what, NULL, &fault);
    if (ret < 0)
        explain(&fault, -ret);
    status = ret < 0 ? 1 : 0;
    return r->to_stream ? close_stream(what.target_fd, status) : status;
}

static int open_and_copy(struct request *r)
{
    int status;

    if (!r->from_stream && open_sources(r) < 0)
        return 1;
    if (r->snapshot && load_snapshot(r) < 0)
        return 1;
    if (prepare_target(r) < 0)
        return 1;
    status = copy(r);
    status = app_close(r->target, status);
    r->target = NULL;
    return status;
}

static int convert(struct request *r)
{
    int status;

    if (r->source_opts && r->source_format)
        return refuse(EXCLUSIVE), 1;
    app_progress_start(r->progress && !app_quiet, 1.0);
    status = open_and_copy(r);
    app_progress_end(status == 0);
    return status;
}

static void release(struct request *r)
{
    app_close(r->target, 1);
    for (size_t i = 0; r->images && i < r->source_count; i++)
        app_close(r->images[i], 1);
    free(r->images);
    img_doc_free(r->create_options);
}

static int convert_main(struct app *app)
{
    struct request r = { .app = app, .target_format = "raw", .sparse = 4096, .target_cache = IMG_CACHE_UNSAFE };
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
        status = find_driver(&r) < 0 ? 1 : app_create_help(r.driver, r.target_name);
        goto out;
    }
    if (r.bitmaps && r.source_count > 1)
        app_error("Copying bitmaps only possible with single source");
    else if (!r.source_cache_name || app_cache(r.source_cache_name, "source cache", &r.source_cache))
        status = convert(&r);
out:
    release(&r);
    return status;
}

const struct applet applet_convert = {
    .name = "convert",
    .title = "copy images, with a change of format where wanted",
    .synopsis = "[-f SRC_FMT|--image-opts] [-T SRC_CACHE] [-U] [-l SNAPSHOT] [-O TGT_FMT|--target-image-opts]"
                " [-o TGT_OPTS] [-t TGT_CACHE] [-n [--target-is-zero]] [-c] [-S SIZE] [-m NUM] [-W] [-C] [--salvage]"
                " [-r RATE] [-B BACKING_FILENAME [-F BACKING_FMT]] [-p] [-q] SRC_FILENAME... TGT_FILENAME",
    .options = options,
    .operands = "SRC_FILENAME   image to read; several are put one behind the other; `-` is standard input, raw\n"
                "TGT_FILENAME   image to write; `-` is standard output, raw",
    .main = convert_main,
};
