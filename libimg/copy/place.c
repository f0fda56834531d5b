/* SPDX-License-Identifier: MIT */
/*
 * place.c - writes a window to an image, uncompressed.
 *
 * If the image allocates places, only the allocation must be in guest order to make the file the same every time.  It
 * takes microseconds.  The data are written while the next window already has its turn, so workers write in parallel.
 */
#include "internal.h"
#include "driver.h"
#include "io/io.h"
#include "node/trace.h"
#include "util/checked.h"

/* The places of a window, in a list of the worker's. */
struct pending {
    struct copy_worker *worker;
    const struct copy_window *window;
};

static const unsigned char *bytes_of(const struct pending *pending, const struct span *span)
{
    return pending->worker->buffer + (span->offset - pending->window->offset);
}

/* Write the data of one place, or cancel the place after an error. */
static int fill_one(struct pending *pending, struct placed *one, int error)
{
    struct copy_job *job = pending->worker->job;
    struct img_reservation *at = &one->at;
    const struct span *span = &one->span;
    bool whole = at->head == 0 && at->tail == 0;
    int ret;

    if (error == 0 && span->from && whole &&
        copy_offload(job, span->from, span->host, at->file, at->host, at->length))
        ret = img_fill(job->what->target, at, NULL, 0);
    else {
        error = error ? error : copy_fetch(pending->worker, pending->window, span);
        ret = img_fill(job->what->target, at, bytes_of(pending, span), error);
    }
    if (error)
        return error;
    if (ret < 0)
        return copy_fail_writing(job, at->offset, ret);
    copy_account(job, at->length);
    return 0;
}

/* Places that are filled in parallel; after the first error the others are cancelled. */
struct filling {
    struct pending *pending;
    int error;                     /* atomic */
};

static int fill_beside(void *context, size_t index)
{
    struct filling *filling = context;
    int error = __atomic_load_n(&filling->error, __ATOMIC_RELAXED), none = 0;
    int ret = fill_one(filling->pending, &filling->pending->worker->lists.placed.at[index], error);

    if (ret < 0)
        __atomic_compare_exchange_n(&filling->error, &none, ret, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return 0;
}

/* Fill the pending places, or cancel them after an error.  Returns the first error. */
static int fill(struct pending *pending, int error)
{
    struct copy_lists *lists = &pending->worker->lists;
    struct img_crew *crew = pending->worker->job->crew;
    struct filling filling = { .pending = pending, .error = error };

    if (crew && lists->placed.count > 1)
        img_crew_run(crew, fill_beside, &filling, lists->placed.count);
    else
        for (size_t i = 0; i < lists->placed.count; i++)
            fill_beside(&filling, i);
    lists->placed.count = 0;
    return filling.error;
}

/* A cluster whose data are still pending would be allocated again, so requests that touch it must wait for the data. */
static int settle_before(struct pending *pending, uint64_t offset)
{
    const struct copy_lists *lists = &pending->worker->lists;
    const struct img_reservation *last = lists->placed.count ? &lists->placed.at[lists->placed.count - 1].at : NULL;
    const struct img *target = pending->worker->job->what->target;

    if (!last || offset >= img_align_up(last->offset + last->length, img_lock_unit(target)))
        return 0;
    return fill(pending, 0);
}

/* Write a span to an image without places: raw, or a filter. */
static int write_span(struct pending *pending, const struct span *span)
{
    struct copy_job *job = pending->worker->job;
    struct img *target = job->what->target;
    struct img_reservation to = { .offset = span->offset };
    int ret;

    if (span->from && target->driver->reserve(target, span->offset, span->length, &to) == 0 &&
        to.length == span->length &&
        copy_offload(job, span->from, span->host, to.file, to.host, span->length)) {
        copy_account(job, span->length);
        return 0;
    }
    ret = copy_fetch(pending->worker, pending->window, span);
    return ret < 0 ? ret : copy_write_data(job, bytes_of(pending, span), span->offset, span->length);
}

static int place(struct pending *pending, const struct span *span)
{
    struct copy_lists *lists = &pending->worker->lists;
    struct copy_job *job = pending->worker->job;
    struct img *target = job->what->target;

    if (!job->places)
        return write_span(pending, span);
    IMG_TRACE(write, target, span->offset, span->length);
    for (uint64_t done = 0; done < span->length; ) {
        struct placed one = { .span = *span };
        int ret;
        one.span.offset += done;
        one.span.host += done;
        ret = settle_before(pending, one.span.offset);
        if (ret < 0)
            return ret;
        /* The room first: what has a place must stand in the list. */
        if (!IMG_VECTOR_PUSH(&lists->placed, one))
            return copy_fail_writing(job, one.span.offset, -ENOMEM);
        lists->placed.count--;
        ret = img_place(target, one.span.offset, span->length - done, &one.at);
        if (ret < 0)
            return copy_fail_writing(job, one.span.offset, ret);
        one.span.length = one.at.length;
        done += one.at.length;
        lists->placed.at[lists->placed.count++] = one;
        /*
         * Freed space may be reused by the next reservation or not, depending on timing: publish now, to exclude
         * chance.
         */
        if (one.at.replaces && (ret = fill(pending, 0)) < 0)
            return ret;
    }
    return 0;
}

static int write_zero(struct copy_job *job, const struct span *span)
{
    int ret;

    if (!job->places)
        return copy_write_zero(job, span->offset, span->length);
    ret = img_zero_held(job->what->target, span->offset, span->length, IMG_ZERO_MAY_UNMAP);
    return ret < 0 ? copy_fail_writing(job, span->offset, ret) : 0;
}

static int place_spans(struct pending *pending, const struct spans *spans)
{
    struct copy_job *job = pending->worker->job;
    int ret = copy_grow_target(job, pending->window);

    for (size_t i = 0; i < spans->count && ret == 0; i++) {
        const struct span *span = &spans->at[i];
        if (span->kind == IMG_DATA) {
            ret = place(pending, span);
        } else if (span->kind == IMG_ZERO && !job->what->target_is_zero) {
            ret = settle_before(pending, span->offset);
            if (ret == 0)
                ret = write_zero(job, span);
        }
    }
    return ret;
}

int copy_write_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    struct pending pending = { .worker = worker, .window = window };
    bool places = worker->job->places;
    struct img_range range;
    int ret = copy_take_turn(worker, window);

    if (ret < 0)
        return ret;
    if (places)
        img_hold_units(worker->job->what->target, &range, window->offset, window->length);
    ret = place_spans(&pending, spans);
    if (ret == 0)
        copy_give_turn(worker, window);
    ret = fill(&pending, ret);
    if (places)
        img_release_units(worker->job->what->target, &range);
    return ret;
}
