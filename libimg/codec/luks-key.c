/* SPDX-License-Identifier: MIT */
/*
 * luks-key.c - the master key of LUKS version 1, out of a key slot that a password opens.
 * Specification: "LUKS1 On-Disk Format Specification", "Master key recovery".
 */
#ifdef HAVE_NETTLE
#include "luks.h"
#include "util/checked.h"
#include "util/guarded.h"
#include "util/random.h"
#include "util/strbuf.h"
#include "util/uuid.h"
#include "util/wipe.h"
#include <errno.h>
#include <nettle/memops.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct img_crypt *img_luks_crypt(const struct img_luks_cipher *how, uint32_t sector, const uint8_t *key)
{
    uint8_t essiv_key[IMG_KDF_HASH_MAX];
    struct img_crypt_how all = { .cipher = how->cipher, .mode = how->mode, .ivgen = how->ivgen,
                                 .essiv = how->essiv, .essiv_key = essiv_key, .sector = sector };
    struct img_crypt *crypt;

    if (how->ivgen == IMG_IV_ESSIV)
        img_kdf_hash_of(how->ivgen_hash, key, how->key_length, essiv_key);
    crypt = img_crypt_new(&all, key);
    img_wipe(essiv_key, sizeof essiv_key);
    return crypt;
}

static bool is_master_key(const struct img_luks *luks, const uint8_t *key)
{
    const struct img_pbkdf2 how = { luks->hash, key, luks->salt, luks->data.key_length, sizeof luks->salt, luks->iterations };
    uint8_t digest[IMG_LUKS_DIGEST];

    img_pbkdf2(&how, digest, sizeof digest);
    return memeql_sec(digest, luks->digest, sizeof digest);
}

/* The split key of a slot, decrypted with the key that the password makes; `split` has space for whole sectors. */
static int open_slot(const struct img_luks *luks, const struct img_luks_slot *slot, const struct img_luks_place *place,
                     const uint8_t *key, uint8_t *split, size_t bytes, struct img_error *err)
{
    struct img_crypt *crypt = img_luks_crypt(&luks->data, IMG_LUKS_SECTOR, key);
    int ret = crypt ? place->read(place->context, slot->key_offset, split, bytes, err) : img_error_memory(err);

    if (ret == 0)
        img_crypt_decrypt(crypt, 0, split, split, bytes);
    img_crypt_free(crypt);
    return ret;
}

static int try_slot(const struct img_luks *luks, unsigned number, const struct img_luks_place *place,
                    const uint8_t *password, size_t length, uint8_t *master, uint8_t *split, size_t bytes,
                    struct img_error *err)
{
    const struct img_luks_slot *slot = &luks->slots[number];
    const struct img_pbkdf2 how = { luks->hash, password, slot->salt, length, sizeof slot->salt, slot->iterations };
    uint8_t key[IMG_CIPHER_KEY_MAX];
    int ret;

    img_pbkdf2(&how, key, luks->data.key_length);
    ret = open_slot(luks, slot, place, key, split, bytes, err);
    img_wipe(key, sizeof key);
    if (ret < 0)
        return ret;
    img_af_merge(luks->hash, split, luks->data.key_length, slot->stripes, master);
    return is_master_key(luks, master) ? 1 : 0;
}

int img_luks_try_slot(const struct img_luks *luks, unsigned slot, const struct img_luks_place *place,
                      const uint8_t *password, size_t length, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err)
{
    size_t bytes = img_luks_split_bytes(luks);
    uint8_t *split = img_guarded_new(bytes);
    int ret;

    if (!split)
        return img_error_memory(err);
    ret = try_slot(luks, slot, place, password, length, key, split, bytes, err);
    img_guarded_free(split, bytes);
    return ret;
}

int img_luks_unlock(const struct img_luks *luks, const struct img_luks_place *place, const uint8_t *password,
                    size_t length, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err)
{
    for (unsigned slot = 0; slot < IMG_LUKS_SLOTS; slot++) {
        int ret = luks->slots[slot].active ? img_luks_try_slot(luks, slot, place, password, length, key, err) : 0;
        if (ret > 0)
            return (int)slot;
        if (ret < 0)
            return ret;
    }
    img_wipe(key, IMG_CIPHER_KEY_MAX);
    return -ENOKEY;
}

