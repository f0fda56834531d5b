/* SPDX-License-Identifier: MIT */
/*
 * luks2-key.c - the key of the data, out of a key slot of LUKS version 2.
 * Specification: "LUKS2 On-Disk Format Specification", 3.2 (keyslots), 3.4 (digests), 4 (AF splitter).
 */
#ifdef HAVE_NETTLE
#include "argon2.h"
#include "luks2-json.h"
#include "util/checked.h"
#include "util/guarded.h"
#include "util/wipe.h"
#include <errno.h>
#include <nettle/memops.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_DIGEST = 20, LOW = 0, USUAL = 1, HIGH = 2, MOST_LANES = 4 };

/* A slot that is tried. */
struct attempt {
    const struct img_doc *slot, *digest;
    const char *number;
    const struct img_luks_place *place;
    const uint8_t *password;
    size_t password_length;
    struct img_luks_cipher area;    /* how the split key is encrypted */
    uint64_t at;                    /* where that lies */
    uint32_t key_length, stripes;   /* of the key that is in it */
    const struct img_kdf_hash *af_hash;
};

static const struct img_kdf_hash *hash_at(const struct img_doc *object, const char *key)
{
    const char *name = img_doc_string_at(object, key);

    return name ? img_kdf_hash_find(name) : NULL;
}

/* ---- From the password to the key of the slot ------------------------------------------------- */

static int by_pbkdf2(const struct attempt *a, const struct img_doc *kdf, uint8_t *key, struct img_error *err)
{
    uint8_t salt[IMG_KDF_HASH_MAX];
    struct img_pbkdf2 how = { .hash = hash_at(kdf, "hash"), .password = a->password, .salt = salt,
                              .password_length = a->password_length };

    how.salt_length = img_luks2_bytes(kdf, "salt", salt, sizeof salt);
    if (!how.hash || !how.salt_length || !img_luks2_small(kdf, "iterations", 1, UINT32_MAX, &how.iterations))
        return img_luks2_bad("key slot", a->number, err);
    img_pbkdf2(&how, key, a->area.key_length);
    return 0;
}

static int by_argon2(const struct attempt *a, enum img_argon2_kind kind, const struct img_doc *kdf, uint8_t *key,
                     struct img_error *err)
{
    uint8_t salt[IMG_KDF_HASH_MAX];
    struct img_argon2 how = { .kind = kind, .password = a->password, .salt = salt,
                              .password_length = a->password_length };

    how.salt_length = img_luks2_bytes(kdf, "salt", salt, sizeof salt);
    if (!how.salt_length || !img_luks2_small(kdf, "time", 1, UINT32_MAX, &how.time) ||
        !img_luks2_small(kdf, "memory", 1, UINT32_MAX, &how.memory) ||
        !img_luks2_small(kdf, "cpus", 1, MOST_LANES, &how.lanes))
        return img_luks2_bad("key slot", a->number, err);
    if (how.memory > IMG_LUKS2_MAX_MEMORY)
        return img_error_set(err, ENOTSUP, "Key slot %s asks for %u MiB of memory; at most %u are given to one",
                             a->number, how.memory / 1024, IMG_LUKS2_MAX_MEMORY / 1024);
    return img_argon2(&how, key, a->area.key_length, err);
}

static int derive(const struct attempt *a, uint8_t *key, struct img_error *err)
{
    const struct img_doc *kdf = img_doc_get(a->slot, "kdf");
    const char *type = img_doc_string_at(kdf, "type");

    if (type && strcmp(type, "pbkdf2") == 0)
        return by_pbkdf2(a, kdf, key, err);
    if (type && strcmp(type, "argon2i") == 0)
        return by_argon2(a, IMG_ARGON2_I, kdf, key, err);
    if (type && strcmp(type, "argon2id") == 0)
        return by_argon2(a, IMG_ARGON2_ID, kdf, key, err);
    return img_error_set(err, ENOTSUP, "Key slot %s: '%s' is not supported", a->number, type ? type : "");
}

/* ---- From the key of the slot to that of the data ------------------------------------------------ */

static size_t split_bytes(const struct attempt *a)
{
    return (size_t)img_align_up((uint64_t)a->key_length * a->stripes, IMG_LUKS_SECTOR);
}

static int look_at(struct attempt *a, struct img_error *err)
{
    const struct img_doc *area = img_doc_get(a->slot, "area"), *af = img_doc_get(a->slot, "af");
    uint64_t size;

    a->af_hash = hash_at(af, "hash");
    if (!a->af_hash || !img_luks2_small(a->slot, "key_size", 1, IMG_CIPHER_KEY_MAX, &a->key_length) ||
        !img_luks2_small(af, "stripes", IMG_LUKS_STRIPES, IMG_LUKS_STRIPES, &a->stripes) ||
        !img_luks2_small(area, "key_size", 1, IMG_CIPHER_KEY_MAX, &a->area.key_length) ||
        !img_luks2_number(area, "offset", &a->at) || !img_luks2_number(area, "size", &size) || size < split_bytes(a))
        return img_luks2_bad("key slot", a->number, err);
    int ret = img_luks2_cipher(img_doc_string_at(area, "encryption"), &a->area, err);
    return ret < 0 ? ret : img_luks_check_mode(&a->area, err);
}

static int open_area(const struct attempt *a, const uint8_t *key, uint8_t *split, struct img_error *err)
{
    size_t bytes = split_bytes(a);
    struct img_crypt *crypt = img_luks_crypt(&a->area, IMG_LUKS_SECTOR, key);
    int ret = crypt ? a->place->read(a->place->context, a->at, split, bytes, err) : img_error_memory(err);

    if (ret == 0)
        img_crypt_decrypt(crypt, 0, split, split, bytes);
    img_crypt_free(crypt);
    return ret;
}

