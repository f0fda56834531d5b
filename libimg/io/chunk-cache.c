/* SPDX-License-Identifier: MIT */
/* chunk-cache.c - caches decoded chunks, so that many reads share one decode; decodes several chunks at once. */
#include "chunk-cache.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* Limits of the cache, in bytes and in chunks.  At least two slots, so that two threads can make progress. */
enum { KEPT_BYTES = 64 << 20, SLOTS_MIN = 2, SLOTS_MAX = 32 };
/* The coded form of a chunk may exceed the largest decoded chunk by this much. */
enum { CODED_MORE = 64 << 10 };

enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_READY };

struct slot {
    enum slot_state state;
    uint64_t chunk, stamp;
    unsigned readers;               /* readers copying from it now */
    struct img_scratch plain, coded;
};

struct img_chunk_cache {
    struct img *image;
    struct img_chunks chunks;
    pthread_mutex_t lock;
    pthread_cond_t changed;         /* a slot became ready or free */
    uint64_t clock;
    size_t count;
    struct slot slots[SLOTS_MAX];
};

static void *room(struct img_scratch *scratch, size_t length)
{
    if (length > scratch->capacity) {
        free(scratch->bytes);
        scratch->bytes = malloc(length);
        scratch->capacity = scratch->bytes ? length : 0;
    }
    return scratch->bytes;
}

int img_scratch_load(struct img_scratch *scratch, struct img *file, uint64_t offset, size_t *length)
{
    uint64_t end = img_size(file);

    if (offset >= end || *length == 0)
        return -EIO;
    *length = (size_t)img_min(*length, end - offset);
    return room(scratch, *length) ? img_pread(file, scratch->bytes, offset, *length) : -ENOMEM;
}

int img_scratch_failed(struct img *image, struct img *file, uint64_t offset, size_t length, int ret)
{
    return ret == -ENOMEM || img_has_bytes(image, file, offset, length) ? ret : -IMG_ETRUNCATED;
}

struct img_chunk_cache *img_chunk_cache_new(struct img *image, const struct img_chunks *chunks)
{
    struct img_chunk_cache *cache = img_calloc(1, sizeof *cache);

    if (!cache)
        return NULL;
    cache->image = image;
    cache->chunks = *chunks;
    cache->count = (size_t)img_max(SLOTS_MIN, img_min(SLOTS_MAX, KEPT_BYTES / img_max(chunks->largest, 1)));
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->changed, NULL);
    return cache;
}

void img_chunk_cache_free(struct img_chunk_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->count; i++) {
        free(cache->slots[i].plain.bytes);
        free(cache->slots[i].coded.bytes);
    }
    pthread_cond_destroy(&cache->changed);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* ---- Slots; all of these hold the lock ------------------------------------------------- */

static struct slot *find(struct img_chunk_cache *cache, uint64_t chunk)
{
    for (size_t i = 0; i < cache->count; i++)
        if (cache->slots[i].state != SLOT_FREE && cache->slots[i].chunk == chunk)
            return &cache->slots[i];
    return NULL;
}

/* Find a slot for `chunk`: a free one, else the least recently used one with a chunk before `limit`.  NULL: none. */
static struct slot *take(struct img_chunk_cache *cache, uint64_t chunk, uint64_t limit)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < cache->count; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->state == SLOT_BUSY || slot->readers || (slot->state == SLOT_READY && slot->chunk >= limit))
            continue;
        if (!best || slot->state < best->state || (slot->state == best->state && slot->stamp < best->stamp))
            best = slot;
    }
    if (best) {
        best->state = SLOT_BUSY;
        best->chunk = chunk;
    }
    return best;
}

/* A hostile image may name far more coded bytes than a chunk needs: do not keep such a buffer. */
static void drop_excess(struct img_scratch *coded, size_t largest)
{
    if (coded->capacity <= largest + CODED_MORE)
        return;
    free(coded->bytes);
    *coded = (struct img_scratch){ 0 };
}

/* Decode into the slot, or directly into `whole`.  Releases the lock while decoding. */
static int fill(struct img_chunk_cache *cache, struct slot *slot, void *whole)
{
    int ret = -ENOMEM;

    pthread_mutex_unlock(&cache->lock);
    void *plain = whole ? whole : room(&slot->plain, cache->chunks.length(cache->image, slot->chunk));
    if (plain)
        ret = cache->chunks.decode(cache->image, slot->chunk, plain, &slot->coded);
    drop_excess(&slot->coded, cache->chunks.largest);
    pthread_mutex_lock(&cache->lock);
    slot->state = ret < 0 || whole ? SLOT_FREE : SLOT_READY;
    slot->stamp = ++cache->clock;
    pthread_cond_broadcast(&cache->changed);
    return ret;
}

static void copy_out(struct img_chunk_cache *cache, struct slot *slot, size_t from, void *buffer, size_t length)
{
    slot->readers++;
    slot->stamp = ++cache->clock;
    pthread_mutex_unlock(&cache->lock);
    memcpy(buffer, (char *)slot->plain.bytes + from, length);
    pthread_mutex_lock(&cache->lock);
    if (--slot->readers == 0)
        pthread_cond_broadcast(&cache->changed);
}

/* While another thread decodes `chunk`, decode the next one that nobody has started, in the slot of an earlier one. */
static bool work_ahead(struct img_chunk_cache *cache, uint64_t chunk)
{
    for (uint64_t next = chunk + 1; next <= chunk + cache->count / 2; next++) {
        if (cache->chunks.length(cache->image, next) == 0 || find(cache, next))
            continue;
        struct slot *slot = take(cache, next, chunk);
        return slot && fill(cache, slot, NULL) == 0;
    }
    return false;
}

/* ---- Reading ----------------------------------------------------------------------------- */

int img_chunk_cache_read(struct img_chunk_cache *cache, uint64_t chunk, size_t from, void *buffer, size_t length)
{
    bool whole = length == cache->chunks.length(cache->image, chunk);

    LOCK_SCOPE(&cache->lock);
    for (;;) {
        struct slot *slot = find(cache, chunk);
        if (slot && slot->state == SLOT_READY) {
            copy_out(cache, slot, from, buffer, length);
            return 0;
        }
        if (slot) {
            if (!work_ahead(cache, chunk) && slot->state == SLOT_BUSY && slot->chunk == chunk)
                pthread_cond_wait(&cache->changed, &cache->lock);
            continue;
        }
        slot = take(cache, chunk, UINT64_MAX);
        if (!slot) {
            pthread_cond_wait(&cache->changed, &cache->lock);
            continue;
        }
        int ret = fill(cache, slot, whole ? buffer : NULL);
        if (ret < 0 || whole)
            return ret;
        /* No other thread can take the slot before the lock is released. */
        copy_out(cache, slot, from, buffer, length);
        return 0;
    }
}
