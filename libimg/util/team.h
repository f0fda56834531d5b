/* SPDX-License-Identifier: MIT */
/* Some workers side by side on one job: the calling thread is the first of them. */
#ifndef IMG_UTIL_TEAM_H
#define IMG_UTIL_TEAM_H

#include <stddef.h>

enum { IMG_TEAM_MAX = 256 };

struct img_team {
    void *workers;                  /* an array: */
    unsigned count;                 /* at least 1; no more than IMG_TEAM_MAX are used */
    size_t size;                    /* of one of them, in bytes */
    size_t stack;                   /* of a thread, in bytes */
    int (*prepare)(void *worker);   /* its memory, by the calling thread; 0 or a negative errno; NULL: none */
    void *(*work)(void *worker);    /* what it returns is not looked at */
};

/*
 * Let all of them work and wait until they have done.  They are made ready one after the other and begin at
 * once; fewer than asked for is no failure.  The errno of the first one's prepare(), else 0.  What prepare() got is
 * the caller's to free, also where it failed.
 */
int img_team_run(const struct img_team *team);

#endif
