/* SPDX-License-Identifier: MIT */
/* kdf.c - hash functions, PBKDF2 and the anti-forensic splitter, by nettle's hashes. */
#ifdef HAVE_NETTLE
#include "kdf.h"
#include "hash.h"
#include "util/endian.h"
#include "util/random.h"
#include "util/team.h"
#include "util/wipe.h"
#include <nettle/hmac.h>
#include <nettle/memxor.h>
#include <nettle/nettle-meta.h>
#include <string.h>

enum { MOST_WORKERS = 4, STACK = 64 << 10, FEW_ITERATIONS = 4096 };

struct img_kdf_hash {
    const char *name;
    const struct nettle_hash *code;
};

static const struct img_kdf_hash hashes[] = {
    { "md5", &nettle_md5 }, { "sha1", &nettle_sha1 }, { "sha224", &nettle_sha224 }, { "sha256", &nettle_sha256 },
    { "sha384", &nettle_sha384 }, { "sha512", &nettle_sha512 }, { "ripemd160", &nettle_ripemd160 },
    { "sm3", &nettle_sm3 },
};

const struct img_kdf_hash *img_kdf_hash_next(const struct img_kdf_hash *previous)
{
    size_t next = previous ? (size_t)(previous - hashes) + 1 : 0;

    return next < sizeof hashes / sizeof *hashes ? &hashes[next] : NULL;
}

const char *img_kdf_hash_name(const struct img_kdf_hash *hash)
{
    return hash->name;
}

size_t img_kdf_hash_length(const struct img_kdf_hash *hash)
{
    return hash->code->digest_size;
}

void img_kdf_hash_of(const struct img_kdf_hash *hash, const void *bytes, size_t length, uint8_t *to)
{
    union hash_state state;

    hash->code->init(&state);
    hash->code->update(&state, length, bytes);
    hash->code->digest(&state, hash->code->digest_size, to);
    img_wipe(&state, sizeof state);
}

/* ---- PBKDF2 --------------------------------------------------------------------------- */

/* A key of HMAC (RFC 2104): the states after its two pads, and the one of a message. */
struct mac {
    const struct nettle_hash *code;
    union hash_state outer, inner, running;
};

static void finish(struct mac *mac, uint8_t *to)
{
    hmac_digest(&mac->outer, &mac->inner, &mac->running, mac->code, mac->code->digest_size, to);
}

/* The blocks of a key, as long as a hash each, do not depend on each other. */
struct derivation {
    const struct img_pbkdf2 *how;
    struct mac mac;                 /* of the password */
    uint8_t *to;
    size_t length;
    unsigned next;                  /* the block that nobody has taken yet */
};

struct deriver {
    struct derivation *job;
};

/*
 * SHA-256 with the processor's instructions: the two messages of an iteration are one padded block each, so nothing is
 * done but two compressions.  `last` is the digest before, and after.
 */
static void iterate_sha256(const struct mac *mac, uint32_t count, uint8_t *last, uint8_t *sum)
{
    enum { DIGEST = 32, BLOCK = 64, BITS = 8 * (BLOCK + DIGEST) };
    uint8_t block[BLOCK] = { 0 };
    uint32_t state[8];

    memcpy(block, last, DIGEST);
    block[DIGEST] = 0x80;
    img_put_be64(block + BLOCK - 8, BITS);
    while (count-- > 0) {
        for (unsigned half = 0; half < 2; half++) {
            memcpy(state, half == 0 ? mac->inner.sha256.state : mac->outer.sha256.state, sizeof state);
            hash_sha256_blocks(state, block, 1);
            for (unsigned i = 0; i < 8; i++)
                img_put_be32(block + 4 * i, state[i]);
        }
        memxor(sum, block, DIGEST);
    }
    img_wipe(block, sizeof block);
    img_wipe(state, sizeof state);
}

static void iterate(struct mac *mac, uint32_t count, uint8_t *last, uint8_t *sum)
{
    size_t size = mac->code->digest_size;

    while (count-- > 0) {
        mac->code->update(&mac->running, size, last);
        finish(mac, last);
        memxor(sum, last, size);
    }
}

