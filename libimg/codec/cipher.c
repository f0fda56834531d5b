/* SPDX-License-Identifier: MIT */
/*
 * cipher.c - the modes of disk encryption on top of nettle's block functions.
 *
 * These are fast only in bulk, so a group of sectors goes through them in one call, and what makes a mode (tweaks, the
 * chain, the counters) is computed beside it.  XTS: IEEE 1619.  CBC, CTR, ECB: NIST SP 800-38A.
 */
#include "cipher.h"

#include <string.h>

#ifdef HAVE_NETTLE
#include "util/endian.h"
#include "util/strbuf.h"
#include "util/guarded.h"
#include "util/wipe.h"
#include <errno.h>
#include <nettle/cbc.h>
#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <stdlib.h>

enum { GROUP = 4096, LANES = GROUP / 512, UNIT = 512 };     /* bytes that are worked on at once, and their sectors at most */

struct img_cipher {
    const char *name;
    const struct nettle_cipher *blocks;
};

static const struct img_cipher ciphers[] = {
    { "aes-128", &nettle_aes128 }, { "aes-192", &nettle_aes192 }, { "aes-256", &nettle_aes256 },
    { "cast5-128", &nettle_cast128 },
    { "serpent-128", &nettle_serpent128 }, { "serpent-192", &nettle_serpent192 }, { "serpent-256", &nettle_serpent256 },
    { "twofish-128", &nettle_twofish128 }, { "twofish-192", &nettle_twofish192 }, { "twofish-256", &nettle_twofish256 },
};

const struct img_cipher *img_cipher_next(const struct img_cipher *previous)
{
    size_t next = previous ? (size_t)(previous - ciphers) + 1 : 0;

    return next < sizeof ciphers / sizeof *ciphers ? &ciphers[next] : NULL;
}

const char *img_cipher_name(const struct img_cipher *cipher)
{
    return cipher->name;
}

size_t img_cipher_key_length(const struct img_cipher *cipher)
{
    return cipher->blocks->key_size;
}

size_t img_cipher_block(const struct img_cipher *cipher)
{
    return cipher->blocks->block_size;
}

/* ---- Keys --------------------------------------------------------------------------- */

/* A block function with a key. */
struct keyed {
    nettle_cipher_func *run;
    void *state;
    size_t length;
};

struct img_crypt {
    enum img_cipher_mode mode;
    enum img_ivgen ivgen;
    uint32_t sector, block;
    struct keyed encrypt, decrypt;
    struct keyed tweak;             /* XTS: the second key */
    struct keyed essiv;
    size_t essiv_block;
    struct hmac_sha1_ctx *hmac;
};

static bool set_key(struct keyed *keyed, const struct nettle_cipher *blocks, const uint8_t *key, bool decrypt)
{
    keyed->run = decrypt ? blocks->decrypt : blocks->encrypt;
    keyed->length = blocks->context_size;
    keyed->state = img_guarded_new(keyed->length);
    if (keyed->state)
        (decrypt ? blocks->set_decrypt_key : blocks->set_encrypt_key)(keyed->state, key);
    return keyed->state != NULL;
}

static void drop_key(struct keyed *keyed)
{
    img_guarded_free(keyed->state, keyed->length);
}

static bool set_keys(struct img_crypt *crypt, const struct img_crypt_how *how, const uint8_t *key)
{
    const struct nettle_cipher *blocks = how->cipher->blocks;

    if (!set_key(&crypt->encrypt, blocks, key, false) || !set_key(&crypt->decrypt, blocks, key, true))
        return false;
    if (how->mode == IMG_MODE_XTS && !set_key(&crypt->tweak, blocks, key + blocks->key_size, false))
        return false;
    if (how->ivgen == IMG_IV_HMAC_SHA1) {
        crypt->hmac = img_guarded_new(sizeof *crypt->hmac);
        if (crypt->hmac)
            hmac_sha1_set_key(crypt->hmac, how->iv_key_length, how->iv_key);
        return crypt->hmac != NULL;
    }
    return how->ivgen != IMG_IV_ESSIV || set_key(&crypt->essiv, how->essiv->blocks, how->essiv_key, false);
}

struct img_crypt *img_crypt_new(const struct img_crypt_how *how, const uint8_t *key)
{
    struct img_crypt *crypt = img_calloc(1, sizeof *crypt);

    if (!crypt)
        return NULL;
    crypt->mode = how->mode;
    crypt->ivgen = how->ivgen;
    crypt->sector = how->sector;
    crypt->block = how->cipher->blocks->block_size;
    crypt->essiv_block = how->essiv ? how->essiv->blocks->block_size : 0;
    if (!set_keys(crypt, how, key)) {
        img_crypt_free(crypt);
        return NULL;
    }
    return crypt;
}

