/* SPDX-License-Identifier: MIT */
/* kdf.c - hash functions, PBKDF2 and the anti-forensic splitter, by nettle's hashes. */
#ifdef HAVE_NETTLE
#include "kdf.h"
#include "util/endian.h"
#include "util/random.h"
#include "util/wipe.h"
#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>
#include <nettle/sm3.h>
#include <string.h>

struct img_kdf_hash {
    const char *name;
    const struct nettle_hash *code;
};

static const struct img_kdf_hash hashes[] = {
    { "md5", &nettle_md5 }, { "sha1", &nettle_sha1 }, { "sha224", &nettle_sha224 }, { "sha256", &nettle_sha256 },
    { "sha384", &nettle_sha384 }, { "sha512", &nettle_sha512 }, { "ripemd160", &nettle_ripemd160 },
    { "sm3", &nettle_sm3 },
};

/* Memory for the state of any of them. */
union state {
    struct md5_ctx md5;
    struct sha1_ctx sha1;
    struct sha256_ctx sha256;
    struct sha512_ctx sha512;
    struct ripemd160_ctx ripemd160;
    struct sm3_ctx sm3;
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
    union state state;

    hash->code->init(&state);
    hash->code->update(&state, length, bytes);
    hash->code->digest(&state, hash->code->digest_size, to);
    img_wipe(&state, sizeof state);
}

/* ---- PBKDF2 --------------------------------------------------------------------------- */

/* A key of HMAC (RFC 2104): the states after its two pads, and the one of a message. */
struct mac {
    const struct nettle_hash *code;
    union state outer, inner, running;
};

static void mac_update(void *mac, size_t length, const uint8_t *bytes)
{
    struct mac *m = mac;

    m->code->update(&m->running, length, bytes);
}

static void mac_digest(void *mac, size_t length, uint8_t *to)
{
    struct mac *m = mac;

    hmac_digest(&m->outer, &m->inner, &m->running, m->code, length, to);
}

void img_pbkdf2(const struct img_pbkdf2 *how, uint8_t *to, size_t length)
{
    struct mac mac = { .code = how->hash->code };

    hmac_set_key(&mac.outer, &mac.inner, &mac.running, mac.code, how->password_length, how->password);
    pbkdf2(&mac, mac_update, mac_digest, mac.code->digest_size, how->iterations, how->salt_length, how->salt, length, to);
    img_wipe(&mac, sizeof mac);
}

/* ---- Anti-forensic splitter --------------------------------------------------------------- */

/* Spread each bit over a piece of the length of a hash. */
static void diffuse(const struct img_kdf_hash *hash, uint8_t *block, size_t length)
{
    size_t size = img_kdf_hash_length(hash);
    uint8_t result[IMG_KDF_HASH_MAX], number[4];
    union state state;

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

/* block ^= bytes */
static void add(uint8_t *block, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        block[i] ^= bytes[i];
}

int img_af_split(const struct img_kdf_hash *hash, const uint8_t *key, size_t length, uint32_t stripes, uint8_t *to)
{
    uint8_t *last = to + (stripes - 1) * length;
    int ret = img_random(to, (stripes - 1) * length);

    memset(last, 0, length);
    for (uint32_t i = 0; ret == 0 && i + 1 < stripes; i++) {
        add(last, to + i * length, length);
        diffuse(hash, last, length);
    }
    add(last, key, length);
    return ret;
}

void img_af_merge(const struct img_kdf_hash *hash, const uint8_t *from, size_t length, uint32_t stripes, uint8_t *key)
{
    memset(key, 0, length);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        add(key, from + i * length, length);
        diffuse(hash, key, length);
    }
    add(key, from + (size_t)(stripes - 1) * length, length);
}

const struct img_kdf_hash *img_kdf_hash_find(const char *name)
{
    for (const struct img_kdf_hash *hash = img_kdf_hash_next(NULL); hash; hash = img_kdf_hash_next(hash))
        if (strcmp(img_kdf_hash_name(hash), name) == 0)
            return hash;
    return NULL;
}
#endif