static void derive_block(const struct derivation *job, unsigned number)
{
    const struct img_pbkdf2 *how = job->how;
    struct mac mac = job->mac;
    size_t size = mac.code->digest_size, at = number * size;
    uint8_t last[IMG_KDF_HASH_MAX], sum[IMG_KDF_HASH_MAX], index[4];

    img_put_be32(index, number + 1);
    mac.code->update(&mac.running, how->salt_length, how->salt);
    mac.code->update(&mac.running, sizeof index, index);
    finish(&mac, last);
    memcpy(sum, last, size);
    if (mac.code == &nettle_sha256 && hash_sha256_fast())
        iterate_sha256(&mac, how->iterations - 1, last, sum);
    else
        iterate(&mac, how->iterations - 1, last, sum);
    memcpy(job->to + at, sum, job->length - at < size ? job->length - at : size);
    img_wipe(sum, sizeof sum);
    img_wipe(last, sizeof last);
    img_wipe(&mac, sizeof mac);
}

static void *derive(void *worker)
{
    struct derivation *job = ((struct deriver *)worker)->job;
    unsigned count = (unsigned)((job->length + job->mac.code->digest_size - 1) / job->mac.code->digest_size), number;

    while ((number = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < count)
        derive_block(job, number);
    return NULL;
}

void img_pbkdf2(const struct img_pbkdf2 *how, uint8_t *to, size_t length)
{
    struct derivation job = { .how = how, .mac = { .code = how->hash->code }, .to = to, .length = length };
    struct deriver workers[MOST_WORKERS];
    struct img_team team = { .workers = workers, .size = sizeof *workers, .stack = STACK, .work = derive };
    size_t blocks = (length + job.mac.code->digest_size - 1) / job.mac.code->digest_size;

    hmac_set_key(&job.mac.outer, &job.mac.inner, &job.mac.running, job.mac.code, how->password_length, how->password);
    team.count = how->iterations < FEW_ITERATIONS ? 1 : blocks < MOST_WORKERS ? (unsigned)blocks : MOST_WORKERS;
    for (unsigned i = 0; i < team.count; i++)
        workers[i].job = &job;
    img_team_run(&team);
    img_wipe(&job.mac, sizeof job.mac);
}

/* ---- Anti-forensic splitter --------------------------------------------------------------- */

/* Spread each bit over a piece of the length of a hash. */
static void diffuse(const struct img_kdf_hash *hash, uint8_t *block, size_t length)
{
    size_t size = img_kdf_hash_length(hash);
    uint8_t result[IMG_KDF_HASH_MAX], number[4];
    union hash_state state;

    for (size_t at = 0, i = 0; at < length; at += size, i++) {
        size_t part = length - at < size ? length - at : size;
        img_put_be32(number, (uint32_t)i);
        hash->code->init(&state);
        hash->code->update(&state, sizeof number, number);
        hash->code->update(&state, part, block + at);
        hash->code->digest(&state, size, result);
        memcpy(block + at, result, part);
    }
    img_wipe(result, sizeof result);
    img_wipe(&state, sizeof state);
}

int img_af_split(const struct img_kdf_hash *hash, const uint8_t *key, size_t length, uint32_t stripes, uint8_t *to)
{
    uint8_t *last = to + (stripes - 1) * length;
    int ret = img_random(to, (stripes - 1) * length);

    memset(last, 0, length);
    for (uint32_t i = 0; ret == 0 && i + 1 < stripes; i++) {
        memxor(last, to + i * length, length);
        diffuse(hash, last, length);
    }
    memxor(last, key, length);
    return ret;
}

void img_af_merge(const struct img_kdf_hash *hash, const uint8_t *from, size_t length, uint32_t stripes, uint8_t *key)
{
    memset(key, 0, length);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        memxor(key, from + i * length, length);
        diffuse(hash, key, length);
    }
    memxor(key, from + (size_t)(stripes - 1) * length, length);
}

const struct img_kdf_hash *img_kdf_hash_find(const char *name)
{
    for (const struct img_kdf_hash *hash = img_kdf_hash_next(NULL); hash; hash = img_kdf_hash_next(hash))
        if (strcmp(img_kdf_hash_name(hash), name) == 0)
            return hash;
    return NULL;
}
#endif
