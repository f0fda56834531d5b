/* SPDX-License-Identifier: MIT */
/* stop.h - a request to all waiting threads to give up.  It cannot be taken back. */
#ifndef IMG_UTIL_STOP_H
#define IMG_UTIL_STOP_H

#include <stdbool.h>
#include <stdint.h>

struct img_stop {
    bool asked;                     /* atomic */
    int fds[2];                     /* a pipe: its read end becomes ready */
};

/* Returns 0 or a negative errno; after an error call no img_stop_end. */
int img_stop_init(struct img_stop *stop);
void img_stop_end(struct img_stop *stop);
/* Thread-safe, and safe in a signal handler. */
void img_stop_ask(struct img_stop *stop);
bool img_stop_asked(const struct img_stop *stop);
/* A descriptor that becomes readable on a request, for poll(); -1 for NULL. */
int img_stop_fd(const struct img_stop *stop);
/* Wait this many nanoseconds.  -ECANCELED: requested meanwhile.  NULL: never requested. */
int img_stop_sleep(const struct img_stop *stop, uint64_t nanoseconds);

#endif
