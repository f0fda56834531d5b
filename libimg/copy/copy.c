/* SPDX-License-Identifier: MIT */
/*
 * copy.c - cursor, workers and order of the copy engine.
 *
 * There is no pass over the image before the copy: the cursor maps ahead as it
 * goes, so copying starts at once.  Only taking a window and, in order,
 * writing it are serialised.  The result of an in-order copy does not depend on
 * the number of workers.
 */
#include "internal.h"
#include "digest.h"
#include "driver.h"
#include "io/intake.h"
#include "io/io.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/team.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WINDOW = IMG_STREAM_PIECE,         /* stays in the second-level cache between read and write */
    COMPRESS_WINDOW = IMG_STREAM_CODED_PIECE,
    FORWARD_WINDOW = 1 << 20,          /* of limits.forward */
    MOST_PIECE = 4 << 20,              /* of a storage far away */
    OFFLOAD_WINDOW = 8 << 20,          /* of a storage far away that copies by itself: a round trip for each */
    STACK = 512 << 10,
    BUFFER_ALIGNMENT = 4096,
    MOST_WORKERS = 64,
    MOST_HELPERS = 256,
    MOST_MEMORY = 64 << 20             /* limit for all workers, where we choose their number */
};

int copy_fail(struct copy_job *job, enum img_copy_stage stage, uint64_t offset, int error)
{
    LOCK_SCOPE(&job->turn_lock);
    /* A worker woken because of a failure has not failed itself. */
    if (error == -ECANCELED && job->error)
        return error;
    if (!job->error || offset < job->fault.offset) {
        job->error = error;
        job->fault = (struct img_copy_fault){ .stage = stage, .offset = offset };
    }
    pthread_cond_broadcast(&job->turn_changed);
    if (job->stop)
        img_stop_ask(job->stop);
    return error;
}

bool copy_cancelled(const struct copy_job *job, const struct copy_window *window)
{
    return job->error && job->fault.offset < window->offset;
}

int copy_take_turn(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;

    LOCK_SCOPE(&job->turn_lock);
    while (job->ordered && !copy_cancelled(job, window) && job->turn != window->sequence)
        pthread_cond_wait(&job->turn_changed, &job->turn_lock);
    if (copy_cancelled(job, window))
        return -ECANCELED;
    worker->holds_turn = true;
    return 0;
}

void copy_give_turn(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;

    LOCK_SCOPE(&job->turn_lock);
    worker->holds_turn = false;
    worker->gave_turn = true;
    job->turn = window->sequence + 1;
    pthread_cond_broadcast(&job->turn_changed);
}

/* The window is done: pass the turn on if not done yet, and report progress. */
static int finish_window(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;

    if (!worker->gave_turn) {
        if (!worker->holds_turn && copy_take_turn(worker, window) < 0)
            return -ECANCELED;
        copy_give_turn(worker, window);
    }
    worker->gave_turn = false;
    LOCK_SCOPE(&job->turn_lock);
    job->done += window->length;
    if (job->what->progress)
        job->what->progress(job->what->context, job->done, job->total);
    return 0;
}

void copy_account(struct copy_job *job, uint64_t bytes)
{
    struct timespec now;
    double due, spent;

    if (!job->what->rate)
        return;
    pthread_mutex_lock(&job->turn_lock);
    job->written += bytes;
    due = (double)job->written / (double)job->what->rate;
    pthread_mutex_unlock(&job->turn_lock);
    clock_gettime(CLOCK_MONOTONIC, &now);
    spent = (double)(now.tv_sec - job->started.tv_sec) + (double)(now.tv_nsec - job->started.tv_nsec) / 1e9;
    if (due > spent) {
        double wait = due - spent;
        struct timespec pause = { (time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9) };
        nanosleep(&pause, NULL);
    }
}

