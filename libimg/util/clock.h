/* SPDX-License-Identifier: MIT */
/* clock.h - how time passes: CLOCK_MONOTONIC, which nobody sets.  Thread-safe, and safe in a signal handler. */
#ifndef IMG_CLOCK_H
#define IMG_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t img_now_nanoseconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static inline uint64_t img_now_milliseconds(void)
{
    return img_now_nanoseconds() / 1000000;
}

#endif
