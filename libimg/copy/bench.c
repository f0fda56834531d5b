/* SPDX-License-Identifier: MIT */
/*
 * bench.c - issues many requests of one size on one image, several in flight at once: one thread per request in flight.
 */
#include "driver.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/team.h"
#include <stdlib.h>
#include <string.h>

enum {
    STACK = 128 << 10,
    BUFFER_ALIGNMENT = 4096
};
static const uint64_t MAX_MEMORY = 1ull << 30;

struct bench_job {
    struct img *image;
    const struct img_bench *what;

    pthread_mutex_t lock;          /* protects all below */
    pthread_cond_t changed;
    uint64_t left, offset;
    unsigned busy;                 /* requests in flight */
    bool draining;                 /* no request starts until the flush is done */
    int error;
};

struct bench_worker {
    struct bench_job *job;
    void *buffer;
};

struct request {
    uint64_t offset;
    bool flush;                    /* a flush follows it */
};

static void fail(struct bench_job *job, int error)
{
    if (!job->error)
        job->error = error;
    pthread_cond_broadcast(&job->changed);
}

/* False: no work is left. */
static bool take(struct bench_job *job, struct request *request)
{
    const struct img_bench *what = job->what;

    LOCK_SCOPE(&job->lock);
    while (job->draining && !job->error)
        pthread_cond_wait(&job->changed, &job->lock);
    if (job->error || job->left == 0)
        return false;
    request->offset = job->offset;
    job->left--;
    request->flush = what->flush_every && job->left % what->flush_every == 0;
    job->draining = request->flush && what->drain;
    if (!img_within(request->offset, what->request, img_size(job->image))) {
        fail(job, -EIO);
        return false;
    }
    job->offset = (job->offset + what->step) % img_max(img_size(job->image), 1);
    job->busy++;
    return true;
}

static void leave(struct bench_job *job, const struct request *request, int ret)
{
    pthread_mutex_lock(&job->lock);
    job->busy--;
    if (ret < 0)
        fail(job, ret);
    pthread_cond_broadcast(&job->changed);
    while (request->flush && job->what->drain && job->busy && !job->error)
        pthread_cond_wait(&job->changed, &job->lock);
    ret = job->error;
    pthread_mutex_unlock(&job->lock);
    if (!request->flush || ret < 0)
        return;
    ret = img_flush(job->image);
    pthread_mutex_lock(&job->lock);
    if (ret < 0)
        fail(job, ret);
    if (job->what->drain)
        job->draining = false;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static void *work(void *argument)
{
    struct bench_worker *worker = argument;
    struct bench_job *job = worker->job;
    struct request request;

    while (take(job, &request)) {
        int ret = 0;

        if (job->what->write)
            ret = img_pwrite(job->image, worker->buffer, request.offset, job->what->request);
        else
            ret = img_pread(job->image, worker->buffer, request.offset, job->what->request);
        leave(job, &request, ret);
    }
    return NULL;
}

static int prepare(void *argument)
{
    struct bench_worker *worker = argument;
    const struct img_bench *what = worker->job->what;
    size_t length = img_max(what->request, 1);

    if (posix_memalign(&worker->buffer, BUFFER_ALIGNMENT, length)) {
        worker->buffer = NULL;
        return -ENOMEM;
    }
    memset(worker->buffer, what->write ? what->pattern : 0, length);
    return 0;
}

static int run(struct bench_job *job, struct bench_worker *workers, unsigned count)
{
    const struct img_team team = { .workers = workers, .count = count, .size = sizeof *workers, .stack = STACK,
                                   .prepare = prepare, .work = work };
    int ret;

    for (unsigned i = 0; i < count; i++)
        workers[i] = (struct bench_worker){ .job = job };
    ret = img_team_run(&team);
    return ret < 0 ? ret : job->error;
}

int img_bench(struct img *image, const struct img_bench *what)
{
    struct bench_job job = { .image = image, .what = what, .left = what->count, .offset = what->start };
    uint64_t count = img_min(img_min(img_max(what->depth, 1), IMG_TEAM_MAX), what->count);
    struct bench_worker *workers;
    int ret;

    count = img_max(img_min(count, MAX_MEMORY / img_max(what->request, 1)), 1);
    workers = calloc(count, sizeof *workers);
    if (!workers)
        return -ENOMEM;
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.changed, NULL);
    ret = run(&job, workers, (unsigned)count);
    pthread_cond_destroy(&job.changed);
    pthread_mutex_destroy(&job.lock);
    for (uint64_t i = 0; i < count; i++)
        free(workers[i].buffer);
    free(workers);
    return ret;
}

bool img_direct(const struct img *image)
{
    while (image->file)
        image = image->file;
    return img_cache_direct(image->cache);
}
