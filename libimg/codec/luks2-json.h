/* SPDX-License-Identifier: MIT */
/* luks2-json.h - the layout of LUKS version 2, and what its JSON text says, member by member; shared by the files of
 * luks2.h. */
#ifndef IMG_LUKS2_JSON_H
#define IMG_LUKS2_JSON_H

#include "luks2.h"

/* The binary header, which the JSON text follows. */
#define IMG_LUKS2_FIRST "LUKS\xba\xbe"
#define IMG_LUKS2_SECOND "SKUL\xba\xbe"
enum {
    LUKS2_VERSION = 6, LUKS2_SIZE = 8, LUKS2_SEQUENCE = 16, LUKS2_LABEL = 24, LUKS2_ALGORITHM = 72,
    LUKS2_ALGORITHM_BYTES = 32, LUKS2_SALT = 104, LUKS2_SALT_BYTES = 64, LUKS2_UUID = 168, LUKS2_SUBSYSTEM = 208,
    LUKS2_OFFSET = 256, LUKS2_CHECKSUM = 448, LUKS2_CHECKSUM_BYTES = 64, LUKS2_JSON = 4096,
    LUKS2_LEAST = 16384             /* bytes of the smallest copy, and of ours */
};

/* A member of a member; NULL where there is none. */
static inline const struct img_doc *img_luks2_at(const struct img_doc *doc, const char *key, const char *inner)
{
    return img_doc_get(img_doc_get(doc, key), inner);
}

/* Numbers of 64 bits are texts there.  False: it is none. */
bool img_luks2_number(const struct img_doc *object, const char *key, uint64_t *value);
/* A number that is a number, from `least` to `most`. */
bool img_luks2_small(const struct img_doc *object, const char *key, uint32_t least, uint32_t most, uint32_t *value);
/* Bytes in base64, at most `room`; 0: there are none, or more. */
size_t img_luks2_bytes(const struct img_doc *object, const char *key, uint8_t *to, size_t room);
/* The cipher that "aes-xts-plain64" is with how->key_length. */
int img_luks2_cipher(const char *name, struct img_luks_cipher *how, struct img_error *err);
/* Says that a part of the header is not as it has to be; -EINVAL. */
int img_luks2_bad(const char *what, const char *number, struct img_error *err);

#endif