struct img *copy_source_at(const struct copy_job *job, uint64_t offset, uint64_t *inside, uint64_t *left)
{
    offset += job->what->source_offset - job->what->target_offset;
    for (size_t i = 0; i < job->what->source_count; i++) {
        uint64_t size = img_size(job->what->sources[i]);
        if (offset < size) {
            *inside = offset;
            *left = size - offset;
            return job->what->sources[i];
        }
        offset -= size;
    }
    return NULL;
}

/*
 * Ranges that the source does not allocate stay holes in the target, which reads its backing file there,
 * up to the end of that file.  Beyond that end a hole reads as zeroes.
 */
static int settle_hole(const struct copy_job *job, struct img *source, uint64_t inside, struct img_extent *extent)
{
    uint64_t end = job->what->target_backing_size, offset = extent->offset;
    int ret;

    if (job->what->rebase)
        return copy_settle_rebase(job, inside, extent);
    if (job->what->base)
        return 0;
    /* If the source has no backing file, its holes are zeroes, which must override the target's backing file. */
    if (extent->kind == IMG_HOLE && (!job->what->top_layer_only || !img_backing(source)))
        extent->kind = IMG_ZERO;
    if (!job->what->top_layer_only)
        return 0;
    if (extent->kind == IMG_HOLE) {
        /* Beyond the end of its backing file the source reads as zeroes, unlike perhaps the target's backing file. */
        uint64_t size = img_size(img_backing(source));
        if (inside >= size)
            extent->kind = IMG_ZERO;
        else
            extent->length = img_min(extent->length, size - inside);
    }
    if (extent->kind != IMG_HOLE && extent->kind != IMG_ZERO)
        return 0;
    if (offset < end) {
        extent->length = img_min(extent->length, end - offset);
        return 0;
    }
    ret = img_map_chain(source, NULL, inside, extent->length, extent);
    extent->offset = offset;
    if (ret == 0 && extent->kind == IMG_ZERO)
        extent->kind = IMG_HOLE;
    return ret;
}

/* The image of the chain at which mapping stops. */
static struct img *base_of(const struct img_copy *what, const struct img *source)
{
    if (what->rebase)
        return what->rebase->old_shared;
    return what->top_layer_only ? img_backing(source) : what->base;
}

int copy_map(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    uint64_t inside = 0, left = 0;
    struct img *source = copy_source_at(job, offset, &inside, &left);
    int ret;

    if (!source)
        return -EINVAL;
    ret = img_map_chain(source, base_of(job->what, source), inside, img_min(length, left), extent);
    if (ret < 0)
        return ret;
    /* Reads use the guest offset; offloading needs `host`. */
    extent->offset = offset;
    return settle_hole(job, source, inside, extent);
}

static bool needs_data(const struct copy_job *job, const struct img_extent *extent)
{
    if (extent->kind == IMG_DATA || extent->kind == IMG_CODED)
        return true;
    /* Zeroes are compared, too, if the target will read something else there. */
    return extent->kind == IMG_ZERO && (job->what->sparse == 0 || job->what->rebase);
}

/* 1: *window is the next piece of the stream; 0: it ended. Image sizes are whole sectors. */
static int next_of_stream(struct copy_worker *worker, struct copy_window *window)
{
    struct copy_job *job = worker->job;
    uint64_t capacity = img_min(job->end - job->position, job->window_size - job->position % job->window_size);
    int64_t n;

    if (job->stream_end || capacity == 0)
        return 0;
    n = img_intake_read(job->what->intake, worker->buffer, capacity);
    if (n < 0) {
        job->stream_end = true;
        return copy_fail(job, IMG_COPY_READING, job->position, (int)n);
    }
    if (n == 0) {
        job->stream_end = true;
        return 0;
    }
    *window = (struct copy_window){ .offset = job->position, .length = (uint64_t)n,
                                    .sequence = job->next_sequence++, .streamed = true };
    if ((uint64_t)n < capacity)
        job->stream_end = true;
    if (job->what->target && !job->what->exact && window->length % 512) {
        uint64_t padded = img_align_up(window->length, 512);
        memset(worker->buffer + n, 0, padded - window->length);
        window->length = padded;
    }
    job->position += window->length;
    return 1;
}