/* 1: it is the key. */
static int is_key(const struct attempt *a, const uint8_t *key, struct img_error *err)
{
    uint8_t stored[IMG_KDF_HASH_MAX], salt[IMG_KDF_HASH_MAX], digest[IMG_KDF_HASH_MAX];
    struct img_pbkdf2 how = { .hash = hash_at(a->digest, "hash"), .password = key, .salt = salt,
                              .password_length = a->key_length };
    size_t length = img_luks2_bytes(a->digest, "digest", stored, sizeof stored);

    how.salt_length = img_luks2_bytes(a->digest, "salt", salt, sizeof salt);
    if (!how.hash || !how.salt_length || length < LEAST_DIGEST ||
        !img_luks2_small(a->digest, "iterations", 1, UINT32_MAX, &how.iterations))
        return img_luks2_bad("digest of key slot", a->number, err);
    img_pbkdf2(&how, digest, length);
    return memeql_sec(digest, stored, length);
}

static int try_slot(struct attempt *a, uint8_t *key, struct img_error *err)
{
    uint8_t slot_key[IMG_CIPHER_KEY_MAX];
    int ret = look_at(a, err);
    uint8_t *split = ret == 0 ? img_guarded_new(split_bytes(a)) : NULL;

    if (ret < 0)
        return ret;
    if (!split)
        return img_error_memory(err);
    ret = derive(a, slot_key, err);
    if (ret == 0)
        ret = open_area(a, slot_key, split, err);
    if (ret == 0) {
        img_af_merge(a->af_hash, split, a->key_length, a->stripes, key);
        ret = is_key(a, key, err);
    }
    img_wipe(slot_key, sizeof slot_key);
    img_guarded_free(split, split_bytes(a));
    return ret;
}

/* ---- All slots ------------------------------------------------------------------------------------- */

/* Does the list of texts at `key` have this one? */
static bool lists(const struct img_doc *object, const char *key, const char *text)
{
    const struct img_doc *list = img_doc_get(object, key);

    for (size_t i = 0; i < img_doc_count(list); i++) {
        const char *one = img_doc_get_string(img_doc_at(list, i));
        if (one && strcmp(one, text) == 0)
            return true;
    }
    return false;
}

/* What shows that a key is that of the segment, and of this slot; NULL: the slot has another key, or none. */
static const struct img_doc *digest_of(const struct img_luks2 *luks, const char *slot)
{
    const struct img_doc *digests = img_doc_get(luks->json, "digests");

    for (size_t i = 0; i < img_doc_count(digests); i++) {
        const struct img_doc *digest = img_doc_at(digests, i);
        const char *type = img_doc_string_at(digest, "type");
        if (type && strcmp(type, "pbkdf2") == 0 && lists(digest, "segments", luks->segment) &&
            lists(digest, "keyslots", slot))
            return digest;
    }
    return NULL;
}

static uint32_t priority_of(const struct img_doc *slot)
{
    uint32_t priority = USUAL;

    img_luks2_small(slot, "priority", LOW, HIGH, &priority);
    return priority;
}

static bool is_ours(const struct img_doc *slot)
{
    const char *type = img_doc_string_at(slot, "type");

    return type && strcmp(type, "luks2") == 0;
}

static int data_cipher(const struct img_luks2 *luks, const struct attempt *a, struct img_luks_cipher *how,
                       struct img_error *err)
{
    const struct img_doc *segment = img_luks2_at(luks->json, "segments", luks->segment);

    *how = (struct img_luks_cipher){ .key_length = a->key_length };
    int ret = img_luks2_cipher(img_doc_string_at(segment, "encryption"), how, err);
    return ret < 0 ? ret : img_luks_check_mode(how, err);
}

/* The slots of one priority: 1, or `ret` as it was, or the error of a slot that cannot be tried, if it is the first. */
static int try_priority(const struct img_luks2 *luks, struct attempt *a, uint32_t priority, uint8_t *key, int ret,
                        struct img_error *err)
{
    const struct img_doc *slots = img_doc_get(luks->json, "keyslots");

    for (size_t i = 0; i < img_doc_count(slots); i++) {
        struct img_error more = IMG_ERROR_INIT;
        a->slot = img_doc_at(slots, i);
        a->number = img_doc_key_at(slots, i);
        a->digest = digest_of(luks, a->number);
        a->area = (struct img_luks_cipher){ .key_length = 0 };
        if (!a->digest || !is_ours(a->slot) || priority_of(a->slot) != priority)
            continue;
        int found = try_slot(a, key, ret < 0 ? &more : err);
        img_error_clear(&more);
        if (found > 0)
            return 1;
        ret = ret < 0 ? ret : found;
    }
    return ret;
}

int img_luks2_unlock(const struct img_luks2 *luks, const struct img_luks_place *place, const uint8_t *password,
                     size_t length, struct img_luks_cipher *how, uint8_t key[IMG_CIPHER_KEY_MAX],
                     struct img_error *err)
{
    struct attempt a = { .place = place, .password = password, .password_length = length };
    int ret = 0;

    for (uint32_t priority = HIGH; priority > LOW && ret <= 0; priority--)
        ret = try_priority(luks, &a, priority, key, ret, err);
    if (ret > 0) {
        img_error_clear(err);
        return data_cipher(luks, &a, how, err);
    }
    img_wipe(key, IMG_CIPHER_KEY_MAX);
    return ret < 0 ? ret : -ENOKEY;
}
#endif
