/* SPDX-License-Identifier: MIT */
/*
 * pool.c - one lock protects the slots, and is never held while a request runs or a connection is opened.  While lost
 * connections are replaced, no request runs and none starts: what is repeated to the server then cannot overtake
 * anything.
 */
#include "pool.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdlib.h>

/* Pauses between attempts to connect, in milliseconds: doubled each time. */
enum { FIRST_PAUSE = 50, LONGEST_PAUSE = 1000 };

enum { DAY = 86400 };

/* ---- Options ------------------------------------------------------------------------- */

int img_pool_take_most(struct img_pool *pool, int64_t connections, struct img_error *err)
{
    if (connections < 1 || connections > IMG_POOL_MOST)
        return img_error_set(err, EINVAL, "connections must be between 1 and %d", IMG_POOL_MOST);
    pool->most = (unsigned)connections;
    return 0;
}

int img_check_seconds(const char *option, int64_t seconds, struct img_error *err)
{
    if (seconds >= 0 && seconds <= DAY)
        return 0;
    return img_error_set(err, EINVAL, "%s must be between 0 and %d", option, DAY);
}

/* ---- Connections ------------------------------------------------------------------- */

static int open_slot(struct img_pool *pool, struct img_pool_slot *slot, int stop, struct img_error *err)
{
    void *connection = img_calloc(1, pool->ops->size);
    int ret = connection ? pool->ops->open(pool->owner, connection, stop, err) : img_error_memory(err);

    if (ret < 0) {
        free(connection);
        return ret;
    }
    *slot = (struct img_pool_slot){ .connection = connection };
    return 0;
}

static void close_slot(struct img_pool *pool, struct img_pool_slot *slot)
{
    if (slot->connection)
        pool->ops->close(pool->owner, slot->connection);
    free(slot->connection);
    slot->connection = NULL;
}

int img_pool_start(struct img_pool *pool, const struct img_pool_ops *ops, void *owner, int stop,
                   struct img_error *err)
{
    int ret;

    pool->ops = ops;
    pool->owner = owner;
    pool->most = (unsigned)img_min(pool->most, IMG_POOL_MOST);
    pool->count = pool->running = 0;
    pool->growing = pool->recovering = pool->broken = false;
    ret = open_slot(pool, &pool->slots[0], stop, err);
    if (ret < 0)
        return ret;
    pool->count = 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->change, NULL);
    return 0;
}

void img_pool_end(struct img_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++)
        close_slot(pool, &pool->slots[i]);
    pool->count = 0;
    pthread_cond_destroy(&pool->change);
    pthread_mutex_destroy(&pool->lock);
}

void *img_pool_first(struct img_pool *pool)
{
    return pool->slots[0].connection;
}

/* ---- Choosing, and growing.  The caller holds the lock ------------------------------------ */

static struct img_pool_slot *least_busy(struct img_pool *pool)
{
    struct img_pool_slot *best = NULL;

    for (unsigned i = 0; i < pool->count; i++) {
        struct img_pool_slot *slot = &pool->slots[i];
        if (!slot->lost && (!best || slot->running < best->running))
            best = slot;
    }
    return best;
}

/* Open one more, in this thread; the lock is released meanwhile.  A server that refuses gets what it wants. */
static void grow(struct img_pool *pool, int stop)
{
    struct img_error ignored = IMG_ERROR_INIT;
    struct img_pool_slot slot;
    int ret;

    pool->growing = true;
    pthread_mutex_unlock(&pool->lock);
    ret = open_slot(pool, &slot, stop, &ignored);
    img_error_clear(&ignored);
    pthread_mutex_lock(&pool->lock);
    pool->growing = false;
    if (ret < 0)
        pool->most = pool->count;
    else
        pool->slots[pool->count++] = slot;
}

/* A connection for a request, which is counted from now on.  NULL: there is none. */
static struct img_pool_slot *enter(struct img_pool *pool, int stop)
{
    struct img_pool_slot *slot;

    while (pool->recovering)
        pthread_cond_wait(&pool->change, &pool->lock);
    pool->running++;
    slot = pool->broken ? NULL : least_busy(pool);
    if (slot && slot->running && pool->count < pool->most && !pool->growing) {
        grow(pool, stop);
        slot = least_busy(pool);
    }
    if (slot)
        slot->running++;
    return slot;
}

