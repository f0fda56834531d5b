/* SPDX-License-Identifier: MIT */
/* crew.c - a queue of batches; helpers and callers take calls from it one by one. */
#include "crew.h"
#include "cleanup.h"
#include "thread.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* The calls of one img_crew_run; on the caller's stack. */
struct batch {
    int (*one)(void *context, size_t index);
    void *context;
    size_t next, count;             /* next call to start, number of calls */
    size_t running;
    size_t error_index;
    int error;
    pthread_cond_t done;
    struct batch *behind;
};

struct img_crew {
    pthread_mutex_t lock;           /* protects all below, and the batches */
    pthread_cond_t work;
    struct batch *first, **last;    /* those with calls not yet started */
    unsigned count, idle, most;
    size_t stack;
    bool ending;
    pthread_t *helpers;
};

struct img_crew *img_crew_new(unsigned most, size_t stack)
{
    struct img_crew *crew = calloc(1, sizeof *crew);

    if (!crew)
        return NULL;
    crew->helpers = calloc(most ? most : 1, sizeof *crew->helpers);
    if (!crew->helpers) {
        free(crew);
        return NULL;
    }
    crew->most = most;
    crew->stack = stack;
    crew->last = &crew->first;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    return crew;
}

void img_crew_free(struct img_crew *crew)
{
    if (!crew)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->ending = true;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->count; i++)
        pthread_join(crew->helpers[i], NULL);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    free(crew->helpers);
    free(crew);
}

static void unlink_batch(struct img_crew *crew, const struct batch *batch)
{
    struct batch **link = &crew->first;

    while (*link != batch)
        link = &(*link)->behind;
    *link = batch->behind;
    if (crew->last == &batch->behind)
        crew->last = link;
}

/* Start no more calls of this batch. */
static void close_batch(struct img_crew *crew, struct batch *batch)
{
    if (batch->next < batch->count)
        unlink_batch(crew, batch);
    batch->next = batch->count;
}

/* Run the next call of a batch that has one.  The caller holds the lock, which is released during the call. */
static void do_one(struct img_crew *crew, struct batch *batch)
{
    size_t index = batch->next;
    int ret;

    if (index + 1 == batch->count)
        unlink_batch(crew, batch);
    batch->next++;
    batch->running++;
    pthread_mutex_unlock(&crew->lock);
    ret = batch->one(batch->context, index);
    pthread_mutex_lock(&crew->lock);
    batch->running--;
    if (ret < 0) {
        if (!batch->error || index < batch->error_index) {
            batch->error = ret;
            batch->error_index = index;
        }
        close_batch(crew, batch);
    }
    if (batch->running == 0 && batch->next == batch->count)
        pthread_cond_signal(&batch->done);
}

static void *help(void *argument)
{
    struct img_crew *crew = argument;

    LOCK_SCOPE(&crew->lock);
    while (!crew->ending) {
        if (crew->first) {
            do_one(crew, crew->first);
            continue;
        }
        crew->idle++;
        pthread_cond_wait(&crew->work, &crew->lock);
        crew->idle--;
    }
    return NULL;
}

/* Fewer helpers than wanted is not a failure: the caller works, too. */
static void call_helpers(struct img_crew *crew, size_t wanted)
{
    for (size_t i = 0; i < wanted && i < crew->idle; i++)
        pthread_cond_signal(&crew->work);
    wanted -= wanted < crew->idle ? wanted : crew->idle;
    for (; wanted > 0 && crew->count < crew->most; wanted--) {
        if (img_thread_start(&crew->helpers[crew->count], crew->stack, help, crew) < 0)
            break;
        crew->count++;
    }
}

int img_crew_run(struct img_crew *crew, int (*one)(void *context, size_t index), void *context, size_t count)
{
    struct batch batch = { .one = one, .context = context, .count = count };

    if (count == 0)
        return 0;
    pthread_cond_init(&batch.done, NULL);
    pthread_mutex_lock(&crew->lock);
    *crew->last = &batch;
    crew->last = &batch.behind;
    call_helpers(crew, count - 1);
    while (batch.next < batch.count)
        do_one(crew, &batch);
    while (batch.running > 0)
        pthread_cond_wait(&batch.done, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
    pthread_cond_destroy(&batch.done);
    return batch.error;
}
