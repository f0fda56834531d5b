/* SPDX-License-Identifier: MIT */
/* luks.h - shared by the files of the format luks. */
#ifndef LUKS_H
#define LUKS_H

#include "../../libimg/driver.h"
#include "../../libimg/io/cipher-node.h"
#include "../../libimg/io/luks-volume.h"

struct luks {
    struct img_luks_volume volume;
    struct img *payload;            /* the cipher node; NULL: without a key, only the header is known */
};

struct luks_open_options {
    char *key_secret;
};

struct luks_create_options {
    char *key_secret;               /* the first, as in luks_open_options */
    struct img_luks_options luks;
    int64_t size, version;
    int8_t detached;
};

/* create.c */
int luks_create(const struct img_create *request, struct img_error *err);
int luks_measure(const void *options, struct img *source, uint64_t size, struct img_measure *result,
                 struct img_error *err);

#endif
