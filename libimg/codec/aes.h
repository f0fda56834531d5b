/* SPDX-License-Identifier: MIT */
/* aes.h - AES-256 in CBC mode, decryption only (FIPS 197, NIST SP 800-38A), for --object secret. */
#ifndef IMG_AES_H
#define IMG_AES_H

#include <stddef.h>
#include <stdint.h>

enum { IMG_AES_BLOCK = 16, IMG_AES256_KEY = 32 };

/* In place; length is a multiple of IMG_AES_BLOCK. */
void img_aes256_cbc_decrypt(const uint8_t key[IMG_AES256_KEY], const uint8_t iv[IMG_AES_BLOCK], uint8_t *bytes,
                            size_t length);

#endif
