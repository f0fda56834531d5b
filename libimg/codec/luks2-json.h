/* SPDX-License-Identifier: MIT */
/* luks2-json.h - what the JSON area of LUKS version 2 says, member by member; shared by the files of luks2.h. */
#ifndef IMG_LUKS2_JSON_H
#define IMG_LUKS2_JSON_H

#include "luks2.h"

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
