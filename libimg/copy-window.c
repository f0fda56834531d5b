/* SPDX-License-Identifier: MIT */
/*
 * copy-window.c - the way of one window of the copy: map, read, look for
 * zeroes, encode, take the turn, write.
 *
 * A window is described by spans (data, zero, hole).  Spans of data that touch
 * are read next to each other into the worker's buffer, so that a fragmented
 * source is still written in long pieces.
 */
#include "copy-internal.h"
#include "driver.h"
#include "util/checked.h"
#include "util/vector.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

struct span {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE: leave alone; ZERO; DATA: bytes in the buffer */
    bool offloaded;                /* DATA that the kernel copied already */
};

struct spans {
    struct span *at;
    size_t count, capacity;
};

static void add_span(struct spans *spans, uint64_t offset, uint64_t length, enum img_extent_kind kind)
{
    struct span *last = spans->count ? &spans->at[spans->count - 1] : NULL;

    if (length == 0)
        return;
    if (last && last->kind == kind && last->offset + last->length == offset) {
        last->length += length;
        return;
    }
    IMG_VECTOR_PUSH(spans, (struct span){ .offset = offset, .length = length, .kind = kind });
}

/* ---- Reading ----------------------------------------------------------------- */

static int read_source(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length)
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

/* Sector by sector; what can't be read becomes zeroes. */
static void salvage(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0; done < length; done += SECTOR) {
        uint64_t n = img_min(SECTOR, length - done);
        int ret = read_source(job, buffer + done, offset + done, n);
        if (ret < 0) {
            memset(buffer + done, 0, n);
            if (job->what->salvaged)
                job->what->salvaged(job->what->context, offset + done, -ret);
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
    if (extent->kind == IMG_DATA && extent->host_valid)
        ret = img_read_extent(extent, buffer, extent->offset, length);
    else
        ret = read_source(job, buffer, extent->offset, length);
    if (ret < 0 && job->what->salvage) {
        salvage(job, buffer, extent->offset, length);
        ret = 0;
    }
    return ret < 0 ? copy_fail(job, IMG_COPY_READING, extent->offset, ret) : 0;
}

/* The next extent of the window; *extent may hold the cursor's answer for it. */
static int map_piece(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret;

    if (extent->length && offset >= extent->offset && offset < extent->offset + extent->length &&
        (offset == extent->offset || extent->kind != IMG_CODED)) {
        uint64_t gone = offset - extent->offset;
        extent->offset += gone;
        extent->host += gone;
        extent->length -= gone;
        return 0;
    }
    ret = copy_map(job, offset, length, extent);
    if (ret < 0 && job->what->salvage) {
        /* Treated as data: reading it sector by sector tells what is there. */
        *extent = (struct img_extent){ .offset = offset, .length = img_min(length, SECTOR), .kind = IMG_CODED };
        return 0;
    }
    return ret < 0 ? copy_fail(job, IMG_COPY_MAPPING, offset, ret) : 0;
}

/* Read all data of the window and say what is where. */
static int read_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    struct copy_job *job = worker->job;
    struct img_extent extent = window->first;
    uint64_t end = window->offset + window->length;
    int ret;

    for (uint64_t offset = window->offset; offset < end; offset += extent.length) {
        uint64_t length;
        ret = map_piece(job, offset, end - offset, &extent);
        if (ret < 0)
            return ret;
        length = img_min(extent.length, end - offset);
        if (extent.kind == IMG_HOLE || (extent.kind == IMG_ZERO && job->what->sparse)) {
            add_span(spans, offset, length, extent.kind);
        } else if (job->what->offload && copy_offload(job, &(struct img_extent){ .offset = offset, .length = length,
                       .kind = extent.kind, .file = extent.file, .host = extent.host, .host_valid = extent.host_valid }) > 0) {
            add_span(spans, offset, length, IMG_HOLE);
        } else {
            ret = read_extent(job, &extent, worker->buffer + (offset - window->offset), length);
            if (ret < 0)
                return ret;
            add_span(spans, offset, length, IMG_DATA);
        }
        extent.length = img_min(extent.length, length);
    }
    return 0;
}