/* Make job->ahead cover job->position. */
static int look_ahead(struct copy_job *job)
{
    struct img_extent *ahead = &job->ahead;
    int ret;

    if (ahead->length && job->position < ahead->offset + ahead->length) {
        img_extent_skip(ahead, job->position);
        return 0;
    }
    ahead->length = 0;
    ret = copy_map(job, job->position, job->end - job->position, ahead);
    if (ret < 0)
        ahead->length = 0;
    return ret;
}

/*
 * Does the cursor map the next window before it is given out?  With a far source that would be one round trip after
 * another, so there the worker maps it, except where several holes may be skipped at once.
 */
static bool asks_ahead(struct copy_job *job)
{
    if (!job->far || __atomic_load_n(&job->holes_come, __ATOMIC_RELAXED))
        return true;
    job->ahead.length = 0;
    return false;
}

static int next_of_images(struct copy_job *job, struct copy_window *window)
{
    uint64_t left = job->end - job->position, length;
    int ret;

    if (left == 0)
        return 0;
    length = img_min(left, job->window_size - job->position % job->window_size);
    ret = asks_ahead(job) ? look_ahead(job) : 0;
    if (ret < 0 && !job->what->salvage)
        return copy_fail(job, IMG_COPY_MAPPING, job->position, ret);
    *window = (struct copy_window){ .offset = job->position, .length = length, .first = job->ahead };
    if (job->far && job->ahead.length && needs_data(job, &job->ahead))
        __atomic_store_n(&job->holes_come, false, __ATOMIC_RELAXED);
    if (job->ahead.length >= length && !needs_data(job, &job->ahead) && job->ahead.kind != IMG_CODED) {
        /* No data: take as many whole windows as possible in one step. */
        uint64_t end = job->position + job->ahead.length;
        if (end < job->end)
            end = img_max(img_align_down(end, job->window_size), job->position + length);
        window->length = end - job->position;
        window->uniform = true;
    }
    window->sequence = job->next_sequence++;
    job->position += window->length;
    return 1;
}

/* 1: *window is the next window; 0: there is none; negative: stop. */
static int next_window(struct copy_worker *worker, struct copy_window *window)
{
    struct copy_job *job = worker->job;
    bool failed;

    LOCK_SCOPE(&job->cursor_lock);
    pthread_mutex_lock(&job->turn_lock);
    failed = job->error != 0;
    pthread_mutex_unlock(&job->turn_lock);
    if (failed)
        return -ECANCELED;
    if (job->what->source_count == 0)
        return next_of_stream(worker, window);
    return next_of_images(job, window);
}

static void *work(void *argument)
{
    struct copy_worker *worker = argument;
    struct copy_window window;

    while (next_window(worker, &window) > 0) {
        if (copy_do_window(worker, &window) < 0 || finish_window(worker, &window) < 0)
            break;
    }
    return NULL;
}

static int prepare_worker(void *argument)
{
    struct copy_worker *worker = argument;
    const struct copy_job *job = worker->job;
    void *buffer;

    if (posix_memalign(&buffer, BUFFER_ALIGNMENT, job->window_size))
        return -ENOMEM;
    worker->buffer = buffer;
    if (job->what->rebase) {
        if (posix_memalign(&buffer, BUFFER_ALIGNMENT, job->window_size))
            return -ENOMEM;
        worker->other = buffer;
    }
    if (job->what->compress) {
        worker->coded = malloc(job->coded_size);
        if (!worker->coded)
            return -ENOMEM;
    }
    return copy_digest_prepare(worker);
}

static void release_lists(struct copy_lists *lists)
{
    free(lists->spans.at);
    free(lists->next.at);
    free(lists->placed.at);
    free(lists->runs.at);
    free(lists->clusters.at);
}

static void release_worker(struct copy_worker *worker)
{
    release_lists(&worker->lists);
    copy_digest_release(worker);
    free(worker->buffer);
    free(worker->coded);
    free(worker->other);
}

