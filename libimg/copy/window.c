/* SPDX-License-Identifier: MIT */
/*
 * window.c - processes one window of the copy: map, read, detect zeroes, take the turn, write.
 *
 * A window is described by spans (data, zero, hole).  Adjacent spans of data are read next to each other into the
 * worker's buffer, so that a fragmented source is still written in long pieces.
 */
#include "internal.h"
#include "driver.h"
#include "util/checked.h"
#include "util/fd.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

static void push_span(struct spans *spans, const struct span *span)
{
    if (!IMG_VECTOR_PUSH(spans, *span))
        spans->failed = true;
}

void copy_add_span(struct spans *spans, uint64_t offset, uint64_t length, enum img_extent_kind kind)
{
    struct span *last = spans->count ? &spans->at[spans->count - 1] : NULL;

    if (length == 0)
        return;
    if (last && !last->from && last->kind == kind && last->offset + last->length == offset) {
        last->length += length;
        return;
    }
    push_span(spans, &(struct span){ .offset = offset, .length = length, .kind = kind });
}

struct spans *copy_next_spans(struct copy_worker *worker)
{
    worker->lists.next.count = 0;
    return &worker->lists.next;
}

void copy_replace_spans(struct copy_worker *worker)
{
    struct spans old = worker->lists.spans;

    worker->lists.spans = worker->lists.next;
    worker->lists.next = old;
}

/* ---- Reading ----------------------------------------------------------------- */

int copy_read_source(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length)
{
    while (length) {
        uint64_t inside = 0, left = 0;
        struct img *source = copy_source_at(job, offset, &inside, &left);
        uint64_t n = img_min(length, left);
        int ret = source ? img_pread(source, buffer, inside, n) : -EINVAL;
        if (ret < 0)
            return ret;
        buffer += n;
        offset += n;
        length -= n;
    }
    return 0;
}

static void tell_salvaged(const struct copy_job *job, enum img_copy_stage stage, uint64_t offset, int error)
{
    if (job->what->salvaged)
        job->what->salvaged(job->what->context, stage, offset, -error);
}

/* Read sector by sector, and replace unreadable sectors by zeroes. */
static void salvage(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0; done < length; done += SECTOR) {
        uint64_t n = img_min(SECTOR, length - done);
        int ret = copy_read_source(job, buffer + done, offset + done, n);
        if (ret < 0) {
            memset(buffer + done, 0, n);
            tell_salvaged(job, IMG_COPY_READING, offset + done, ret);
        }
    }
}

static int read_extent(struct copy_job *job, const struct img_extent *extent, unsigned char *buffer, uint64_t length)
{
    int ret;

    if (extent->kind == IMG_ZERO || extent->kind == IMG_HOLE) {
        memset(buffer, 0, length);
        return 0;
    }
    if (extent->kind == IMG_DATA && extent->host_valid && !extent->via)
        ret = img_read_extent(extent, buffer, extent->offset, length);
    else
        ret = copy_read_source(job, buffer, extent->offset, length);
    if (ret == -IMG_ETRUNCATED && job->what->salvage) {
        /* No part of it can be read, as the map ends where the file does. */
        memset(buffer, 0, length);
        tell_salvaged(job, IMG_COPY_READING, extent->offset, ret);
        return 0;
    }
    if (ret < 0 && job->what->salvage && !img_lacks_codec(ret)) {
        salvage(job, buffer, extent->offset, length);
        ret = 0;
    }
    return ret < 0 ? copy_fail(job, IMG_COPY_READING, extent->offset, ret) : 0;
}

/* The next extent of the window; *extent may already hold it from the cursor. */
static int map_piece(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret;

    if (extent->length && offset >= extent->offset && offset < extent->offset + extent->length &&
        (offset == extent->offset || extent->kind != IMG_CODED)) {
        img_extent_skip(extent, offset);
        return 0;
    }
    ret = copy_map(job, offset, length, extent);
    if (ret < 0 && job->what->salvage) {
        tell_salvaged(job, IMG_COPY_MAPPING, offset, ret);
        /* Treat it as data: reading it sector by sector finds the content. */
        *extent = (struct img_extent){ .offset = offset, .length = img_min(length, SECTOR), .kind = IMG_CODED };
        return 0;
    }
    return ret < 0 ? copy_fail(job, IMG_COPY_MAPPING, offset, ret) : 0;
}