/* ---- Zero detection ------------------------------------------------------------ */

/*
 * Split a span of data at its zero runs.  Units lie at multiples of job->unit
 * of the guest, so the answer does not depend on where the data begin.
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
        /* Seen as a whole a run may be longer than this piece; spans of one kind join. */
        if (zero && run < job->what->sparse && job->unit < job->what->sparse && run < left)
            zero = false;
        add_span(out, offset, run, zero ? IMG_ZERO : IMG_DATA);
        done += run;
    }
}

/*
 * An image that allocates in units gets whole units: a unit with any data is
 * written at once with the zeroes around them, in place of a small write and
 * the filling of the rest by copy on write.  The allocation is the same.
 */
static void widen(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    uint64_t unit = worker->job->write_unit;
    struct spans wide = { 0 };

    for (size_t i = 0; i < spans->count; i++) {
        struct span span = spans->at[i];
        const struct span *next = i + 1 < spans->count ? &spans->at[i + 1] : NULL;
        const struct span *last = wide.count ? &wide.at[wide.count - 1] : NULL;
        uint64_t from = span.offset, to = span.offset + span.length;
        if (span.kind == IMG_ZERO && last && last->kind == IMG_DATA)
            from = img_min(img_align_up(from, unit), to);
        if (span.kind == IMG_ZERO && next && next->kind == IMG_DATA)
            to = img_max(img_align_down(to, unit), from);
        memset(worker->buffer + (span.offset - window->offset), 0, span.kind == IMG_ZERO ? from - span.offset : 0);
        memset(worker->buffer + (to - window->offset), 0, span.offset + span.length - to);
        add_span(&wide, span.offset, from - span.offset, IMG_DATA);
        add_span(&wide, from, to - from, span.kind);
        add_span(&wide, to, span.offset + span.length - to, IMG_DATA);
    }
    free(spans->at);
    *spans = wide;
}

static void detect(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    struct spans found = { 0 };

    for (size_t i = 0; i < spans->count; i++) {
        struct span *span = &spans->at[i];
        if (span->kind == IMG_DATA)
            detect_span(worker->job, worker->buffer + (span->offset - window->offset), span, &found);
        else
            add_span(&found, span->offset, span->length, span->kind);
    }
    free(spans->at);
    *spans = found;
    if (worker->job->write_unit > 1)
        widen(worker, window, spans);
}

/* ---- Writing to an image ---------------------------------------------------------- */

static int fail_writing(struct copy_job *job, uint64_t offset, int error)
{
    return copy_fail(job, IMG_COPY_WRITING, offset, error);
}

static int write_zero(struct copy_job *job, uint64_t offset, uint64_t length)
{
    int ret;

    if (job->what->target_is_zero)
        return 0;
    ret = img_zero(job->what->target, offset, length, IMG_ZERO_MAY_UNMAP);
    return ret < 0 ? fail_writing(job, offset, ret) : 0;
}

static int write_data(struct copy_job *job, const void *bytes, uint64_t offset, uint64_t length)
{
    int ret = img_pwrite(job->what->target, bytes, offset, length);

    if (ret < 0)
        return fail_writing(job, offset, ret);
    copy_account(job, length);
    return 0;
}

static int write_spans(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    int ret = 0;

    for (size_t i = 0; i < spans->count && ret == 0; i++) {
        const struct span *span = &spans->at[i];
        if (span->kind == IMG_ZERO)
            ret = write_zero(worker->job, span->offset, span->length);
        else if (span->kind == IMG_DATA)
            ret = write_data(worker->job, worker->buffer + (span->offset - window->offset), span->offset, span->length);
    }
    return ret;
}

/* A stream that is longer than was known: make room before the bytes come. Done in turn, so alone. */
static int grow_target(struct copy_job *job, const struct copy_window *window)
{
    uint64_t end = window->offset + window->length;
    struct img_error err = IMG_ERROR_INIT;
    int ret;

    if (!job->what->grow_target || end <= img_size(job->what->target))
        return 0;
    ret = img_resize(job->what->target, end, NULL, &err);
    img_error_clear(&err);
    return ret < 0 ? copy_fail(job, IMG_COPY_GROWING, window->offset, ret) : 0;
}

