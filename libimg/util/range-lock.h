/* SPDX-License-Identifier: MIT */
/*
 * range-lock.h - locks on ranges of an address space: writers of ranges that touch wait for each other.
 *
 * A shared lock goes with other shared ones, an exclusive lock with none.  Who waits is let in before later ones that
 * touch its range, so nobody waits for ever.  A thread that holds a range must not ask for one that touches it.  Any
 * thread; a lock is released by whoever has it.
 */
#ifndef IMG_UTIL_RANGE_LOCK_H
#define IMG_UTIL_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A range that is held or waited for; it lies on the stack of whoever asks and stays there until it is released. */
struct img_range {
    uint64_t start, end;
    bool exclusive, waits;
    struct img_range *older, *newer;
    pthread_cond_t *wake;           /* of the thread, while it waits */
};

struct img_range_lock {
    pthread_mutex_t mutex;
    struct img_range *oldest, *newest;
};

void img_range_lock_init(struct img_range_lock *lock);
void img_range_lock_destroy(struct img_range_lock *lock);
/* Hold [start, end) until img_range_release.  An empty range is never in the way. */
void img_range_acquire(struct img_range_lock *lock, struct img_range *range, uint64_t start, uint64_t end,
                       bool exclusive);
void img_range_release(struct img_range_lock *lock, struct img_range *range);

#endif