void img_crypt_free(struct img_crypt *crypt)
{
    if (!crypt)
        return;
    drop_key(&crypt->encrypt);
    drop_key(&crypt->decrypt);
    drop_key(&crypt->tweak);
    drop_key(&crypt->essiv);
    img_guarded_free(crypt->hmac, sizeof *crypt->hmac);
    free(crypt);
}

int img_cbc_decrypt(const struct img_cipher *cipher, const uint8_t *key, const uint8_t *iv, void *bytes, size_t length)
{
    const struct nettle_cipher *blocks = cipher->blocks;
    uint8_t chain[IMG_CIPHER_BLOCK];
    struct keyed keyed;

    if (!set_key(&keyed, blocks, key, true))
        return -ENOMEM;
    memcpy(chain, iv, blocks->block_size);
    cbc_decrypt(keyed.state, keyed.run, blocks->block_size, chain, length, bytes, bytes);
    drop_key(&keyed);
    return 0;
}

/* ---- Initialisation vectors ------------------------------------------------------------ */

typedef uint8_t iv_block[IMG_CIPHER_BLOCK];

static void make_hmacs(const struct img_crypt *crypt, uint64_t sector, iv_block *ivs, size_t count)
{
    struct hmac_sha1_ctx hmac = *crypt->hmac;
    uint8_t number[4];

    for (size_t i = 0; i < count; i++) {
        img_put_be32(number, (uint32_t)(sector / (crypt->sector / UNIT) + i));
        hmac_sha1_update(&hmac, sizeof number, number);
        hmac_sha1_digest(&hmac, sizeof *ivs, ivs[i]);       /* and begins anew */
    }
}

