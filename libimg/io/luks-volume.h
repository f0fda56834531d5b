/* SPDX-License-Identifier: MIT */
/*
 * luks-volume.h - the LUKS header of an image: for the format luks, whose file begins with it, and for qcow2, which
 * keeps it in clusters of its own.  Both have the same options, one with "encrypt." in front of the names.
 *
 * Without nettle a header is not looked at, and what needs a key fails with -ENOTSUP.  Errors are worded.
 */
#ifndef IMG_LUKS_VOLUME_H
#define IMG_LUKS_VOLUME_H

#include "cipher-node.h"
#include "codec/luks2.h"
#include "driver.h"

/* What the options of a new volume take, for the tables of the drivers. */
#define IMG_LUKS_CIPHERS "aes-128 aes-192 aes-256 cast5-128 serpent-128 serpent-192 serpent-256 " \
                         "twofish-128 twofish-192 twofish-256"
#define IMG_LUKS_MODES "ecb cbc xts ctr"
#define IMG_LUKS_IVGENS "plain plain64 essiv"
#define IMG_LUKS_HASHES "sha1 sha224 sha256 sha384 sha512 ripemd160"

/* As given by the user: strings NULL, numbers -1 if not given.  `state` and what follows are of amend. */
struct img_luks_options {
    char *cipher, *mode, *ivgen, *ivgen_hash, *hash;
    int64_t iter_time;              /* milliseconds */
    char *state, *new_secret, *old_secret;
    int64_t keyslot;
    /* Of a new header of version 2. */
    char *pbkdf;
    int64_t pbkdf_memory, sector_size;  /* bytes */
};

struct img_luks_volume {
    struct img *file;               /* has the header, at `start`, and its key slots, `length` bytes in all */
    uint64_t start, length;
    const char *prefix;             /* of the option names: "" or "encrypt." */
    bool newer;                     /* version 2 may be there, too */
    bool detached;                  /* `file` is not where the data is */

    /* Filled by read, and by plan for a new header. */
    unsigned version;
    struct img_luks header;         /* of version 1 */
    struct img_luks2 two;           /* of version 2 */
    struct img_cipher_range range;  /* the data; its start is also how long a new header is */
    uint64_t size;                  /* of the data; UINT64_MAX: to the end of the file */
    uint8_t *key;                   /* the master key, if unlock was to keep it; IMG_CIPHER_KEY_MAX bytes */
};

/* Read and check the header.  Also after an error, forget what was read in the end. */
int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err);
/* The cipher of the data: *crypt belongs to the caller.  `key_secret`: id of a secret, NULL is an error.  `keep` the
 * master key for amend. */
int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err);
void img_luks_volume_forget(struct img_luks_volume *volume);
/* Add what `info` shows; `format` (NULL: none) is put among it. */
void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data);
/* luks-amend.c: change the key slots.  The volume was unlocked, and keeps the key. */
int img_luks_volume_amend(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                          struct img_error *err);

/* luks-new.c: choose what a new header of `version` is made of.  Checks that the secret is there. */
int img_luks_volume_plan(struct img_luks_volume *volume, unsigned version, const struct img_luks_options *given,
                         const char *key_secret, struct img_error *err);
/* Make a master key, and the header and the first key slot of what was planned; made->bytes belongs to the caller. */
struct img_luks_made {
    uint8_t *bytes;
    size_t length;
};
int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_luks_made *made, struct img_error *err);
/* Write them at `start` of `file`, which the caller has set. */
int img_luks_volume_write(const struct img_luks_volume *volume, const struct img_luks_made *made,
                          struct img_error *err);

#endif
