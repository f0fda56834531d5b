/* SPDX-License-Identifier: MIT */
/*
 * img-dd.c - copy a range of an image, of a file or of standard input, given in
 * blocks as with dd(1).  Blocks only scale the numbers: the copy engine copies its own windows.
 */
#include "dd.h"
#include "../libimg/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPT_KEEP_PARTIAL = APP_LONG };
enum { STANDARD_BLOCK = 512, SPARSE_RUN = 4096 };

static const struct app_option options[] = {
    { 'f', "format", "FMT", "format of the input; probed if omitted" },
    { APP_IMAGE_OPTS, "image-opts", NULL, "the input is a list key=value,..., not a file name" },
    APP_STRICT_FORMAT_ROW,
    { 'O', "output-format", "FMT", "format of the output (raw)" },
    { 'U', "force-share", NULL, "do not lock the input, and ignore locks" },
    { 'n', "no-create", NULL, "write to an existing output, which keeps its size" },
    { OPT_KEEP_PARTIAL, "keep-partial", NULL, "keep a new output that could not be completed" },
    APP_OBJECT_ROW,
    { 0, NULL, NULL, NULL }
};

/* ---- The command line ------------------------------------------------------------------------ */

static void parse_options(struct dd *dd)
{
    struct app *app = dd->app;
    int letter;

    while ((letter = app_next(app)) != -1) {
        switch (letter) {
        case 'f': dd->input_format = app->argument; break;
        case APP_IMAGE_OPTS: dd->image_opts = true; break;
        case 'O': dd->output_format = app->argument; break;
        case 'U': dd->share = true; break;
        case 'n': dd->no_create = true; break;
        case OPT_KEEP_PARTIAL: dd->keep_partial = true; break;
        }
    }
}

/* Refuse a terminal, and an empty command line: neither means standard input or output. */
static bool check_names(struct dd *dd)
{
    if ((!dd->input && !dd->output && !dd->app->operand_count) ||
        (!dd->input && isatty(STDIN_FILENO)) || (!dd->output && isatty(STDOUT_FILENO)))
        return app_refuse("Must specify both input and output files");
    dd->piped = !dd->input || (!dd->image_opts && app_is_stream(dd->input));
    dd->to_stream = !dd->output || app_is_stream(dd->output);
    return true;
}

static bool check_streams(const struct dd *dd)
{
    if (!dd->input && dd->image_opts)
        return app_refuse("--image-opts needs if=, a list key=value,...");
    if (dd->to_stream && (dd->seek || dd->no_create || dd->has_output_size))
        return app_refuse("Standard output takes no seek=, osize= or -n");
    if ((dd->piped && dd->direct_input) || (dd->to_stream && dd->direct_output))
        return app_refuse("A stream has no direct I/O");
    return true;
}

/* ---- The request ------------------------------------------------------------------------------ */

static bool cannot_skip(struct dd *dd)
{
    app_error("%s: cannot skip to specified offset", dd->input ? dd->input : "standard input");
    dd->from = dd->length = 0;
    return true;
}

static const char count_skipped[] = "count= counts from the start of the input, like skip=: all of it is skipped";

/*
 * count= and skip= both count from the start of the input: skip= does not move the end.  So skip=2 count=2 copies
 * nothing, where dd(1) copies two blocks, and qemu-img says nothing about it.
 */
static bool place_part(struct dd *dd, uint64_t size)
{
    uint64_t limit, end = size;

    if (dd->has_count && img_mul(dd->count, dd->block, &limit))
        end = img_min(size, limit);
    if (!img_mul(dd->skip, dd->block, &dd->from) || dd->from > size)
        return cannot_skip(dd);
    if (dd->from > end) {
        cannot_skip(dd);
        app_advise("%s", count_skipped);
        return true;
    }
    dd->length = end - dd->from;
    dd->all_skipped = dd->length == 0 && dd->count && end < size;
    return true;
}

/* (Called when the input is known to reach that far.) */
static void warn_if_all_skipped(const struct dd *dd)
{
    if (dd->all_skipped && compat_profile() >= COMPAT_10_0)
        app_warning("%s", count_skipped);
}

static bool place_image(struct dd *dd)
{
    if (!place_part(dd, img_size(dd->source)))
        return false;
    warn_if_all_skipped(dd);
    return true;
}

/* An image on standard output needs its size first, and some formats cannot grow. */
static bool needs_size(const struct dd *dd)
{
    const struct img_driver *driver = img_driver_find(dd->output_format);

    if (dd->to_stream)
        return !app_is_plain(dd->output_format);
    return driver && !dd->no_create && !img_driver_grows(driver);
}

