/* SPDX-License-Identifier: MIT */
/*
 * encrcdsa.h - the header of encrypted disk images of macOS, version 2 ("encrcdsa"): AES-CBC, whose key a password
 * opens.  There is no public specification; the layout is as seen in images of hdiutil, and as told of by
 * "Infiltrating the Vault: Security Analysis and Decryption of Lion Full Disk Encryption" and the authors of vfdecrypt.
 * Numbers are big-endian.
 */
#ifndef IMG_ENCRCDSA_H
#define IMG_ENCRCDSA_H

#include "luks.h"

enum { IMG_ENCRCDSA_HEADER = 76 };

struct img_encrcdsa {
    uint64_t start, size;           /* of the data; the size need not be whole blocks */
    uint32_t block;                 /* bytes that are encrypted as one */
    uint32_t key_bits, keys;        /* of AES; the number of wrapped keys */
};

bool img_encrcdsa_show(const uint8_t *head, size_t length);
/* Take the header apart and check it. */
int img_encrcdsa_parse(const uint8_t bytes[IMG_ENCRCDSA_HEADER], struct img_encrcdsa *header, struct img_error *err);
/* Find the wrapped key that the password opens.  -ENOKEY: none, without an error set; else a negative errno with *err
 * set.  *crypt belongs to the caller. */
int img_encrcdsa_unlock(const struct img_encrcdsa *header, const struct img_luks_place *place, const uint8_t *password,
                        size_t length, struct img_crypt **crypt, struct img_error *err);

#endif
