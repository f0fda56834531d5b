/* SPDX-License-Identifier: MIT */
/* hash.c - the table of hash functions. */
#include "hash.h"

#ifdef HAVE_LIBMD

#define HASH(id, upper, member) \
    static void start_##id(union hash_state *state) \
    { \
        upper##Init(&state->member); \
    } \
    static void add_##id(union hash_state *state, const void *bytes, size_t length) \
    { \
        upper##Update(&state->member, bytes, length); \
    } \
    static void finish_##id(uint8_t *result, union hash_state *state) \
    { \
        upper##Final(result, &state->member); \
    }

HASH(sha256, SHA256, sha2)
HASH(sha512, SHA512, sha2)
HASH(sha1, SHA1, sha1)
HASH(md5, MD5, md5)
HASH(rmd160, RMD160, rmd160)

/* libmd's state is public: whole blocks can bypass its code, which handles partial blocks and padding. */
static void add_sha256_fast(union hash_state *state, const void *bytes, size_t length)
{
    SHA2_CTX *sha2 = &state->sha2;
    size_t filled = (size_t)(sha2->bitcount[0] / 8 % SHA256_BLOCK_LENGTH), first, whole;
    const uint8_t *at = bytes;

    first = filled ? SHA256_BLOCK_LENGTH - filled : 0;
    if (first > length)
        first = length;
    if (first)
        SHA256Update(sha2, at, first);
    whole = (length - first) / SHA256_BLOCK_LENGTH;
    if (whole) {
        hash_sha256_blocks(sha2->state.st32, at + first, whole);
        sha2->bitcount[0] += (uint64_t)whole * SHA256_BLOCK_LENGTH * 8;
    }
    first += whole * SHA256_BLOCK_LENGTH;
    if (first < length)
        SHA256Update(sha2, at + first, length - first);
}

static void add_sha256_best(union hash_state *state, const void *bytes, size_t length)
{
    if (hash_sha256_fast())
        add_sha256_fast(state, bytes, length);
    else
        add_sha256(state, bytes, length);
}

static const struct img_hash hashes[] = {
    { "sha256", "SHA256", SHA256_DIGEST_LENGTH, start_sha256, add_sha256_best, finish_sha256 },
    { "sha512", "SHA512", SHA512_DIGEST_LENGTH, start_sha512, add_sha512, finish_sha512 },
    { "sha1", "SHA1", SHA1_DIGEST_LENGTH, start_sha1, add_sha1, finish_sha1 },
    { "md5", "MD5", MD5_DIGEST_LENGTH, start_md5, add_md5, finish_md5 },
    { "ripemd160", "RMD160", RMD160_DIGEST_LENGTH, start_rmd160, add_rmd160, finish_rmd160 },
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