static bool place_stream(struct dd *dd)
{
    int ret;

    if (!place_part(dd, INT64_MAX))
        return false;
    if (!dd->has_count && dd->length)
        dd->length = UINT64_MAX;
    ret = dd->from ? img_intake_skip(dd->opened.intake, dd->from) : 1;
    dd->from = 0;
    if (ret < 0) {
        app_error("error while reading from input image file: %s", img_strerror(ret));
        return false;
    }
    if (ret == 0)
        return cannot_skip(dd);
    warn_if_all_skipped(dd);
    return true;
}

static bool open_source(struct dd *dd)
{
    struct img_open how = { .format = dd->input_format, .flags = dd->share ? IMG_SHARE : 0,
                            .cache = dd->direct_input ? IMG_CACHE_NONE : IMG_CACHE_WRITEBACK,
                            .image_opts = dd->image_opts };
    CLEANUP_FREE char *folder = app_spool_folder(dd->to_stream ? NULL : dd->output);
    bool sized = needs_size(dd);
    /* A stream is what it is long, but an image is whole sectors. */
    struct app_reading reading = { .sized = sized, .exact = !sized, .any_order = dd->to_stream && sized,
                                   .folder = folder };

    if (app_open_source(&dd->opened, dd->input ? dd->input : "-", &how, &reading) < 0)
        return false;
    dd->source = dd->opened.image;
    dd->from_stream = app_is_raw_stream(&dd->opened);
    return dd->from_stream ? place_stream(dd) : place_image(dd);
}

static bool place_target(struct dd *dd)
{
    uint64_t end;

    if (img_mul(dd->seek, dd->block, &dd->to) &&
        img_add(dd->to, dd->from_stream ? 0 : dd->length, &end) && end <= INT64_MAX)
        return true;
    return app_refuse("The output would be too large");
}

/* ---- Progress ------------------------------------------------------------------------------------ */

struct progress {
    bool shown;
    struct timespec started, last;
    uint64_t done;
};

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

/* On standard error, because the data may go to standard output. */
static void show(struct progress *progress, const char *end)
{
    char size[32], rate[32];
    struct timespec now;
    double seconds;

    clock_gettime(CLOCK_MONOTONIC, &now);
    progress->last = now;
    seconds = seconds_between(&progress->started, &now);
    img_human_size(size, sizeof size, progress->done);
    img_human_size(rate, sizeof rate, seconds > 0 ? (uint64_t)((double)progress->done / seconds) : progress->done);
    app_tell("%" PRIu64 " bytes (%s) copied, %.1f s, %s/s%s", progress->done, size, seconds, rate, end);
}

static void tell_progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *progress = context;
    struct timespec now;

    progress->done = done;
    app_progress(NULL, done, total);
    if (!progress->shown)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (seconds_between(&progress->last, &now) >= 1)
        show(progress, "\r");
}

/* ---- The copy --------------------------------------------------------------------------------------- */

static int fail_writing(int error)
{
    app_error("error while writing to output image file: %s", img_strerror(error));
    return 1;
}

static int explain(const struct dd *dd, const struct img_copy_fault *fault, int error)
{
    if (fault->stage == IMG_COPY_CHANGED) {
        app_error("the input was changed while it was read");
        return 1;
    }
    if (fault->stage != IMG_COPY_MAPPING && fault->stage != IMG_COPY_READING)
        return fail_writing(error);
    app_error("error while reading from input image file: %s", img_read_error(dd->source, error));
    return 1;
}

/* The output cannot grow and is full; is there more input? */
static int check_rest(const struct dd *dd)
{
    char byte;
    int64_t n = img_intake_read(dd->opened.intake, &byte, 1);

    if (n < 0) {
        app_error("error while reading from input image file: %s", img_strerror((int)n));
        return 1;
    }
    return n ? fail_writing(ENOSPC) : 0;
}