/* ---- Compressed clusters --------------------------------------------------------------- */

/* What becomes of one cluster of the window. */
struct cluster {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE, ZERO, DATA (does not shrink), CODED */
    const unsigned char *coded;
    size_t coded_length;
};

/* Is any of [offset, +length) something else than a hole?  Data holes in a cluster that has more are read. */
static int complete_cluster(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                            struct cluster *cluster)
{
    uint64_t end = cluster->offset + cluster->length;
    bool any = false;

    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        any |= span->kind != IMG_HOLE && span->offset < end && span->offset + span->length > cluster->offset;
    }
    if (!any) {
        cluster->kind = IMG_HOLE;
        return 0;
    }
    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        uint64_t from = img_max(span->offset, cluster->offset), to = img_min(span->offset + span->length, end);
        unsigned char *at = worker->buffer + (from - window->offset);
        int ret = 0;
        if (from >= to || span->kind == IMG_DATA)
            continue;
        if (span->kind == IMG_ZERO)
            memset(at, 0, to - from);
        else
            ret = read_source(worker->job, at, from, to - from);
        if (ret < 0)
            return copy_fail(worker->job, IMG_COPY_READING, from, ret);
    }
    cluster->kind = worker->job->what->sparse &&
                    img_is_zero(worker->buffer + (cluster->offset - window->offset), cluster->length)
                        ? IMG_ZERO : IMG_DATA;
    return 0;
}

static int encode_cluster(struct copy_worker *worker, const struct copy_window *window, size_t *used,
                          struct cluster *cluster)
{
    struct img *target = worker->job->what->target;
    int64_t n = img_encode_cluster(target, worker->buffer + (cluster->offset - window->offset), cluster->length,
                                   worker->coded + *used, worker->job->window_size - *used);

    if (n == -ENOSPC)
        return 0;
    if (n < 0)
        return fail_writing(worker->job, cluster->offset, (int)n);
    cluster->kind = IMG_CODED;
    cluster->coded = worker->coded + *used;
    cluster->coded_length = (size_t)n;
    *used += (size_t)n;
    return 0;
}

/* Coded clusters in a row go out as one. */
static int write_coded(struct copy_job *job, const struct cluster *clusters, size_t count)
{
    struct coded_cluster *list = img_xcalloc(count, sizeof *list);
    int ret;

    for (size_t i = 0; i < count; i++) {
        list[i] = (struct coded_cluster){ clusters[i].offset, clusters[i].coded, clusters[i].coded_length };
        copy_account(job, clusters[i].coded_length);
    }
    ret = img_pwrite_coded(job->what->target, list, count);
    free(list);
    return ret < 0 ? fail_writing(job, clusters[0].offset, ret) : 0;
}

static int write_clusters(struct copy_worker *worker, const struct copy_window *window,
                          const struct cluster *clusters, size_t count)
{
    struct copy_job *job = worker->job;
    int ret = 0;

    for (size_t i = 0; i < count && ret == 0; i++) {
        const struct cluster *cluster = &clusters[i];
        size_t run = 1;
        if (cluster->kind == IMG_CODED) {
            while (i + run < count && clusters[i + run].kind == IMG_CODED)
                run++;
            ret = write_coded(job, cluster, run);
            i += run - 1;
        } else if (cluster->kind == IMG_ZERO) {
            ret = write_zero(job, cluster->offset, cluster->length);
        } else if (cluster->kind == IMG_DATA) {
            ret = write_data(job, worker->buffer + (cluster->offset - window->offset), cluster->offset, cluster->length);
        }
    }
    return ret;
}

