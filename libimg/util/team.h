/* SPDX-License-Identifier: MIT */
/* Several workers on one job in parallel; the calling thread is the first of them. */
#ifndef IMG_UTIL_TEAM_H
#define IMG_UTIL_TEAM_H

#include <stddef.h>

enum { IMG_TEAM_MAX = 256 };

struct img_team {
    void *workers;                  /* an array: */
    unsigned count;                 /* at least 1; no more than IMG_TEAM_MAX are used */
    size_t size;                    /* of one worker, in bytes */
    size_t stack;                   /* of a thread, in bytes */
    int (*prepare)(void *worker);   /* allocate its memory, in the calling thread; 0 or a negative errno; may be NULL */
    void *(*work)(void *worker);    /* the result is ignored */
};

/*
 * Run all workers and wait until they are done.  They are prepared one after the other, and each starts at
 * once; fewer workers than requested is not a failure.  Returns the errno of the first worker's prepare(), or 0.  The
 * caller frees what prepare() allocated, even if it failed.
 */
int img_team_run(const struct img_team *team);

#endif
