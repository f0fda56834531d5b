/* SPDX-License-Identifier: MIT */
/*
 * luks2.h - the header of LUKS version 2: a binary header and a JSON text, both of them twice.
 * Specification: "LUKS2 On-Disk Format Specification", version 1.1.3.
 *
 * Everything in it is untrusted: it is at most 4 MiB long, and a number is checked where it is used.
 */
#ifndef IMG_LUKS2_H
#define IMG_LUKS2_H

#include "luks.h"

enum {
    IMG_LUKS2_MAX_HEADER = 4 << 20, IMG_LUKS2_LABEL = 48,
    IMG_LUKS2_MAX_MEMORY = 1 << 20  /* KiB that Argon2 may take */
};

struct img_luks2 {
    struct img_doc *json;           /* owned; img_luks2_free */
    uint64_t header_size, sequence;
    bool second;                    /* the copy behind the first one was taken: that is damaged, or older */
    char uuid[IMG_LUKS_UUID + 1], label[IMG_LUKS2_LABEL + 1], subsystem[IMG_LUKS2_LABEL + 1];
    const char *segment;            /* the number of the segment that is the disk, a key in json */
    uint64_t start, size;           /* of it; size UINT64_MAX: to the end of the file */
    uint64_t first_iv;              /* the number of its first 512 bytes */
    uint32_t sector;
};

/* Read the header that is valid and newest.  Also sets what is in the structure above; *luks is freed after an error. */
int img_luks2_read(const struct img_luks_place *place, struct img_luks2 *luks, struct img_error *err);
void img_luks2_free(struct img_luks2 *luks);
/* Why the data cannot be read, whatever the key: reencryption, integrity and the like.  0 or -ENOTSUP. */
int img_luks2_check(const struct img_luks2 *luks, struct img_error *err);

/* Add what `info` shows. */
void img_luks2_info(const struct img_luks2 *luks, struct img_doc *data);

/*
 * Find the key slot that the password opens: *how and `key` are then those of the data.  Slots of low priority and those
 * of other keys are not tried.  0; -ENOKEY: none, without an error set; else a negative errno with *err set, for a slot
 * that cannot be tried and no other one opens.
 */
int img_luks2_unlock(const struct img_luks2 *luks, const struct img_luks_place *place, const uint8_t *password,
                     size_t length, struct img_luks_cipher *how, uint8_t key[IMG_CIPHER_KEY_MAX],
                     struct img_error *err);

/* A new header: what is not chosen by name. */
struct img_luks2_wish {
    const char *kdf;                /* "pbkdf2", "argon2i", "argon2id"; NULL: the best that is built in */
    uint64_t memory;                /* of Argon2, KiB; 0: the usual */
    uint32_t sector;                /* 0: 512 */
    uint64_t time;                  /* milliseconds that trying a password is to take */
};
enum { IMG_LUKS2_PAYLOAD = 16 << 20 };      /* where the data of a new one begins */
/* Check the wish against what was planned for version 1 (cipher, hash). */
int img_luks2_plan(const struct img_luks2_wish *wish, struct img_error *err);
/*
 * Make a master key, and a header whose only slot has it under a password.  `luks` has the plan.  *bytes belongs to the
 * caller; all of it, *length long, is written at the beginning.
 */
int img_luks2_make(const struct img_luks2_wish *wish, struct img_luks *luks, const uint8_t *password,
                   size_t password_length, uint8_t **bytes, size_t *length, struct img_error *err);

#endif
