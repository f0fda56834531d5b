/* SPDX-License-Identifier: MIT */
/* hash.h - the hash functions for digest.c and kdf.c, computed by nettle. */
#ifndef IMG_HASH_H
#define IMG_HASH_H

#include "digest.h"

#ifdef HAVE_NETTLE
#include <nettle/md5.h>
#include <nettle/ripemd160.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <nettle/sm3.h>
/* Memory for the state of any of them. */
union hash_state {
    struct sha256_ctx sha256;
    struct sha512_ctx sha512;
    struct sha1_ctx sha1;
    struct md5_ctx md5;
    struct ripemd160_ctx ripemd160;
    struct sm3_ctx sm3;
};
#else
union hash_state {
    char none;
};
#endif

struct img_hash {
    const char *name, *tag;
    size_t length;
    void (*start)(union hash_state *state);
    void (*add)(union hash_state *state, const void *bytes, size_t length);
    void (*finish)(uint8_t *result, union hash_state *state);
};

/* hash-x86.c: update the state of SHA-256 with whole blocks of 64 bytes, if the processor has instructions for it.  For
 * PBKDF2, whose messages are single blocks; nettle has no call for those. */
bool hash_sha256_fast(void);
void hash_sha256_blocks(uint32_t state[8], const uint8_t *bytes, size_t blocks);

#endif
