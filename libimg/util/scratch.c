/* SPDX-License-Identifier: MIT */
/* scratch.c - buffers that a thread keeps for its next calls. */
#include "scratch.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* A thread uses few buffers at a time, and keeps at most this much unused. */
enum { SLOTS = 16, KEPT_BYTES = 8 << 20 };

struct slot {
    void *bytes;
    size_t capacity;
    bool taken;
};

struct pool {
    struct slot slots[SLOTS];
    size_t kept;                    /* bytes in unused buffers */
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool usable;

static void free_pool(void *pointer)
{
    struct pool *pool = pointer;

    for (size_t i = 0; i < SLOTS; i++)
        free(pool->slots[i].bytes);
    free(pool);
}

static void make_key(void)
{
    usable = pthread_key_create(&key, free_pool) == 0;
}

/* The pool of this thread; NULL: none, so each buffer is allocated and freed. */
static struct pool *own_pool(bool make)
{
    struct pool *pool;

    /* Kept buffers would hide a use after release, or beyond the end, from the sanitizer. */
    if (SANITIZED)
        return NULL;
    pthread_once(&once, make_key);
    if (!usable)
        return NULL;
    pool = pthread_getspecific(key);
    if (pool || !make)
        return pool;
    pool = calloc(1, sizeof *pool);
    if (pool && pthread_setspecific(key, pool) != 0) {
        free(pool);
        pool = NULL;
    }
    return pool;
}

static void *allocate(size_t size)
{
    void *bytes = NULL;

    return posix_memalign(&bytes, IMG_SCRATCH_ALIGNMENT, size) == 0 ? bytes : NULL;
}

/* Sizes are powers of two, so that similar requests share a buffer. */
static size_t capacity_for(size_t size)
{
    size_t capacity = IMG_SCRATCH_ALIGNMENT;

    while (capacity < size && capacity <= KEPT_BYTES)
        capacity *= 2;
    return capacity < size ? size : capacity;
}

/*
 * Choose the smallest slot that is large enough, else one without memory, else one that is too small; NULL: all are
 * in use.
 */
static struct slot *choose(struct pool *pool, size_t size)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &pool->slots[i];
        if (slot->taken)
            continue;
        bool fits = slot->capacity >= size;
        if (!best || (fits && (best->capacity < size || slot->capacity < best->capacity)) ||
            (!fits && best->capacity < size && slot->capacity < best->capacity))
            best = slot;
    }
    return best;
}

static void release(struct pool *pool, struct slot *slot)
{
    pool->kept -= slot->capacity;
    free(slot->bytes);
    *slot = (struct slot){ 0 };
}

void *img_scratch_get(size_t size)
{
    struct pool *pool = own_pool(true);
    struct slot *slot = pool ? choose(pool, size) : NULL;

    if (!slot)
        return allocate(size ? size : 1);
    if (!slot->bytes || slot->capacity < size) {
        size_t capacity = capacity_for(size);
        release(pool, slot);
        slot->bytes = allocate(capacity);
        if (!slot->bytes)
            return NULL;
        slot->capacity = capacity;
        pool->kept += capacity;
    }
    slot->taken = true;
    pool->kept -= slot->capacity;
    return slot->bytes;
}

void *img_scratch_get_zeroed(size_t size)
{
    void *bytes = img_scratch_get(size);

    return bytes ? memset(bytes, 0, size) : NULL;
}

void img_scratch_put(void *bytes)
{
    struct pool *pool = bytes ? own_pool(false) : NULL;

    for (size_t i = 0; pool && i < SLOTS; i++) {
        struct slot *slot = &pool->slots[i];
        if (slot->bytes != bytes)
            continue;
        slot->taken = false;
        pool->kept += slot->capacity;
        if (pool->kept > KEPT_BYTES)
            release(pool, slot);
        return;
    }
    free(bytes);
}