/* Data of a window, to be read in parallel. */
struct piece {
    struct img_extent extent;
    unsigned char *buffer;
};

struct pieces {
    struct copy_job *job;
    struct piece *at;
    size_t count, capacity;
};

static int read_piece(void *context, size_t index)
{
    struct pieces *pieces = context;
    const struct piece *piece = &pieces->at[index];

    return read_extent(pieces->job, &piece->extent, piece->buffer, piece->extent.length);
}

/* Read it now; or, if reads can run in parallel, when all pieces are known. */
static int take_piece(struct pieces *pieces, const struct img_extent *extent, unsigned char *buffer)
{
    struct piece piece = { .extent = *extent, .buffer = buffer };

    if (!pieces->job->crew)
        return read_extent(pieces->job, extent, buffer, extent->length);
    if (!IMG_VECTOR_PUSH(pieces, piece))
        return copy_fail(pieces->job, IMG_COPY_READING, extent->offset, -ENOMEM);
    return 0;
}

/* Build the spans from the map, and read the data or queue the reads. */
static int map_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans,
                      struct pieces *pieces)
{
    struct copy_job *job = worker->job;
    struct img_extent extent = window->first;
    uint64_t end = window->offset + window->length;
    int ret;

    for (uint64_t offset = window->offset; offset < end; offset += extent.length) {
        ret = map_piece(job, offset, end - offset, &extent);
        if (ret < 0)
            return ret;
        extent.length = img_min(extent.length, end - offset);
        if (extent.kind == IMG_HOLE || (extent.kind == IMG_ZERO && job->what->sparse)) {
            copy_add_span(spans, offset, extent.length, extent.kind);
            continue;
        }
        if (copy_leaves_data(job, &extent)) {
            push_span(spans, &(struct span){ .offset = offset, .length = extent.length, .kind = IMG_DATA,
                                             .from = extent.file, .host = extent.host });
            continue;
        }
        if (job->pass != COPY_PLAN_BY_MAP)
            ret = take_piece(pieces, &extent, worker->buffer + (offset - window->offset));
        if (ret < 0)
            return ret;
        copy_add_span(spans, offset, extent.length, IMG_DATA);
    }
    return 0;
}

static bool has_data(const struct spans *spans)
{
    for (size_t i = 0; i < spans->count; i++)
        if (spans->at[i].kind == IMG_DATA)
            return true;
    return false;
}

/* Build the spans of the window, and read all its data. */
static int read_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    struct copy_job *job = worker->job;
    struct pieces pieces = { .job = job };
    int ret = map_window(worker, window, spans, &pieces);

    if (ret == 0 && pieces.count)
        ret = img_crew_run(job->crew, read_piece, &pieces, pieces.count);
    free(pieces.at);
    if (ret == 0 && job->far && !has_data(spans))
        __atomic_store_n(&job->holes_come, true, __ATOMIC_RELAXED);
    return ret;
}

int copy_complete(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                  uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        uint64_t start = img_max(span->offset, from), end = img_min(span->offset + span->length, to);
        unsigned char *at = worker->buffer + (start - window->offset);
        int ret = 0;
        if (start >= end || span->kind == IMG_DATA)
            continue;
        if (span->kind == IMG_ZERO)
            memset(at, 0, end - start);
        else
            ret = copy_read_source(worker->job, at, start, end - start);
        if (ret < 0)
            return copy_fail(worker->job, IMG_COPY_READING, start, ret);
    }
    return 0;
}

/* ---- Zero detection ------------------------------------------------------------ */

/*
 * Split a span of data at its zero runs.  Units are at multiples of job->unit
 * in the guest, so the result does not depend on where the data starts.
 */
