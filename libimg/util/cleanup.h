/* SPDX-License-Identifier: MIT */
/* Scope-bound cleanup: CLEANUP_FREE char *p = ...; is freed when p goes out of scope. */
#ifndef IMG_UTIL_CLEANUP_H
#define IMG_UTIL_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void img_cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void img_cleanup_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void img_cleanup_unlock(pthread_mutex_t **mutex)
{
    if (*mutex)
        pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *img_locked(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

#define CLEANUP_FREE __attribute__((cleanup(img_cleanup_free)))
#define CLEANUP_FD __attribute__((cleanup(img_cleanup_fd)))
#define IMG_CONCAT_(a, b) a##b
#define IMG_CONCAT(a, b) IMG_CONCAT_(a, b)
/* Hold a mutex until the end of the scope. */
#define LOCK_SCOPE(mutex) \
    __attribute__((cleanup(img_cleanup_unlock), unused)) \
    pthread_mutex_t *IMG_CONCAT(lock_scope_, __LINE__) = img_locked(mutex)

#endif
