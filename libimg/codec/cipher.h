/* SPDX-License-Identifier: MIT */
/*
 * cipher.h - block ciphers in the modes of disk encryption: a disk is a row of sectors, and each is encrypted by itself
 * with an initialisation vector made of its number.
 *
 * The block functions are nettle's (without it there is no cipher), which are fast in bulk; the modes are ours.  A key
 * that was set up is only read, so any number of threads may use it at once.  Key material is wiped when it is freed.
 */
#ifndef IMG_CIPHER_H
#define IMG_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMG_CIPHER_BLOCK = 16, IMG_CIPHER_KEY_MAX = 64 };    /* bytes; the longest key is the double one of XTS */

enum img_cipher_mode { IMG_MODE_ECB, IMG_MODE_CBC, IMG_MODE_XTS, IMG_MODE_CTR };
/* The IV of a sector: zeroes; its number in 32 or 64 bits, little endian; that encrypted with a hash of the key; the
 * number of the whole sector in 32 bits, big endian, hashed with another key. */
enum img_ivgen { IMG_IV_NONE, IMG_IV_PLAIN, IMG_IV_PLAIN64, IMG_IV_ESSIV, IMG_IV_HMAC_SHA1 };

/* A cipher with one length of key: "aes-256". */
struct img_cipher;
const struct img_cipher *img_cipher_next(const struct img_cipher *previous);   /* NULL: the first; after the last NULL */
const struct img_cipher *img_cipher_find(const char *name);    /* NULL: unknown, or no ciphers are built in */
const char *img_cipher_name(const struct img_cipher *cipher);
size_t img_cipher_key_length(const struct img_cipher *cipher);
size_t img_cipher_block(const struct img_cipher *cipher);      /* 8 or 16 bytes */

/* How the sectors of a disk are encrypted. */
struct img_crypt_how {
    const struct img_cipher *cipher;
    enum img_cipher_mode mode;
    enum img_ivgen ivgen;
    const struct img_cipher *essiv;         /* ESSIV: the cipher that encrypts the number */
    const uint8_t *essiv_key;               /* its key: a hash of the key, img_cipher_key_length(essiv) bytes */
    const uint8_t *iv_key;                  /* HMAC: that key */
    size_t iv_key_length;
    uint32_t sector;                        /* bytes; 512 to 4096, a power of two */
};

/* Decrypt `length` bytes, whole blocks, in place, as one chain.  0 or -ENOMEM. */
int img_cbc_decrypt(const struct img_cipher *cipher, const uint8_t *key, const uint8_t *iv, void *bytes, size_t length);

struct img_crypt;
/* `key`: the key of the cipher, for XTS two of them.  NULL: out of memory. */
struct img_crypt *img_crypt_new(const struct img_crypt_how *how, const uint8_t *key);
void img_crypt_free(struct img_crypt *crypt);                  /* NULL is fine */
/*
 * Encrypt or decrypt whole sectors from `sector` on; `to` and `from` are the same memory, or do not overlap.  `sector`
 * is a number in units of 512 bytes, whatever the length of a sector is (as dm-crypt counts, unless told otherwise).
 */
void img_crypt_encrypt(const struct img_crypt *crypt, uint64_t sector, void *to, const void *from, size_t length);
void img_crypt_decrypt(const struct img_crypt *crypt, uint64_t sector, void *to, const void *from, size_t length);

#endif
