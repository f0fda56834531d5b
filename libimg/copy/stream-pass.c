/* SPDX-License-Identifier: MIT */
/*
 * stream-pass.c - copies to an image that is written strictly in order.
 *
 * A format whose tables precede the data must know all of them first.  So there are two passes over the source with the
 * same windows.  The first tells the driver what will be written: from the map only, without reading; or, if clusters
 * are compressed or zeroes are detected, from the data, read and encoded by all workers as in any copy.  The second
 * pass writes.  A driver whose tables follow the data needs no first pass.
 */
#include "internal.h"
#include "io/io.h"
#include "util/checked.h"
#include <errno.h>

/* ---- One window ----------------------------------------------------------------- */

static void add_run(struct copy_worker *worker, const struct copy_window *window, uint64_t offset, uint64_t length,
                    enum img_extent_kind kind)
{
    struct copy_lists *lists = &worker->lists;
    struct img_run *last = lists->runs.count ? &lists->runs.at[lists->runs.count - 1] : NULL;
    const void *bytes = kind == IMG_DATA ? worker->buffer + (offset - window->offset) : NULL;

    if (last && last->kind == kind)
        last->length += length;
    else if (!IMG_VECTOR_PUSH(&lists->runs, (struct img_run){ .offset = offset, .length = length, .kind = kind,
                                                              .bytes = bytes }))
        lists->failed = true;
}

/* Make runs of whole units, each of one kind: a unit with any data is data. */
static int find_runs(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    uint64_t unit = worker->job->write_unit, end = window->offset + window->length, at = window->offset;
    size_t i = 0;
    int ret = 0;

    while (at < end && ret == 0) {
        while (spans->at[i].offset + spans->at[i].length <= at)
            i++;
        uint64_t span_end = spans->at[i].offset + spans->at[i].length;
        uint64_t whole = span_end == end ? end : img_align_down(span_end, unit);
        if (whole > at) {
            add_run(worker, window, at, whole - at, spans->at[i].kind);
        } else {
            whole = img_min(at + unit, end);
            if (worker->job->pass != COPY_PLAN_BY_MAP)
                ret = copy_complete(worker, window, spans, at, whole);
            add_run(worker, window, at, whole - at, IMG_DATA);
        }
        at = whole;
    }
    return ret;
}

static int find_clusters(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    struct copy_lists *lists = &worker->lists;
    int ret = copy_encode_window(worker, window, spans);

    for (size_t i = 0; i < lists->clusters.count; i++) {
        const struct copy_cluster *cluster = &lists->clusters.at[i];
        if (cluster->kind != IMG_CODED)
            add_run(worker, window, cluster->offset, cluster->length, cluster->kind);
        else if (!IMG_VECTOR_PUSH(&lists->runs, (struct img_run){ cluster->offset, cluster->length, IMG_CODED,
                                                                  cluster->coded, cluster->coded_length }))
            lists->failed = true;
    }
    return ret;
}

static int put(struct copy_worker *worker)
{
    struct copy_job *job = worker->job;
    const struct copy_lists *lists = &worker->lists;
    struct img *image = job->image;
    uint64_t before;
    int ret;

    if (job->pass != COPY_WRITE)
        return image->driver->stream->plan(image, lists->runs.at, lists->runs.count);
    before = img_sink_position(job->sink);
    ret = image->driver->stream->put(image, lists->runs.at, lists->runs.count, job->sink);
    if (ret == 0)
        ret = img_sink_flush(job->sink);
    copy_account(job, img_sink_position(job->sink) - before);
    return ret;
}