static int compress_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    uint64_t unit = img_cluster_size(worker->job->what->target), end = window->offset + window->length;
    size_t count = 0, used = 0;
    struct cluster *clusters = img_xcalloc(window->length / unit + 2, sizeof *clusters);
    int ret = 0;

    for (uint64_t offset = window->offset; offset < end && ret == 0; offset += clusters[count++].length) {
        struct cluster *cluster = &clusters[count];
        *cluster = (struct cluster){ .offset = offset, .length = img_min(unit - offset % unit, end - offset) };
        ret = complete_cluster(worker, window, spans, cluster);
        if (ret == 0 && cluster->kind == IMG_DATA)
            ret = encode_cluster(worker, window, &used, cluster);
    }
    if (ret == 0)
        ret = copy_take_turn(worker, window);
    if (ret == 0)
        ret = grow_target(worker->job, window);
    if (ret == 0)
        ret = write_clusters(worker, window, clusters, count);
    free(clusters);
    return ret;
}

/* ---- Writing to a stream --------------------------------------------------------------------- */

static int write_all(int fd, const unsigned char *bytes, uint64_t length)
{
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        length -= (uint64_t)n;
    }
    return 0;
}

/* Zeroes to a stream, through the buffer that nobody needs now. */
static int stream_zeroes(struct copy_worker *worker, uint64_t length)
{
    memset(worker->buffer, 0, img_min(length, worker->job->window_size));
    while (length) {
        uint64_t n = img_min(length, worker->job->window_size);
        int ret = write_all(worker->job->what->target_fd, worker->buffer, n);
        if (ret < 0)
            return ret;
        length -= n;
    }
    return 0;
}

/* Every byte in order: spans without data are filled with zeroes first, so that one write does it. */
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
        ret = write_all(job->what->target_fd, worker->buffer, window->length);
    }
    copy_account(job, window->length);
    return ret < 0 ? fail_writing(job, window->offset, ret) : 0;
}

/* ---- Offloading ------------------------------------------------------------------------------------ */

int copy_offload(struct copy_job *job, const struct img_extent *extent)
{
    struct img *target = job->what->target;
    struct img_reservation to = { 0 };
    int ret;

    if (!target || extent->kind != IMG_DATA || !extent->host_valid || job->offload_failed)
        return 0;
    if (!(target->driver->traits & IMG_PASS_THROUGH) || !extent->file->driver->copy_range)
        return 0;
    ret = img_map(target, extent->offset, extent->length, &(struct img_extent){ 0 });
    if (ret == 0)
        ret = target->driver->reserve(target, extent->offset, extent->length, &to);
    if (ret < 0 || to.length != extent->length || to.file->driver != extent->file->driver)
        return 0;
    ret = extent->file->driver->copy_range(extent->file, extent->host, to.file, to.host, extent->length);
    if (ret < 0) {
        job->offload_failed = true;
        return 0;
    }
    return 1;
}

/* ---- The way of a window ------------------------------------------------------------------------------- */

static int write_uniform(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;
    int ret;

    if (!job->what->target)
        return stream_window(worker, window, &(struct spans){ 0 });
    ret = copy_take_turn(worker, window);
    if (ret == 0 && window->first.kind == IMG_ZERO)
        ret = write_zero(job, window->offset, window->length);
    return ret;
}

int copy_do_window(struct copy_worker *worker, struct copy_window *window)
{
    struct copy_job *job = worker->job;
    struct spans spans = { 0 };
    int ret = 0;

    if (window->uniform)
        return write_uniform(worker, window);
    if (window->streamed)
        add_span(&spans, window->offset, window->length, IMG_DATA);
    else
        ret = read_window(worker, window, &spans);
    if (ret == 0 && !job->what->target) {
        ret = stream_window(worker, window, &spans);
    } else if (ret == 0 && job->what->compress) {
        ret = compress_window(worker, window, &spans);
    } else if (ret == 0) {
        if (job->what->sparse)
            detect(worker, window, &spans);
        ret = copy_take_turn(worker, window);
        if (ret == 0)
            ret = grow_target(job, window);
        if (ret == 0)
            ret = write_spans(worker, window, &spans);
    }
    free(spans.at);
    return ret;
}