/* ---- New keys --------------------------------------------------------------------- */

enum { FEWEST_ITERATIONS = 1000, MEASURED_LEAST = 50 /* ms */, MOST_MEASURED = 1 << 28 };

/* PBKDF2 iterations of a hash in a second of processor time. */
static uint64_t iterations_a_second(const struct img_kdf_hash *hash)
{
    static const uint8_t password[32], salt[IMG_LUKS_SALT];
    struct img_pbkdf2 how = { hash, password, salt, sizeof password, sizeof salt, 1 << 12 };
    uint8_t digest[IMG_LUKS_DIGEST];

    for (;;) {
        struct timespec start, end;
        uint64_t took;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
        img_pbkdf2(&how, digest, sizeof digest);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        took = (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec - (uint64_t)start.tv_nsec;
        if (took >= MEASURED_LEAST * 1000000u || how.iterations >= MOST_MEASURED)
            return (uint64_t)((double)how.iterations * 1e9 / (double)(took ? took : 1));
        how.iterations *= 4;
    }
}

int img_luks_iterations(const struct img_kdf_hash *hash, uint64_t time, unsigned share, uint32_t *iterations,
                        struct img_error *err)
{
    uint64_t count = iterations_a_second(hash);

    if (time && UINT64_MAX / time < count)
        return img_error_set(err, ERANGE, "PBKDF iterations %llu too large to scale: %s", (unsigned long long)count,
                             img_strerror(ERANGE));
    count = count * time / 1000 / share;
    if (count > UINT32_MAX)
        return img_error_set(err, ERANGE, "PBKDF iterations %llu larger than %u: %s", (unsigned long long)count,
                             UINT32_MAX, img_strerror(ERANGE));
    *iterations = (uint32_t)img_max(count, FEWEST_ITERATIONS);
    return 0;
}

static int no_random(struct img_error *err)
{
    return img_error_set(err, EIO, "Unable to get random bytes");
}

static void make_uuid(char text[IMG_LUKS_UUID + 1])
{
    uint8_t uuid[16];

    img_uuid_make(uuid);
    img_uuid_text(uuid, text);
}

int img_luks_new_key(struct img_luks *luks, uint64_t time, uint8_t key[IMG_CIPHER_KEY_MAX], struct img_error *err)
{
    struct img_pbkdf2 how = { luks->hash, key, luks->salt, luks->data.key_length, sizeof luks->salt, 0 };
    int ret = img_luks_iterations(luks->hash, time, 8, &luks->iterations, err);

    if (ret < 0)
        return ret;
    if (img_random(key, luks->data.key_length) < 0 || img_random(luks->salt, sizeof luks->salt) < 0)
        return no_random(err);
    how.iterations = luks->iterations;
    img_pbkdf2(&how, luks->digest, sizeof luks->digest);
    make_uuid(luks->uuid);
    return 0;
}

int img_luks_fill_slot(struct img_luks *luks, unsigned number, const uint8_t *password, size_t length, uint64_t time,
                       const uint8_t *key, uint8_t *split, struct img_error *err)
{
    struct img_luks_slot *slot = &luks->slots[number];
    struct img_pbkdf2 how = { luks->hash, password, slot->salt, length, sizeof slot->salt, 0 };
    size_t bytes = img_luks_split_bytes(luks);
    uint8_t slot_key[IMG_CIPHER_KEY_MAX];
    struct img_crypt *crypt;
    int ret = img_luks_iterations(luks->hash, time, 2, &slot->iterations, err);

    if (ret < 0)
        return ret;
    memset(split, 0, bytes);
    if (img_random(slot->salt, sizeof slot->salt) < 0 ||
        img_af_split(luks->hash, key, luks->data.key_length, slot->stripes, split) < 0)
        return no_random(err);
    how.iterations = slot->iterations;
    img_pbkdf2(&how, slot_key, luks->data.key_length);
    crypt = img_luks_crypt(&luks->data, IMG_LUKS_SECTOR, slot_key);
    img_wipe(slot_key, sizeof slot_key);
    if (!crypt)
        return img_error_memory(err);
    img_crypt_encrypt(crypt, 0, split, split, bytes);
    img_crypt_free(crypt);
    slot->active = true;
    return 0;
}
#endif
