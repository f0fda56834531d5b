/* SPDX-License-Identifier: MIT */
/* hash.h - the hash functions for digest.c, computed by libmd, or by the processor where supported. */
#ifndef IMG_HASH_H
#define IMG_HASH_H

#include "digest.h"

#ifdef HAVE_LIBMD
#include <sys/types.h>
#include <md5.h>
#include <rmd160.h>
#include <sha1.h>
#include <sha2.h>
union hash_state {
    SHA2_CTX sha2;
    SHA1_CTX sha1;
    MD5_CTX md5;
    RMD160_CTX rmd160;
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

/* hash-x86.c: update the state of SHA-256 with whole blocks of 64 bytes, if the processor has instructions for it. */
bool hash_sha256_fast(void);
void hash_sha256_blocks(uint32_t state[8], const uint8_t *bytes, size_t blocks);

#endif
