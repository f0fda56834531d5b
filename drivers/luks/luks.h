/* SPDX-License-Identifier: MIT */
/* luks.h - shared by the files of the format luks. */
#ifndef LUKS_H
#define LUKS_H

#include "../../libimg/codec/luks.h"
#include "../../libimg/driver.h"
#include "../../libimg/io/cipher-node.h"

struct luks {
    struct img_luks header;
    struct img *payload;            /* the cipher node; NULL: without a key, only the header is known */
    uint8_t key[IMG_CIPHER_KEY_MAX];    /* the master key, kept while the image may be written */
};

struct luks_open_options {
    char *key_secret;
};

struct luks_create_options {
    char *key_secret;               /* the first, as in luks_open_options */
    char *cipher, *mode, *ivgen, *ivgen_hash, *hash;
    int64_t size, iter_time;
    int8_t detached;
    char *state, *new_secret, *old_secret;      /* of amend */
    int64_t keyslot;
};

/* Milliseconds. */
static inline uint64_t luks_iter_time(const struct luks_create_options *given)
{
    return given->iter_time < 0 ? 2000 : (uint64_t)given->iter_time;
}

/* luks.c: for struct img_luks_place, whose context is image->file; and the password of key-secret (NULL: not given) */
int luks_read_place(void *file, uint64_t offset, void *to, size_t length);
int luks_find_password(const char *key_secret, const uint8_t **password, size_t *length, struct img_error *err);

/* amend.c */
int luks_amend(struct img *image, const void *options, const struct img_amend *how, struct img_error *err);

/* create.c */
int luks_create(const struct img_create *request, struct img_error *err);
int luks_measure(const void *options, struct img *source, uint64_t size, struct img_measure *result,
                 struct img_error *err);

#endif
