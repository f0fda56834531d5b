/* SPDX-License-Identifier: MIT */
/*
 * range-lock.c - a list of ranges in the order of requests.
 *
 * There are never more ranges than threads, so a list is as good as a tree, and needs no allocation.  A range is
 * granted when no older one, held or waiting, touches and excludes it: this keeps the order fair.
 */
#include "range-lock.h"
#include <stddef.h>

void img_range_lock_init(struct img_range_lock *lock)
{
    pthread_mutex_init(&lock->mutex, NULL);
    lock->oldest = lock->newest = NULL;
}

void img_range_lock_destroy(struct img_range_lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

static bool excludes(const struct img_range *a, const struct img_range *b)
{
    bool empty = a->start == a->end || b->start == b->end;

    return (a->exclusive || b->exclusive) && !empty && a->start < b->end && b->start < a->end;
}

/* Does an older range exclude this one? */
static bool kept_out(const struct img_range *range)
{
    for (const struct img_range *other = range->older; other; other = other->older)
        if (excludes(other, range))
            return true;
    return false;
}

static void link_newest(struct img_range_lock *lock, struct img_range *range)
{
    range->older = lock->newest;
    range->newer = NULL;
    if (lock->newest)
        lock->newest->newer = range;
    else
        lock->oldest = range;
    lock->newest = range;
}

static void unlink_range(struct img_range_lock *lock, struct img_range *range)
{
    if (range->older)
        range->older->newer = range->newer;
    else
        lock->oldest = range->newer;
    if (range->newer)
        range->newer->older = range->older;
    else
        lock->newest = range->older;
}

static void wait_outside(struct img_range_lock *lock, struct img_range *range)
{
    pthread_cond_t wake;

    pthread_cond_init(&wake, NULL);
    range->wake = &wake;
    range->waits = true;
    while (kept_out(range))
        pthread_cond_wait(&wake, &lock->mutex);
    range->waits = false;
    pthread_cond_destroy(&wake);
}

void img_range_acquire(struct img_range_lock *lock, struct img_range *range, uint64_t start, uint64_t end,
                       bool exclusive)
{
    range->start = start;
    range->end = end;
    range->exclusive = exclusive;
    range->waits = false;
    pthread_mutex_lock(&lock->mutex);
    link_newest(lock, range);
    if (kept_out(range))
        wait_outside(lock, range);
    pthread_mutex_unlock(&lock->mutex);
}

void img_range_release(struct img_range_lock *lock, struct img_range *range)
{
    pthread_mutex_lock(&lock->mutex);
    for (struct img_range *other = range->newer; other; other = other->newer)
        if (other->waits && excludes(range, other))
            pthread_cond_signal(other->wake);
    unlink_range(lock, range);
    pthread_mutex_unlock(&lock->mutex);
}
