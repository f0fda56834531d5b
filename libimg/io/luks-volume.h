/* SPDX-License-Identifier: MIT */
/*
 * luks-volume.h - the LUKS header of an image: for the format luks, whose file begins with it, and for qcow2, which
 * keeps it in clusters of its own.  Both have the same options, one with "encrypt." in front of the names.
 *
 * Without nettle a header is not looked at, and what needs a key fails with -ENOTSUP.  Errors are worded.
 */
#ifndef IMG_LUKS_VOLUME_H
#define IMG_LUKS_VOLUME_H

#include "codec/luks.h"
#include "driver.h"

/* As given by the user: strings NULL, numbers -1 if not given.  `state` and what follows are of amend. */
struct img_luks_options {
    char *cipher, *mode, *ivgen, *ivgen_hash, *hash;
    int64_t iter_time;              /* milliseconds */
    char *state, *new_secret, *old_secret;
    int64_t keyslot;
};

struct img_luks_volume {
    struct img *file;               /* has the header, at `start`, and its key slots, `length` bytes in all */
    uint64_t start, length;
    const char *prefix;             /* of the option names: "" or "encrypt." */
    struct img_luks header;         /* filled by read */
    uint8_t key[IMG_CIPHER_KEY_MAX];    /* the master key, if unlock was to keep it */
};

/* Read and check the header. */
int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err);
/* The cipher of the data: *crypt belongs to the caller.  `key_secret`: id of a secret, NULL is an error.  `keep` the
 * master key for amend; img_luks_volume_forget wipes it. */
int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err);
void img_luks_volume_forget(struct img_luks_volume *volume);
/* Add what `info` shows; `format` (NULL: none) is put among it. */
void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data);
/* luks-amend.c: change the key slots.  The volume was unlocked, and keeps the key. */
int img_luks_volume_amend(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                          struct img_error *err);

/* luks-new.c: choose what a new header is made of; header.payload is its length.  Checks that the secret is there. */
int img_luks_volume_plan(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_error *err);
/* Make a master key and the first key slot of what was planned.  *split belongs to the caller. */
int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         uint8_t **split, struct img_error *err);
/* Write both at `start` of `file`, which the caller has set. */
int img_luks_volume_write(const struct img_luks_volume *volume, const uint8_t *split, struct img_error *err);

#endif
