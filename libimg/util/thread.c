/* SPDX-License-Identifier: MIT */
/* thread.c - starts a thread. */
#include "thread.h"

int img_thread_start(pthread_t *thread, size_t stack, void *(*work)(void *context), void *context)
{
    pthread_attr_t attributes;
    pthread_t unnamed;
    int code = pthread_attr_init(&attributes);

    if (code)
        return -code;
    pthread_attr_setstacksize(&attributes, stack);
    if (!thread)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    code = pthread_create(thread ? thread : &unnamed, &attributes, work, context);
    pthread_attr_destroy(&attributes);
    return -code;
}
