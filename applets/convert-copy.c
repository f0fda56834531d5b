/* SPDX-License-Identifier: MIT */
/* convert-copy.c - the copy of img-convert: the request to the copy engine, and messages for its failures. */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void tell_salvaged(void *context, enum img_copy_stage stage, uint64_t offset, int error)
{
    const char *what = stage == IMG_COPY_MAPPING ? "block status at offset" : "offset";

    (void)context;
    if (!app_quiet)
        app_warning("error while reading %s %llu: %s", what, (unsigned long long)offset, img_strerror(error));
}

/* The source that has this offset of all of them together; NULL: standard input. */
static struct img *source_at(const struct convert *r, uint64_t offset)
{
    size_t i = 0;

    if (r->from_stream)
        return NULL;
    while (i + 1 < r->source_count && offset >= img_size(r->images[i]))
        offset -= img_size(r->images[i++]);
    return r->images[i];
}

static void explain(const struct convert *r, const struct img_copy_fault *fault, int error)
{
    unsigned long long at = fault->offset;
    const char *why = img_read_error(source_at(r, fault->offset), error);

    switch (fault->stage) {
    case IMG_COPY_MAPPING:
        app_error("error while reading block status at offset %llu: %s", at, why);
        break;
    case IMG_COPY_READING:
        app_error("error while reading at byte %llu: %s", at, why);
        break;
    case IMG_COPY_WRITING:
        app_error("error while writing at byte %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_GROWING:
        app_error("error while growing the target at byte %llu: %s", at, img_strerror(error));
        break;
    case IMG_COPY_CHANGED:
        app_error("the source was changed while it was read (at byte %llu)", at);
        break;
    case IMG_COPY_COMPARING:
    case IMG_COPY_STARTING:
        app_error("error while starting to copy: %s", img_strerror(error));
        break;
    }
}

static void advise_space(const struct convert *r)
{
    CLEANUP_FD int fd = open(r->target_name, O_RDONLY | O_CLOEXEC);
    int64_t space = fd < 0 ? -1 : img_free_space(fd);
    char words[64];

    if (space >= 0)
        app_advise("the file system of '%s' has %s left; 'measure -O %s' tells how much an image needs", r->target_name,
                   img_size_words(words, sizeof words, (uint64_t)space), r->target_format);
}

/* Standard output or a named pipe (also /dev/stdout if it is a pipe). */
static int open_stream(const struct convert *r)
{
    struct img_error err = IMG_ERROR_INIT;
    int fd = app_open_stream(strcmp(r->target_name, "-") ? r->target_name : NULL, O_WRONLY);

    if (fd < 0 || img_may_overwrite(fd, "standard output", &err) == 0)
        return fd;
    app_report(&err);
    return -1;
}

static int close_stream(int fd, int status)
{
    int ret = app_close_stream(fd);

    if (ret == 0)
        return status;
    app_error("error while closing the target: %s", img_strerror(ret));
    return 1;
}

int convert_copy(struct convert *r)
{
    struct img_copy what = {
        .sources = r->images, .source_count = r->from_stream ? 0 : r->source_count,
        .intake = r->from_stream ? r->opened[0].intake : NULL,
        .target = r->target, .target_fd = -1,
        .top_layer_only = r->backing != NULL, .grow_target = r->from_stream && !r->to_stream,
        .compress = r->compress, .salvage = r->salvage, .salvaged = tell_salvaged, .offload = r->offload,
        .in_order = !r->out_of_order || r->from_stream || r->to_stream,
        .workers = r->workers, .sparse = r->sparse, .rate = r->rate, .progress = app_progress,
        .digest = r->digest.hash ? app_need(img_digest_new(r->digest.hash, r->digest.tree)) : NULL,
    };
    struct img_copy_fault fault;
    int ret, status;

    if (r->to_stream) {
        what.target_fd = open_stream(r);
        if (what.target_fd < 0) {
            img_digest_free(what.digest);
            return 1;
        }
        what.stream = r->stream;
        what.target_backing_size = r->backing ? r->backing_size : UINT64_MAX;
        /* Detecting zeroes in the data takes another pass: only if requested. */
        what.keep_data = r->stream && !r->sparse_given;
        if (!r->stream)
            what.sparse = 512;
    } else {
        /* A hole in the target reads as zeroes in a new image, or from its backing file. */
        what.target_is_zero = r->target_is_zero ||
            (!r->no_create && !r->backing && r->sparse && img_zero_initialised(r->target));
        if (img_backing(r->target))
            what.target_backing_size = img_size(img_backing(r->target));
        else
            what.target_backing_size = UINT64_MAX;
    }
    ret = img_copy(&what, NULL, &fault);
    if (ret < 0)
        explain(r, &fault, -ret);
    if (ret == -ENOSPC && r->target && !r->target_opts)
        advise_space(r);
    if (what.digest)
        img_digest_finish(what.digest, r->digest_result);
    img_digest_free(what.digest);
    status = ret < 0 ? 1 : 0;
    return r->to_stream ? close_stream(what.target_fd, status) : status;
}

/* Is the target the same file as standard output ("-", /dev/stdout, or its own name)? */
static bool target_is_stdout(const struct convert *r)
{
    struct stat target, out;
    int fd;

    if (r->target_opts)
        return false;
    if (strcmp(r->target_name, "-") == 0)
        return true;
    /* (the names of descriptors need not be there) */
    fd = img_fd_of_name(r->target_name);
    return (fd < 0 ? stat(r->target_name, &target) : fstat(fd, &target)) == 0 && fstat(STDOUT_FILENO, &out) == 0 &&
           target.st_dev == out.st_dev && target.st_ino == out.st_ino;
}

void convert_print_digest(const struct convert *r)
{
    app_output_is_work(1);
    digest_print(target_is_stdout(r) ? stderr : stdout, &r->digest, r->digest_result, r->target_name, false);
}