static int run_workers(struct copy_job *job, unsigned count)
{
    struct copy_worker *workers = calloc(count, sizeof *workers);
    const struct img_team team = { .workers = workers, .count = count, .size = sizeof *workers, .stack = STACK,
                                   .prepare = prepare_worker, .work = work };
    int ret;

    if (!workers)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        workers[i].job = job;
    ret = img_team_run(&team);
    for (unsigned i = 0; i < count; i++)
        release_worker(&workers[i]);
    free(workers);
    return ret;
}

static uint64_t floor_power_of_two(uint64_t value)
{
    return 1ull << (63 - __builtin_clzll(value));
}

/* A storage is the same in any order of writing, and so is a raw disk on it. */
static bool order_matters(const struct img_copy *what)
{
    const struct img *target = what->target;

    if (!target || what->grow_target)
        return true;
    if (target->driver->traits & IMG_PASS_THROUGH)
        target = target->file;
    return target->driver->kind != IMG_PROTOCOL;
}

static bool copies_far_away(const struct copy_job *job)
{
    const struct img *storage = job->what->target ? job->what->target->file : NULL;

    return job->offload == OFFLOAD_COPY && storage && storage->driver->copy_range && storage->limits.round_trip;
}

static uint64_t usual_window(const struct copy_job *job, const struct img_reach *reach)
{
    if (job->what->compress)
        return COMPRESS_WINDOW;
    return copies_far_away(job) ? OFFLOAD_WINDOW : img_max(WINDOW, img_min(reach->piece, MOST_PIECE));
}

static void choose_sizes(struct copy_job *job, const struct img_reach *reach)
{
    uint64_t cluster = job->image ? img_lock_unit(job->image) : 0;

    job->offload = copy_choose_offload(job->what);
    job->window_size = img_max(usual_window(job, reach), cluster);
    job->coded_size = job->window_size;
    if (job->image && job->image->coded_only)
        job->coded_size = (job->window_size / job->image->limits.cluster + 1) * img_coded_bound(job->image);
    job->ordered = (job->what->in_order && order_matters(job->what)) || job->forward;
    job->places = job->what->target && !job->what->grow_target && img_places(job->what->target);
    if (job->what->digest)
        job->window_size = img_max(job->window_size, IMG_DIGEST_SEGMENT);
    job->write_unit = job->image ? img_write_unit(job->image) : 1;
    job->unit = 512;
    if (job->what->sparse)
        job->unit = img_min(floor_power_of_two(img_max(job->what->sparse, 512)), job->window_size);
}

static uint64_t total_length(const struct img_copy *what)
{
    uint64_t total = 0;

    for (size_t i = 0; i < what->source_count; i++)
        total += img_size(what->sources[i]);
    return what->length ? what->length : total > what->source_offset ? total - what->source_offset : 0;
}

/* ---- Concurrency -------------------------------------------------------------------- */

static unsigned processors(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (cpus < 2)
        return 2;
    return cpus > 8 ? 8 : (unsigned)cpus;
}

/* Bytes of buffers per worker. */
static uint64_t memory_of_worker(const struct copy_job *job)
{
    return job->window_size * (job->what->rebase ? 2 : 1) + (job->what->compress ? job->coded_size : 0);
}

static unsigned count_workers(const struct copy_job *job, const struct img_reach *reach)
{
    uint64_t count = job->what->workers;

    if (count > IMG_COPY_MAX_WORKERS)
        count = IMG_COPY_MAX_WORKERS;
    if (count == 0) {
        count = img_max(processors(), img_min(reach->requests, MOST_WORKERS));
        count = img_min(count, img_max(MOST_MEMORY / memory_of_worker(job), processors()));
    }
    if (job->pass == COPY_PLAN_BY_MAP)
        return 1;
    /* All that are at work are in a row, since each waits for its turn. */
    if (job->forward)
        count = img_min(count, img_max(job->forward * FORWARD_WINDOW / img_max(job->window_size, FORWARD_WINDOW), 1));
    if (job->what->source_count)
        count = img_min(count, img_max(img_div_up(job->total, job->window_size), 1));
    return (unsigned)count;
}