static void make_ivs(const struct img_crypt *crypt, uint64_t sector, iv_block *ivs, size_t count)
{
    memset(ivs, 0, count * sizeof *ivs);
    if (crypt->ivgen == IMG_IV_NONE)
        return;
    if (crypt->ivgen == IMG_IV_HMAC_SHA1) {
        make_hmacs(crypt, sector, ivs, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t number = sector + i * (crypt->sector / UNIT);
        img_put_le64(ivs[i], crypt->ivgen == IMG_IV_PLAIN ? (uint32_t)number : number);
    }
    if (crypt->ivgen != IMG_IV_ESSIV)
        return;
    if (crypt->essiv_block == IMG_CIPHER_BLOCK)
        crypt->essiv.run(crypt->essiv.state, count * sizeof *ivs, ivs[0], ivs[0]);
    else
        for (size_t i = 0; i < count; i++)
            crypt->essiv.run(crypt->essiv.state, crypt->essiv_block, ivs[i], ivs[i]);
}

/* ---- Modes --------------------------------------------------------------------------------- */

typedef uint64_t vector __attribute__((vector_size(16)));

/* to = a ^ b, in steps of a vector: all lengths are multiples of it, except with blocks of 8 bytes. */
static void mix(uint8_t *to, const uint8_t *a, const uint8_t *b, size_t length)
{
    size_t at = 0;

    for (; at + sizeof(vector) <= length; at += sizeof(vector)) {
        vector x, y;
        memcpy(&x, a + at, sizeof x);
        memcpy(&y, b + at, sizeof y);
        x ^= y;
        memcpy(to + at, &x, sizeof x);
    }
    for (; at < length; at++)
        to[at] = a[at] ^ b[at];
}

/* Multiply the tweak by x for each block (IEEE 1619, 5.2). */
static void make_tweaks(uint8_t *tweaks, const uint8_t *first, size_t length)
{
    uint64_t low = img_get_le64(first), high = img_get_le64(first + 8);

    for (size_t at = 0; at < length; at += 16) {
        uint64_t carry = high >> 63;
        img_put_le64(tweaks + at, low);
        img_put_le64(tweaks + at + 8, high);
        high = high << 1 | low >> 63;
        low = low << 1 ^ (carry ? 0x87 : 0);
    }
}

static void run_xts(const struct img_crypt *crypt, const struct keyed *keyed, iv_block *ivs, size_t count, uint8_t *to,
                    const uint8_t *from)
{
    uint8_t tweaks[GROUP] __attribute__((aligned(64)));
    size_t length = count * crypt->sector;

    crypt->tweak.run(crypt->tweak.state, count * sizeof *ivs, ivs[0], ivs[0]);
    for (size_t i = 0; i < count; i++)
        make_tweaks(tweaks + i * crypt->sector, ivs[i], crypt->sector);
    mix(to, from, tweaks, length);
    keyed->run(keyed->state, length, to, to);
    mix(to, to, tweaks, length);
}

/* Block by block, of all sectors at once: only the blocks of one sector depend on each other. */
static void encrypt_cbc(const struct img_crypt *crypt, iv_block *ivs, size_t count, uint8_t *to, const uint8_t *from)
{
    uint8_t chain[LANES * IMG_CIPHER_BLOCK];
    size_t block = crypt->block;

    for (size_t i = 0; i < count; i++)
        memcpy(chain + i * block, ivs[i], block);
    for (size_t at = 0; at < crypt->sector; at += block) {
        for (size_t i = 0; i < count; i++)
            mix(chain + i * block, chain + i * block, from + i * crypt->sector + at, block);
        crypt->encrypt.run(crypt->encrypt.state, count * block, chain, chain);
        for (size_t i = 0; i < count; i++)
            memcpy(to + i * crypt->sector + at, chain + i * block, block);
    }
}

static void decrypt_cbc(const struct img_crypt *crypt, iv_block *ivs, size_t count, uint8_t *to, const uint8_t *from)
{
    uint8_t chain[GROUP];
    size_t block = crypt->block, sector = crypt->sector;

    for (size_t i = 0; i < count; i++) {
        memcpy(chain + i * sector, ivs[i], block);
        memcpy(chain + i * sector + block, from + i * sector, sector - block);
    }
    crypt->decrypt.run(crypt->decrypt.state, count * sector, to, from);
    mix(to, to, chain, count * sector);
}

static void run_ctr(const struct img_crypt *crypt, iv_block *ivs, size_t count, uint8_t *to, const uint8_t *from)
{
    uint8_t stream[GROUP];
    size_t block = crypt->block, length = count * crypt->sector;

    for (size_t at = 0; at < length; at += block) {
        uint8_t *counter = ivs[at / crypt->sector];
        memcpy(stream + at, counter, block);
        for (size_t i = block; i > 0 && ++counter[i - 1] == 0; i--) { }
    }
    crypt->encrypt.run(crypt->encrypt.state, length, stream, stream);
    mix(to, from, stream, length);
}

static void run(const struct img_crypt *crypt, bool encrypt, uint64_t sector, void *result, const void *bytes,
                size_t length)
{
    const struct keyed *keyed = encrypt ? &crypt->encrypt : &crypt->decrypt;
    size_t most = GROUP / crypt->sector;
    const uint8_t *from = bytes;
    uint8_t *to = result;

    if (crypt->mode == IMG_MODE_ECB) {
        keyed->run(keyed->state, length, to, from);
        return;
    }
    while (length > 0) {
        size_t count = length / crypt->sector < most ? length / crypt->sector : most, part = count * crypt->sector;
        iv_block ivs[LANES];

        make_ivs(crypt, sector, ivs, count);
        if (crypt->mode == IMG_MODE_XTS)
            run_xts(crypt, keyed, ivs, count, to, from);
        else if (crypt->mode == IMG_MODE_CTR)
            run_ctr(crypt, ivs, count, to, from);
        else
            (encrypt ? encrypt_cbc : decrypt_cbc)(crypt, ivs, count, to, from);
        sector += part / UNIT;
        to += part;
        from += part;
        length -= part;
    }
}

void img_crypt_encrypt(const struct img_crypt *crypt, uint64_t sector, void *to, const void *from, size_t length)
{
    run(crypt, true, sector, to, from, length);
}

void img_crypt_decrypt(const struct img_crypt *crypt, uint64_t sector, void *to, const void *from, size_t length)
{
    run(crypt, false, sector, to, from, length);
}
#else
#include <errno.h>

const struct img_cipher *img_cipher_next(const struct img_cipher *previous)
{
    (void)previous;
    return NULL;
}

const char *img_cipher_name(const struct img_cipher *cipher)
{
    (void)cipher;
    return "";
}

int img_cbc_decrypt(const struct img_cipher *cipher, const uint8_t *key, const uint8_t *iv, void *bytes, size_t length)
{
    (void)cipher, (void)key, (void)iv, (void)bytes, (void)length;
    return -ENOTSUP;
}

#endif

const struct img_cipher *img_cipher_find(const char *name)
{
    for (const struct img_cipher *cipher = img_cipher_next(NULL); cipher; cipher = img_cipher_next(cipher))
        if (strcmp(img_cipher_name(cipher), name) == 0)
            return cipher;
    return NULL;
}
