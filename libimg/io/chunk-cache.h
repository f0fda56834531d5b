/* SPDX-License-Identifier: MIT */
/*
 * chunk-cache.h - for format drivers that store the disk in chunks which can only be decoded whole (dmg, cloop).
 *
 * Any number of threads read at once.  One thread decodes a chunk.  Others that want it wait, and meanwhile decode the
 * chunks that follow.  A few decoded chunks are kept for later reads.
 */
#ifndef IMG_CHUNK_CACHE_H
#define IMG_CHUNK_CACHE_H

#include "driver.h"

/* A buffer for the coded bytes.  It grows as needed and is reused. */
struct img_scratch {
    void *bytes;
    size_t capacity;
};
/* Read [offset, offset+length) of `file` into it.  At end of file *length becomes shorter.  -EIO: nothing to read. */
int img_scratch_load(struct img_scratch *scratch, struct img *file, uint64_t offset, size_t *length);

/* Loading or decoding `length` bytes has failed with `ret`: -IMG_ETRUNCATED if the file has only some of them. */
int img_scratch_failed(struct img *image, struct img *file, uint64_t offset, size_t length, int ret);

struct img_chunks {
    size_t largest;             /* size of the largest decoded chunk; sizes the cache */
    /* Decoded size of a chunk; 0: no such chunk, or nothing to decode. */
    size_t (*length)(struct img *image, uint64_t chunk);
    /* Decode the whole chunk into `plain`.  Returns 0 or a negative errno.  Called concurrently, without a lock. */
    int (*decode)(struct img *image, uint64_t chunk, void *plain, struct img_scratch *coded);
};

struct img_chunk_cache;
struct img_chunk_cache *img_chunk_cache_new(struct img *image, const struct img_chunks *chunks);
void img_chunk_cache_free(struct img_chunk_cache *cache);               /* NULL is fine */
/* Read bytes [from, from+length) of a chunk; length > 0 and within the chunk.  Returns 0 or a negative errno. */
int img_chunk_cache_read(struct img_chunk_cache *cache, uint64_t chunk, size_t from, void *buffer, size_t length);

#endif