static void detect_span(struct copy_job *job, const unsigned char *bytes, const struct span *span, struct spans *out)
{
    uint64_t done = 0;

    while (done < span->length) {
        uint64_t offset = span->offset + done, left = span->length - done;
        uint64_t first = job->unit - offset % job->unit, run;
        bool zero;
        if (first < job->unit) {
            run = img_min(first, left);
            zero = img_is_zero(bytes + done, run);
        } else {
            run = img_zero_run(bytes + done, left, job->unit, &zero);
        }
        /* The whole run may be longer than this piece; adjacent spans of one kind are joined. */
        if (zero && run < job->what->sparse && job->unit < job->what->sparse && run < left)
            zero = false;
        copy_add_span(out, offset, run, zero ? IMG_ZERO : IMG_DATA);
        done += run;
    }
}

/*
 * If the image allocates in units, write whole units: a unit with any data is
 * written at once with the zeroes around it, instead of a small write with
 * copy on write of the rest.  The allocation is the same.
 */
static void widen(struct copy_worker *worker, const struct copy_window *window)
{
    const struct spans *spans = &worker->lists.spans;
    struct spans *wide = copy_next_spans(worker);
    uint64_t unit = worker->job->write_unit;

    for (size_t i = 0; i < spans->count; i++) {
        struct span span = spans->at[i];
        const struct span *next = i + 1 < spans->count ? &spans->at[i + 1] : NULL;
        const struct span *last = wide->count ? &wide->at[wide->count - 1] : NULL;
        if (span.from) {
            push_span(wide, &span);
            continue;
        }
        uint64_t from = span.offset, to = span.offset + span.length;
        if (span.kind == IMG_ZERO && last && last->kind == IMG_DATA && !last->from)
            from = img_min(img_align_up(from, unit), to);
        if (span.kind == IMG_ZERO && next && next->kind == IMG_DATA && !next->from)
            to = img_max(img_align_down(to, unit), from);
        memset(worker->buffer + (span.offset - window->offset), 0, span.kind == IMG_ZERO ? from - span.offset : 0);
        memset(worker->buffer + (to - window->offset), 0, span.offset + span.length - to);
        copy_add_span(wide, span.offset, from - span.offset, IMG_DATA);
        copy_add_span(wide, from, to - from, span.kind);
        copy_add_span(wide, to, span.offset + span.length - to, IMG_DATA);
    }
    copy_replace_spans(worker);
}

static void detect(struct copy_worker *worker, const struct copy_window *window)
{
    const struct spans *spans = &worker->lists.spans;
    struct spans *found = copy_next_spans(worker);

    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        if (span->from)
            push_span(found, span);
        else if (span->kind == IMG_DATA && !worker->job->what->keep_data)
            detect_span(worker->job, worker->buffer + (span->offset - window->offset), span, found);
        else
            copy_add_span(found, span->offset, span->length, span->kind);
    }
    copy_replace_spans(worker);
    if (worker->job->write_unit > 1)
        widen(worker, window);
}

/* ---- Writing to an image ---------------------------------------------------------- */

int copy_fail_writing(struct copy_job *job, uint64_t offset, int error)
{
    return copy_fail(job, IMG_COPY_WRITING, offset, error);
}

int copy_write_zero(struct copy_job *job, uint64_t offset, uint64_t length)
{
    int ret;

    if (job->what->target_is_zero)
        return 0;
    ret = img_zero(job->what->target, offset, length, IMG_ZERO_MAY_UNMAP);
    return ret < 0 ? copy_fail_writing(job, offset, ret) : 0;
}

int copy_write_data(struct copy_job *job, const void *bytes, uint64_t offset, uint64_t length)
{
    int ret = img_pwrite(job->what->target, bytes, offset, length);

    if (ret < 0)
        return copy_fail_writing(job, offset, ret);
    copy_account(job, length);
    return 0;
}

/* A stream is longer than known so far: grow the target before writing. In turn, so no other worker does it. */
int copy_grow_target(struct copy_job *job, const struct copy_window *window)
{
    uint64_t end = window->offset + window->length;
    struct img_error err = IMG_ERROR_INIT;
    int ret;

    if (!job->what->grow_target || end <= img_size(job->what->target))
        return 0;
    ret = img_resize(job->what->target, img_align_up(end, SECTOR), NULL, &err);
    img_error_clear(&err);
    return ret < 0 ? copy_fail(job, IMG_COPY_GROWING, window->offset, ret) : 0;
}

