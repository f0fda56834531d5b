/* SPDX-License-Identifier: MIT */
/*
 * range-lock.h - locks on ranges of an address space: writers of ranges that touch exclude each other.
 *
 * Shared locks are compatible with each other, an exclusive lock with none.  A waiter is served before later ones
 * that touch its range, so nobody starves.  A thread that holds a range must not request one that touches it.
 * Thread-safe; the thread that holds a lock releases it.
 */
#ifndef IMG_UTIL_RANGE_LOCK_H
#define IMG_UTIL_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A range that is held or waited for; on the stack of the requesting thread until it is released. */
struct img_range {
    uint64_t start, end;
    bool exclusive, waits;
    struct img_range *older, *newer;
    pthread_cond_t *wake;           /* of the thread, while waiting */
};

struct img_range_lock {
    pthread_mutex_t mutex;
    struct img_range *oldest, *newest;
};

void img_range_lock_init(struct img_range_lock *lock);
void img_range_lock_destroy(struct img_range_lock *lock);
/* Hold [start, end) until img_range_release.  An empty range conflicts with nothing. */
void img_range_acquire(struct img_range_lock *lock, struct img_range *range, uint64_t start, uint64_t end,
                       bool exclusive);
void img_range_release(struct img_range_lock *lock, struct img_range *range);

#endif
