/* SPDX-License-Identifier: MIT */
/*
 * copy-place.c - a window of the copy that goes into an image, not compressed.
 *
 * Where the image gives out places, only that has to be in guest order for the file to come out the same every time.
 * It takes microseconds; the bytes are written when the next window has its turn already, so workers write side by
 * side.
 */
#include "copy-internal.h"
#include "driver.h"
#include "trace.h"
#include "util/checked.h"
#include "util/vector.h"
#include <stdlib.h>

struct placed {
    struct img_reservation at;
    const unsigned char *bytes;
};

struct pending {
    struct placed *at;
    size_t count, capacity;
};

/* Write what has its place, or give the places back after an error.  Returns the first error. */
static int fill(struct copy_job *job, struct pending *pending, int error)
{
    for (size_t i = 0; i < pending->count; i++) {
        struct placed *one = &pending->at[i];
        int ret = img_fill(job->what->target, &one->at, one->bytes, error);
        if (error == 0 && ret < 0)
            error = copy_fail_writing(job, one->at.offset, ret);
        else if (error == 0)
            copy_account(job, one->at.length);
    }
    pending->count = 0;
    return error;
}

/* A cluster that waits for its bytes would be allocated again: whatever touches it comes after them. */
static int settle_before(struct copy_job *job, struct pending *pending, uint64_t offset)
{
    const struct img_reservation *last = pending->count ? &pending->at[pending->count - 1].at : NULL;

    if (!last || offset >= img_align_up(last->offset + last->length, img_cluster_size(job->what->target)))
        return 0;
    return fill(job, pending, 0);
}

static int place(struct copy_job *job, struct pending *pending, const struct span *span, const unsigned char *bytes)
{
    struct img *target = job->what->target;
    uint64_t done = 0;

    if (!job->places)
        return copy_write_data(job, bytes, span->offset, span->length);
    IMG_TRACE(write, target, span->offset, span->length);
    while (done < span->length) {
        struct placed one = { .bytes = bytes + done };
        uint64_t offset = span->offset + done;
        int ret = settle_before(job, pending, offset);
        if (ret < 0)
            return ret;
        ret = img_place(target, offset, span->length - done, &one.at);
        if (ret < 0)
            return copy_fail_writing(job, offset, ret);
        done += one.at.length;
        IMG_VECTOR_PUSH(pending, one);
        /* What it gives free is there for the next one, or is not: that must not be left to chance. */
        if (one.at.replaces && (ret = fill(job, pending, 0)) < 0)
            return ret;
    }
    return 0;
}

static int place_spans(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                       struct pending *pending)
{
    struct copy_job *job = worker->job;
    int ret = copy_grow_target(job, window);

    for (size_t i = 0; i < spans->count && ret == 0; i++) {
        const struct span *span = &spans->at[i];
        if (span->kind == IMG_DATA) {
            ret = place(job, pending, span, worker->buffer + (span->offset - window->offset));
        } else if (span->kind == IMG_ZERO && !job->what->target_is_zero) {
            ret = settle_before(job, pending, span->offset);
            if (ret == 0)
                ret = copy_write_zero(job, span->offset, span->length);
        }
    }
    return ret;
}

int copy_write_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    struct pending pending = { 0 };
    int ret = copy_take_turn(worker, window);

    if (ret < 0)
        return ret;
    ret = place_spans(worker, window, spans, &pending);
    if (ret == 0)
        copy_give_turn(worker, window);
    ret = fill(worker->job, &pending, ret);
    free(pending.at);
    return ret;
}