static int copy(struct dd *dd)
{
    struct progress progress = { .shown = dd->progress };
    uint64_t room = dd->fixed ? img_size(dd->target) - dd->to : UINT64_MAX, copied = 0;
    uint64_t length = img_min(dd->length, room);
    struct img_copy what = {
        .sources = &dd->source, .source_count = dd->source ? 1 : 0,
        .intake = dd->from_stream ? dd->opened.intake : NULL,
        .target = dd->target, .target_fd = dd->target_fd, .stream = dd->stream,
        .source_offset = dd->from, .length = length == UINT64_MAX ? 0 : length, .target_offset = dd->to,
        .exact = true, .grow_target = dd->target && dd->from_stream && !dd->fixed,
        .in_order = true, .sparse = dd->sparse ? SPARSE_RUN : 0,
        .target_is_zero = dd->sparse && dd->created && img_zero_initialised(dd->target),
        .progress = tell_progress, .context = &progress,
    };
    struct img_copy_fault fault;
    int ret = 0;

    clock_gettime(CLOCK_MONOTONIC, &progress.started);
    progress.last = progress.started;
    if (!length && dd->stream)
        what.source_offset = img_size(dd->source);      /* create an image of size 0 */
    if (length || dd->stream)
        ret = img_copy(&what, &copied, &fault);
    if (dd->progress)
        show(&progress, "\n");
    if (ret < 0)
        return explain(dd, &fault, -ret);
    return dd->length > room && copied == room ? check_rest(dd) : 0;
}

/* If this succeeds, the data is on the disk; a pipe cannot be synced. */
static int sync_output(const struct dd *dd)
{
    int ret = dd->target ? img_flush(dd->target) : fsync(dd->target_fd) < 0 ? -errno : 0;

    if (ret == 0 || (!dd->target && (ret == -EINVAL || ret == -EROFS)))
        return 0;
    return fail_writing(ret);
}

static int close_all(struct dd *dd, int status)
{
    int ret = app_close_stream(dd->target_fd);

    img_stream_close(dd->stream);
    status = app_close_after(dd->target, status);
    if (ret < 0 && status == 0)
        status = fail_writing(ret);
    dd->opened.part = dd->has_count;
    return app_close_source(&dd->opened, status);
}

static bool prepare_output(struct dd *dd)
{
    struct img_error err = IMG_ERROR_INIT;

    if (dd->source)
        app_protect(dd->source);
    else if (!dd->opened.poured)
        app_protect_descriptor(dd->opened.fd < 0 ? STDIN_FILENO : dd->opened.fd,
                               dd->input ? dd->input : "standard input");
    if (!dd->to_stream)
        return dd_prepare_target(dd) == 0;
    if (!app_is_plain(dd->output_format) && dd_prepare_stream(dd) < 0)
        return false;
    dd->target_fd = app_open_stream(dd->output, O_WRONLY);
    if (dd->target_fd < 0)
        return false;
    if (img_may_overwrite(dd->target_fd, dd->output ? dd->output : "standard output", &err) < 0) {
        app_report(&err);
        return false;
    }
    return true;
}

static int run(struct app *app)
{
    struct dd dd = { .app = app, .output_format = IMG_PLAIN_FORMAT, .block = STANDARD_BLOCK,
                     .opened = APP_SOURCE_INIT, .target_fd = -1 };
    int status = 1;

    parse_options(&dd);
    if (!dd_parse_operands(&dd) || !check_names(&dd) || !check_streams(&dd))
        return 1;
    app_progress_start(false, 1.0);
    app_partial_start(dd.keep_partial);
    if (open_source(&dd) && place_target(&dd) && prepare_output(&dd)) {
        status = copy(&dd);
        if (status == 0 && dd.sync)
            status = sync_output(&dd);
    }
    status = close_all(&dd, status);
    if (status == 0)
        app_partial_done();
    return status;
}

const struct applet applet_dd = {
    .name = "dd",
    .title = "copy a range of an image or of standard input, in blocks",
    .synopsis = "[-f FMT|--image-opts] [--strict-format] "
                "[-O OUTPUT_FMT] [-U] [-n] [--keep-partial] [--object OBJDEF] "
                "[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] [seek=BLOCKS] [osize=SIZE] [conv=notrunc,sparse,fsync] [iflag=direct] [oflag=direct] "
                "[status=none|progress] [if=INPUT] [of=OUTPUT]",
    .options = options,
    .operands = "if=INPUT       input image; without it, or `-`, standard input\n"
                "of=OUTPUT      output image; without it, or `-`, standard output, raw or\n"
                "               a format that can be written in order\n"
                "bs=BLOCK_SIZE  block size in bytes (512), with a suffix k, M, G ...\n"
                "count=BLOCKS   stop after this many blocks of the input, with those skipped\n"
                "skip=BLOCKS    skip this many blocks of the input\n"
                "seek=BLOCKS    offset in the output; data before it is kept, data after the\n"
                "               copy is lost\n"
                "osize=SIZE     size of the new output\n"
                "conv=LIST      notrunc: keep all of an existing output, which grows if needed;\n"
                "               sparse: runs of zeroes become holes;\n"
                "               fsync: report if the output did not reach the disk\n"
                "iflag=direct, oflag=direct  bypass the page cache\n"
                "status=progress  show progress on standard error; none: do not",
    .main = run,
};
