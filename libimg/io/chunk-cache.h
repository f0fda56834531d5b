/* SPDX-License-Identifier: MIT */
/*
 * chunk-cache.h - for format drivers whose disk is stored in chunks that can only be decoded whole (dmg, cloop).
 *
 * Any number of threads read at once.  A chunk is decoded by one of them while the others that want it wait for it
 * and, meanwhile, decode those that come after it; a few are kept for the reads that follow.
 */
#ifndef IMG_CHUNK_CACHE_H
#define IMG_CHUNK_CACHE_H

#include "driver.h"

/* A buffer for the coded bytes that grows as needed and is used again. */
struct img_scratch {
    void *bytes;
    size_t capacity;
};
/* Read [offset, offset+length) of `file` into it, or what the file has of that: *length then.  -EIO: it has nothing. */
int img_scratch_load(struct img_scratch *scratch, struct img *file, uint64_t offset, size_t *length);

struct img_chunks {
    size_t largest;             /* no chunk has more decoded bytes; the memory for what is kept is made out of that */
    /* Decoded bytes of a chunk; 0: there is none of that number, or nothing to decode. */
    size_t (*length)(struct img *image, uint64_t chunk);
    /* All of them to `plain`: 0 or a negative errno.  Runs concurrently, without a lock. */
    int (*decode)(struct img *image, uint64_t chunk, void *plain, struct img_scratch *coded);
};

struct img_chunk_cache;
struct img_chunk_cache *img_chunk_cache_new(struct img *image, const struct img_chunks *chunks);
void img_chunk_cache_free(struct img_chunk_cache *cache);               /* NULL is fine */
/* Bytes [from, from+length) of a chunk; within it, length > 0.  0 or a negative errno. */
int img_chunk_cache_read(struct img_chunk_cache *cache, uint64_t chunk, size_t from, void *buffer, size_t length);

#endif
