/* SPDX-License-Identifier: MIT */
/* argon2.h - the memory-hard function that makes keys of passwords (RFC 9106), by libargon2. */
#ifndef IMG_ARGON2_H
#define IMG_ARGON2_H

#include "img.h"

enum img_argon2_kind { IMG_ARGON2_I, IMG_ARGON2_ID };

struct img_argon2 {
    enum img_argon2_kind kind;
    const void *password, *salt;
    size_t password_length, salt_length;
    uint32_t time, memory, lanes;       /* passes; KiB; parallel lanes, each a thread */
};

bool img_argon2_available(void);
/* Fill `key` of `length` bytes.  Takes `memory` KiB; -ENOMEM, -EINVAL, or -ENOTSUP: it is not built in, with *err set. */
int img_argon2(const struct img_argon2 *how, uint8_t *key, size_t length, struct img_error *err);

#endif
