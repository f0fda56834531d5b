/* SPDX-License-Identifier: MIT */
/* thread.h - threads with small stacks. */
#ifndef IMG_UTIL_THREAD_H
#define IMG_UTIL_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* Start work(context) with a stack of `stack` bytes.  `thread` NULL: nobody will join it.  0 or a negative errno. */
int img_thread_start(pthread_t *thread, size_t stack, void *(*work)(void *context), void *context);

#endif
