/* SPDX-License-Identifier: MIT */
/* stop.h - a word to everybody who waits that nobody needs what they wait for: once said it stays said. */
#ifndef IMG_UTIL_STOP_H
#define IMG_UTIL_STOP_H

#include <stdbool.h>
#include <stdint.h>

struct img_stop {
    bool asked;                     /* atomic */
    int fds[2];                     /* a pipe: what is read becomes ready */
};

/* 0 or a negative errno; then nothing is to be ended. */
int img_stop_init(struct img_stop *stop);
void img_stop_end(struct img_stop *stop);
/* Any thread, also in a signal handler. */
void img_stop_ask(struct img_stop *stop);
bool img_stop_asked(const struct img_stop *stop);
/* Becomes readable when it is asked, for poll beside another descriptor; -1 of NULL. */
int img_stop_fd(const struct img_stop *stop);
/* Wait so many nanoseconds.  -ECANCELED: it was asked meanwhile.  NULL: nobody will. */
int img_stop_sleep(const struct img_stop *stop, uint64_t nanoseconds);

#endif
