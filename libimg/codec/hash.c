/* SPDX-License-Identifier: MIT */
/* hash.c - the table of hash functions. */
#include "hash.h"

#ifdef HAVE_NETTLE

#define HASH(id, upper) \
    static void start_##id(union hash_state *state) \
    { \
        id##_init(&state->id); \
    } \
    static void add_##id(union hash_state *state, const void *bytes, size_t length) \
    { \
        id##_update(&state->id, length, bytes); \
    } \
    static void finish_##id(uint8_t *result, union hash_state *state) \
    { \
        id##_digest(&state->id, upper##_DIGEST_SIZE, result); \
    }

HASH(sha256, SHA256)
HASH(sha512, SHA512)
HASH(sha1, SHA1)
HASH(md5, MD5)
HASH(ripemd160, RIPEMD160)

static const struct img_hash hashes[] = {
    { "sha256", "SHA256", SHA256_DIGEST_SIZE, start_sha256, add_sha256, finish_sha256 },
    { "sha512", "SHA512", SHA512_DIGEST_SIZE, start_sha512, add_sha512, finish_sha512 },
    { "sha1", "SHA1", SHA1_DIGEST_SIZE, start_sha1, add_sha1, finish_sha1 },
    { "md5", "MD5", MD5_DIGEST_SIZE, start_md5, add_md5, finish_md5 },
    { "ripemd160", "RMD160", RIPEMD160_DIGEST_SIZE, start_ripemd160, add_ripemd160, finish_ripemd160 },
};

const struct img_hash *img_hash_next(const struct img_hash *previous)
{
    size_t next = previous ? (size_t)(previous - hashes) + 1 : 0;

    return next < sizeof hashes / sizeof *hashes ? &hashes[next] : NULL;
}

#else

const struct img_hash *img_hash_next(const struct img_hash *previous)
{
    (void)previous;
    return NULL;
}

#endif

const char *img_hash_name(const struct img_hash *hash)
{
    return hash->name;
}

const char *img_hash_tag(const struct img_hash *hash)
{
    return hash->tag;
}

size_t img_hash_length(const struct img_hash *hash)
{
    return hash->length;
}