/* Make waits that may never end interruptible. */
static int start_waiting(struct copy_job *job, struct img_stop *stop, const struct img_reach *reach)
{
    int ret;

    if (job->what->source_count && !reach->round_trip && !reach->forward)
        return 0;
    ret = img_stop_init(stop);
    if (ret < 0)
        return ret;
    job->stop = stop;
    if (job->what->intake)
        img_intake_set_stop(job->what->intake, stop);
    for (size_t i = 0; i < job->what->source_count; i++)
        img_node_set_stop(job->what->sources[i], stop);
    if (job->what->target)
        img_node_set_stop(job->what->target, stop);
    /* Without a crew the requests of a window go one after the other. */
    if (reach->round_trip)
        job->crew = img_crew_new((unsigned)img_min(reach->requests, MOST_HELPERS), STACK);
    return 0;
}

static void end_waiting(struct copy_job *job)
{
    if (!job->stop)
        return;
    img_crew_free(job->crew);
    if (job->what->intake)
        img_intake_set_stop(job->what->intake, NULL);
    for (size_t i = 0; i < job->what->source_count; i++)
        img_node_set_stop(job->what->sources[i], NULL);
    if (job->what->target)
        img_node_set_stop(job->what->target, NULL);
    img_stop_end(job->stop);
}

/* A filter that compresses in front of the target: let the workers compress, each its own clusters. */
static struct img_copy without_compressor(const struct img_copy *what)
{
    struct img_copy own = *what;

    /* An image that can hold only compressed clusters is always compressed. */
    if (own.target && own.target->coded_only)
        own.compress = true;
    while (own.target && own.target->driver->traits & IMG_COMPRESSES && !own.target->detect_zeroes) {
        own.target = own.target->file;
        own.compress = true;
    }
    return own;
}

int copy_run(const struct img_copy *what, enum copy_pass pass, struct img_sink *sink, uint64_t *copied,
             struct img_copy_fault *fault)
{
    struct copy_job job = { .what = what, .pass = pass, .sink = sink, .total = total_length(what),
                            .image = what->stream ? what->stream->image : what->target,
                            .position = what->target_offset };
    struct img_reach sources = { 0 }, all;
    struct img_stop stop;
    int ret;

    job.end = what->source_count || what->length ? what->target_offset + job.total : UINT64_MAX;
    for (size_t i = 0; i < what->source_count; i++)
        img_reach_add(&sources, what->sources[i]);
    job.forward = sources.forward;
    all = sources;
    img_reach_add(&all, what->target);
    choose_sizes(&job, &all);
    pthread_mutex_init(&job.cursor_lock, NULL);
    pthread_mutex_init(&job.turn_lock, NULL);
    pthread_cond_init(&job.turn_changed, NULL);
    clock_gettime(CLOCK_MONOTONIC, &job.started);
    job.far = sources.round_trip;
    ret = start_waiting(&job, &stop, &all);
    if (ret == 0)
        ret = run_workers(&job, count_workers(&job, &all));
    end_waiting(&job);
    if (ret < 0)
        copy_fail(&job, IMG_COPY_STARTING, 0, ret);
    if (job.error)
        *fault = job.fault;
    if (copied)
        *copied = job.position - what->target_offset;
    pthread_cond_destroy(&job.turn_changed);
    pthread_mutex_destroy(&job.turn_lock);
    pthread_mutex_destroy(&job.cursor_lock);
    return job.error;
}

int img_copy(const struct img_copy *asked, uint64_t *copied, struct img_copy_fault *fault)
{
    const struct img_copy what = without_compressor(asked);

    return what.stream ? copy_to_stream(&what, copied, fault) : copy_run(&what, COPY_WRITE, NULL, copied, fault);
}
