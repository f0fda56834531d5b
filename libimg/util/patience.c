/* SPDX-License-Identifier: MIT */
/* patience.c - waits for another thread, until it is done or the time is over. */
#include "patience.h"
#include "clock.h"
#include <errno.h>

void img_patience_init(struct img_patience *patience)
{
    pthread_condattr_t kind;

    pthread_condattr_init(&kind);
    pthread_condattr_setclock(&kind, CLOCK_MONOTONIC);
    pthread_cond_init(&patience->change, &kind);
    pthread_condattr_destroy(&kind);
    pthread_mutex_init(&patience->lock, NULL);
    patience->done = patience->left = false;
}

void img_patience_end(struct img_patience *patience)
{
    pthread_cond_destroy(&patience->change);
    pthread_mutex_destroy(&patience->lock);
}

bool img_patience_done(struct img_patience *patience)
{
    bool left;

    pthread_mutex_lock(&patience->lock);
    left = patience->left;
    patience->done = true;
    pthread_cond_signal(&patience->change);
    pthread_mutex_unlock(&patience->lock);
    return left;
}

bool img_patience_wait(struct img_patience *patience, uint64_t milliseconds)
{
    uint64_t end = img_now_milliseconds() + milliseconds;
    const struct timespec deadline = { (time_t)(end / 1000), (long)(end % 1000 * 1000000) };
    bool done;
    int code = 0;

    pthread_mutex_lock(&patience->lock);
    while (!patience->done && code != ETIMEDOUT)
        code = milliseconds ? pthread_cond_timedwait(&patience->change, &patience->lock, &deadline)
                            : pthread_cond_wait(&patience->change, &patience->lock);
    done = patience->done;
    patience->left = !done;
    pthread_mutex_unlock(&patience->lock);
    return done;
}