static void leave(struct img_pool *pool, struct img_pool_slot *slot, bool lost)
{
    if (slot) {
        slot->running--;
        slot->lost |= lost;
    }
    pool->running--;
    if (pool->recovering)
        pthread_cond_broadcast(&pool->change);
}

/* ---- Replacing --------------------------------------------------------------------------- */

static bool any_lost(const struct img_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++)
        if (pool->slots[i].lost)
            return true;
    return false;
}

/* -ECANCELED: the job ends, so that nobody needs an answer; a connection may have been given up for that reason. */
static int pause_between(uint64_t milliseconds, int stop)
{
    int ret = img_fd_wait(-1, 0, img_now_milliseconds() + milliseconds, stop);

    return ret == -ETIMEDOUT ? 0 : ret;
}

/* Close what is lost.  What is left may be enough, and the pool grows again when requests wait. */
static void drop_lost(struct img_pool *pool)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->slots[i].lost)
            close_slot(pool, &pool->slots[i]);
        else
            pool->slots[kept++] = pool->slots[i];
    }
    pool->count = kept;
}

/* Connect until it succeeds or patience is at its end.  Only this thread uses the pool. */
static int reopen(struct img_pool *pool, uint64_t end, int stop)
{
    uint64_t pause = FIRST_PAUSE;

    for (;;) {
        struct img_error ignored = IMG_ERROR_INIT;
        int ret = open_slot(pool, &pool->slots[0], stop, &ignored);
        img_error_clear(&ignored);
        if (ret == 0) {
            pool->count = 1;
            return 0;
        }
        if (ret == -ECANCELED || pause_between(pause, stop) < 0)
            return -ECANCELED;
        if (img_now_milliseconds() > end)
            return -EIO;
        pause = img_min(pause * 2, LONGEST_PAUSE);
    }
}

/* At least one connection to a server that knows again what it was told. */
static int replace_lost(struct img_pool *pool, int stop)
{
    uint64_t end = img_now_milliseconds() + pool->patience;
    int ret;

    do {
        drop_lost(pool);
        ret = pool->count ? 0 : reopen(pool, end, stop);
        if (ret == 0 && pool->ops->recover)
            ret = pool->ops->recover(pool->owner, pool->slots[0].connection, stop);
        if (ret == IMG_POOL_LOST)
            pool->slots[0].lost = true;
    } while (ret == IMG_POOL_LOST && img_now_milliseconds() < end);
    return ret == IMG_POOL_LOST ? -EIO : ret;
}

/* All requests have ended, and no other starts, until the lost connections are replaced.  The caller holds the lock. */
static int recover(struct img_pool *pool, int stop)
{
    int ret = 0;

    while (pool->recovering)
        pthread_cond_wait(&pool->change, &pool->lock);
    if (pool->broken)
        return -EIO;
    if (!any_lost(pool))
        return 0;
    pool->recovering = true;
    while (pool->running)
        pthread_cond_wait(&pool->change, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (pool->patience)
        ret = replace_lost(pool, stop);
    pthread_mutex_lock(&pool->lock);
    pool->broken = !pool->patience || ret < 0;
    pool->recovering = false;
    pthread_cond_broadcast(&pool->change);
    return pool->broken && ret == 0 ? -EIO : ret;
}

int img_pool_run(struct img_pool *pool, int (*run)(void *connection, void *request), void *request, int stop)
{
    int ret;

    pthread_mutex_lock(&pool->lock);
    do {
        struct img_pool_slot *slot = enter(pool, stop);
        if (slot) {
            pthread_mutex_unlock(&pool->lock);
            ret = run(slot->connection, request);
            pthread_mutex_lock(&pool->lock);
        } else {
            ret = IMG_POOL_LOST;
        }
        leave(pool, slot, ret == IMG_POOL_LOST);
        if (ret != IMG_POOL_LOST)
            break;
        ret = pause_between(0, stop);
        if (ret == 0)
            ret = recover(pool, stop);
    } while (ret == 0);
    pthread_mutex_unlock(&pool->lock);
    return ret;
}