/* ---- Writing to a stream --------------------------------------------------------------------- */

/* Write zeroes to a stream, through the buffer, which is free now. */
static int stream_zeroes(struct copy_worker *worker, uint64_t length)
{
    memset(worker->buffer, 0, img_min(length, worker->job->window_size));
    while (length) {
        uint64_t n = img_min(length, worker->job->window_size);
        int ret = img_write_all(worker->job->what->target_fd, worker->buffer, n);
        if (ret < 0)
            return ret;
        length -= n;
    }
    return 0;
}

/* Write every byte in order: spans without data are filled with zeroes first, so that one write is enough. */
static int stream_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    struct copy_job *job = worker->job;
    int ret = copy_take_turn(worker, window);

    if (ret < 0)
        return ret;
    if (window->uniform) {
        ret = stream_zeroes(worker, window->length);
    } else {
        for (size_t i = 0; i < spans->count; i++)
            if (spans->at[i].kind != IMG_DATA)
                memset(worker->buffer + (spans->at[i].offset - window->offset), 0, spans->at[i].length);
        ret = img_write_all(job->what->target_fd, worker->buffer, window->length);
    }
    copy_account(job, window->length);
    return ret < 0 ? copy_fail_writing(job, window->offset, ret) : 0;
}

/* ---- Processing a window ------------------------------------------------------------------------------- */

/* False if only the digest is computed. */
static bool has_output(const struct copy_job *job)
{
    return job->what->target || job->what->target_fd >= 0;
}

static int write_uniform(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;
    int ret = copy_digest_window(worker, window, &(struct spans){ 0 });

    if (ret < 0 || !has_output(job))
        return ret;
    if (job->what->stream)
        return copy_stream_window(worker, window, &(struct spans){ 0 });
    if (!job->what->target)
        return stream_window(worker, window, &(struct spans){ 0 });
    ret = copy_take_turn(worker, window);
    if (ret == 0 && window->first.kind == IMG_ZERO)
        ret = copy_write_zero(job, window->offset, window->length);
    return ret;
}

/* Is all that was said of the window in the lists? */
static int check_spans(struct copy_worker *worker, const struct copy_window *window)
{
    if (!worker->lists.spans.failed && !worker->lists.next.failed)
        return 0;
    return copy_fail(worker->job, IMG_COPY_READING, window->offset, -ENOMEM);
}

int copy_do_window(struct copy_worker *worker, struct copy_window *window)
{
    struct copy_job *job = worker->job;
    struct spans *spans = &worker->lists.spans;
    int ret = 0;

    if (window->uniform)
        return write_uniform(worker, window);
    spans->count = 0;
    if (window->streamed)
        copy_add_span(spans, window->offset, window->length, IMG_DATA);
    else
        ret = read_window(worker, window, spans);
    if (ret == 0 && job->what->rebase)
        ret = copy_drop_shown(worker, window);
    if (ret == 0)
        ret = check_spans(worker, window);
    if (ret == 0)
        ret = copy_digest_window(worker, window, spans);
    if (ret < 0 || !has_output(job))
        return ret;
    if (job->what->stream) {
        if (job->what->sparse && !job->what->keep_data && !job->what->compress)
            detect(worker, window);
        ret = check_spans(worker, window);
    } else if (job->what->sparse && job->what->target && !job->what->compress) {
        detect(worker, window);
        ret = check_spans(worker, window);
    }
    if (ret < 0)
        return ret;
    if (job->what->stream) {
        ret = copy_stream_window(worker, window, spans);
    } else if (!job->what->target) {
        ret = stream_window(worker, window, spans);
    } else if (job->what->compress) {
        ret = copy_compress_window(worker, window, spans);
    } else {
        ret = copy_write_window(worker, window, spans);
    }
    return ret;
}