int copy_stream_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    struct copy_job *job = worker->job;
    int ret = 0;

    worker->lists.runs.count = 0;
    if (window->uniform)
        add_run(worker, window, window->offset, window->length, window->first.kind);
    else if (job->what->compress)
        ret = find_clusters(worker, window, spans);
    else
        ret = find_runs(worker, window, spans);
    if (ret == 0 && worker->lists.failed)
        ret = copy_fail(job, IMG_COPY_WRITING, window->offset, -ENOMEM);
    if (ret == 0)
        ret = copy_take_turn(worker, window);
    if (ret == 0 && (ret = put(worker)) < 0)
        copy_fail(job, ret == -ESTALE ? IMG_COPY_CHANGED : IMG_COPY_WRITING, window->offset, ret);
    return ret;
}

/* ---- The passes --------------------------------------------------------------------- */

struct part {
    const struct img_copy *what;
    bool second;
};

static void tell_half(void *context, uint64_t done, uint64_t total)
{
    const struct part *part = context;

    part->what->progress(part->what->context, (done + (part->second ? total : 0)) / 2, total);
}

/* Does the map of the storage not show holes?  Then the data must be read. */
static bool is_blind(const struct img *image)
{
    if (!image)
        return false;
    return image->blind || is_blind(image->backing) || (img_shows_below(image) && is_blind(image->file));
}

static bool any_is_blind(const struct img_copy *what)
{
    for (size_t i = 0; i < what->source_count; i++)
        if (is_blind(what->sources[i]))
            return true;
    return false;
}

/* The second pass computes the digest and reports salvaged ranges; the plan must not. */
static int plan(const struct img_copy *what, bool by_bytes, struct img_copy_fault *fault)
{
    struct part part = { .what = what };
    struct img_copy own = *what;

    own.digest = NULL;
    own.salvaged = NULL;
    own.rate = 0;
    own.context = &part;
    own.progress = by_bytes && what->progress ? tell_half : NULL;
    return copy_run(&own, by_bytes ? COPY_PLAN_BY_BYTES : COPY_PLAN_BY_MAP, NULL, NULL, fault);
}

static int fail(struct img_copy_fault *fault, uint64_t offset, int error)
{
    *fault = (struct img_copy_fault){ .stage = error == -ESTALE ? IMG_COPY_CHANGED : IMG_COPY_WRITING,
                                      .offset = offset };
    return error;
}

static int write_image(const struct img_copy *what, struct img_sink *sink, uint64_t *copied,
                       struct img_copy_fault *fault)
{
    struct img *image = what->stream->image;
    const struct img_stream_ops *ops = image->driver->stream;
    int ret = ops->begin(image, sink);

    if (ret == 0)
        ret = img_sink_flush(sink);
    if (ret < 0)
        return fail(fault, 0, ret);
    ret = copy_run(what, COPY_WRITE, sink, copied, fault);
    if (ret < 0)
        return ret;
    ret = ops->end(image, sink);
    if (ret == 0)
        ret = img_sink_flush(sink);
    return ret < 0 ? fail(fault, image->size, ret) : 0;
}

int copy_to_stream(const struct img_copy *asked, uint64_t *copied, struct img_copy_fault *fault)
{
    struct img *image = asked->stream->image;
    struct part part = { .what = asked, .second = true };
    struct img_copy what = *asked;
    struct img_sink sink;
    int ret = 0;

    *fault = (struct img_copy_fault){ .stage = IMG_COPY_STARTING };
    if (what.source_count == 0)
        return -ESPIPE;
    what.in_order = true;
    what.compress |= image->coded_only;
    if (what.keep_data && any_is_blind(&what))
        what.keep_data = false;
    if (image->driver->stream->plan) {
        bool by_bytes = what.compress || (what.sparse && !what.keep_data);
        ret = plan(&what, by_bytes, fault);
        if (by_bytes && what.progress) {
            what.progress = tell_half;
            what.context = &part;
        }
    }
    if (ret < 0)
        return ret;
    ret = img_sink_open(&sink, what.target_fd);
    if (ret < 0)
        return ret;
    ret = write_image(&what, &sink, copied, fault);
    img_sink_close(&sink);
    return ret;
}
