/* SPDX-License-Identifier: MIT */
/*
 * luks.h - the header of LUKS version 1: who encrypts a disk with which cipher, and the key slots that keep its master
 * key, each under a password of its own.  For the format luks and for qcow2, which keep it in different places.
 * Specification: "LUKS1 On-Disk Format Specification", version 1.2.3.
 */
#ifndef IMG_LUKS_H
#define IMG_LUKS_H

#include "cipher.h"
#include "img.h"
#include "kdf.h"

enum {
    IMG_LUKS_HEADER = 592, IMG_LUKS_SECTOR = 512, IMG_LUKS_SLOTS = 8, IMG_LUKS_STRIPES = 4000,
    IMG_LUKS_DIGEST = 20, IMG_LUKS_SALT = 32, IMG_LUKS_UUID = 40,
    IMG_LUKS_KEY_AT = 4096          /* of the first key slot; each begins at a multiple of it */
};

struct img_luks_slot {
    bool active;
    uint32_t iterations, stripes;
    uint8_t salt[IMG_LUKS_SALT];
    uint64_t key_offset;            /* of the split key, in bytes */
};

/* What is named by "aes-xts-plain64" and the length of the key, which XTS needs two of. */
struct img_luks_cipher {
    const struct img_cipher *cipher, *essiv;
    enum img_cipher_mode mode;
    enum img_ivgen ivgen;
    const struct img_kdf_hash *ivgen_hash;      /* of ESSIV, or NULL */
    uint32_t key_length;
};

struct img_luks {
    struct img_luks_cipher data;    /* key_length: of the master key */
    const char *missing_cipher;     /* while a new one is planned: named by its options, but in no build; cipher NULL */
    const struct img_kdf_hash *hash;
    uint64_t payload;               /* where the data begins, in bytes */
    uint8_t digest[IMG_LUKS_DIGEST], salt[IMG_LUKS_SALT];
    uint32_t iterations;            /* of the digest */
    char uuid[IMG_LUKS_UUID + 1];
    struct img_luks_slot slots[IMG_LUKS_SLOTS];
};

/* Names as qemu-img has them: "aes-256", "xts", "plain64". */
const char *img_luks_mode_name(enum img_cipher_mode mode);
const char *img_luks_ivgen_name(enum img_ivgen ivgen);

/* Take the header apart and check it.  `detached`: it lies in a file of its own, so the data cannot overlap it. */
int img_luks_parse(const uint8_t bytes[IMG_LUKS_HEADER], bool detached, struct img_luks *luks, struct img_error *err);
/* Can the cipher do the mode?  A header where it cannot may be shown, but not unlocked. */
int img_luks_check_mode(const struct img_luks_cipher *how, struct img_error *err);
/* Find what `family` ("aes") and `mode` ("xts-plain64", which is cut to pieces) mean for how->key_length. */
int img_luks_find_cipher(struct img_luks_cipher *how, const char *family, char *mode, struct img_error *err);

/* Where the header and its slots are read: `length` bytes at `offset` from the beginning of the header.  read words its
 * errors. */
struct img_luks_place {
    int (*read)(void *context, uint64_t offset, void *to, size_t length, struct img_error *err);
    void *context;
};
/*
 * Find the slot that the password opens, and put the master key of luks->key_length bytes to `key`.  Returns its number;
 * -ENOKEY: none, without an error set; else a negative errno with *err set.  Takes the time that the password was
 * protected with, for each active slot.
 */
int img_luks_unlock(const struct img_luks *luks, const struct img_luks_place *place, const uint8_t *password,
                    size_t length, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err);
/* Does the password open this active slot?  1, 0, or a negative errno with *err set; `key` is scratch memory. */
int img_luks_try_slot(const struct img_luks *luks, unsigned slot, const struct img_luks_place *place,
                      const uint8_t *password, size_t length, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err);
/* Sectors of so many bytes are encrypted like that.  NULL: out of memory. */
struct img_crypt *img_luks_crypt(const struct img_luks_cipher *how, uint32_t sector, const uint8_t *key);

/* What a new header is made of, by the names of the options; NULL: the usual one. */
struct img_luks_wish {
    const char *cipher, *mode, *ivgen, *ivgen_hash, *hash;
};
/* Find the algorithms that these names mean. */
int img_luks_choose(const struct img_luks_wish *wish, struct img_luks *luks, struct img_error *err);
/* Check that they go together, and choose places for the slots and the payload. */
int img_luks_plan(struct img_luks *luks, struct img_error *err);
/* How many iterations of PBKDF2 take a share of `time` milliseconds of processor time. */
int img_luks_iterations(const struct img_kdf_hash *hash, uint64_t time, unsigned share, uint32_t *iterations,
                        struct img_error *err);
/* Make up a master key, and what shows that a key is the right one.  `time`: milliseconds of processor time that a slot is
 * to take; of this an eighth goes to the master key. */
int img_luks_new_key(struct img_luks *luks, uint64_t time, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err);
/* Bytes of a split key, whole sectors. */
size_t img_luks_split_bytes(const struct img_luks *luks);
/* Put the master key into a slot under a password: fills the slot and `split`, which belongs at its key_offset. */
int img_luks_fill_slot(struct img_luks *luks, unsigned slot, const uint8_t *password, size_t length, uint64_t time,
                       const uint8_t *key, uint8_t *split, struct img_error *err);
void img_luks_put(const struct img_luks *luks, uint8_t bytes[IMG_LUKS_HEADER]);

#endif
