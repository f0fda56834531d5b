/* SPDX-License-Identifier: MIT */
/*
 * kdf.h - what makes keys of passwords, and hides them: hash functions by the names that LUKS has for them, PBKDF2, and
 * the anti-forensic splitter.  Nothing here keeps a state, so any number of threads may call it.
 */
#ifndef IMG_KDF_H
#define IMG_KDF_H

#include <stddef.h>
#include <stdint.h>

enum { IMG_KDF_HASH_MAX = 64 };         /* bytes of the longest hash */

/* "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "sm3"; none without nettle. */
struct img_kdf_hash;
const struct img_kdf_hash *img_kdf_hash_next(const struct img_kdf_hash *previous);
const struct img_kdf_hash *img_kdf_hash_find(const char *name);        /* NULL: unknown */
const char *img_kdf_hash_name(const struct img_kdf_hash *hash);
size_t img_kdf_hash_length(const struct img_kdf_hash *hash);
/* The hash of some bytes, to img_kdf_hash_length() bytes. */
void img_kdf_hash_of(const struct img_kdf_hash *hash, const void *bytes, size_t length, uint8_t *to);

/* A password and what else PBKDF2 (RFC 8018, 5.2) takes. */
struct img_pbkdf2 {
    const struct img_kdf_hash *hash;
    const void *password, *salt;
    size_t password_length, salt_length;
    uint32_t iterations;
};
void img_pbkdf2(const struct img_pbkdf2 *how, uint8_t *to, size_t length);

/* Split `length` bytes at `key` into `stripes` times as many, so that all of them are needed (LUKS 1, "Anti-forensic
 * splitting").  0, or -EIO where there are no random bytes. */
int img_af_split(const struct img_kdf_hash *hash, const uint8_t *key, size_t length, uint32_t stripes, uint8_t *to);
void img_af_merge(const struct img_kdf_hash *hash, const uint8_t *from, size_t length, uint32_t stripes, uint8_t *key);

#endif
