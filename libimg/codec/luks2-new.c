/* SPDX-License-Identifier: MIT */
/*
 * luks2-new.c - makes a header of LUKS version 2 with one key slot, laid out as cryptsetup does.
 * Specification: "LUKS2 On-Disk Format Specification", sections 2 and 3.
 *
 *     0, 16 KiB       the two copies of the header
 *     32 KiB          the area of the first key slot; more follow, up to 16 MiB
 */
#ifdef HAVE_NETTLE
#include "argon2.h"
#include "luks2-json.h"
#include "util/checked.h"
#include "util/endian.h"
#include "util/random.h"
#include "util/strbuf.h"
#include "util/uuid.h"
#include "util/wipe.h"
#include <errno.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    COPY = LUKS2_LEAST, AREA = 2 * COPY, AREA_ALIGNMENT = 4096, SALT = 32,
    USUAL_MEMORY = 64 << 10 /* KiB */, LEAST_MEMORY = 32, LEAST_PASSES = 4, MOST_LANES = 4
};

/* What the header says, beside what luks has. */
struct fresh {
    const struct img_luks2_wish *wish;
    struct img_luks *luks;
    bool pbkdf2;
    struct img_argon2 argon2;
    uint32_t iterations;            /* of the slot, with PBKDF2 */
    uint8_t salt[SALT], digest[IMG_KDF_HASH_MAX];
    char encryption[96];            /* "aes-xts-plain64" */
};

int img_luks2_plan(const struct img_luks2_wish *wish, struct img_error *err)
{
    const char *kdf = wish->kdf;
    bool argon2 = kdf && (strcmp(kdf, "argon2i") == 0 || strcmp(kdf, "argon2id") == 0);

    if (kdf && !argon2 && strcmp(kdf, "pbkdf2") != 0)
        return img_error_set(err, EINVAL, "Parameter 'pbkdf' does not accept value '%s'", kdf);
    if (argon2 && !img_argon2_available())
        return img_error_set(err, ENOTSUP, "'pbkdf=%s' needs libargon2, which is not built in", kdf);
    if (wish->memory && (wish->memory < LEAST_MEMORY || wish->memory > IMG_LUKS2_MAX_MEMORY))
        return img_error_set(err, EINVAL, "'pbkdf-memory' must be from %u KiB to %u MiB", LEAST_MEMORY,
                             IMG_LUKS2_MAX_MEMORY / 1024);
    if (wish->sector && (!img_power_of_two(wish->sector) || wish->sector < IMG_LUKS_SECTOR || wish->sector > 4096))
        return img_error_set(err, EINVAL, "'sector-size' must be 512, 1024, 2048 or 4096");
    return 0;
}

/* ---- How much work the slot takes ------------------------------------------------------------ */

static uint64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The passes over the memory that take so long here. */
static int count_passes(struct fresh *f, uint8_t *scratch, struct img_error *err)
{
    uint64_t start, took;
    int ret;

    f->argon2.time = 1;
    start = milliseconds();
    ret = img_argon2(&f->argon2, scratch, f->luks->data.key_length, err);
    took = img_max(milliseconds() - start, 1);
    f->argon2.time = (uint32_t)img_min(img_max(f->wish->time / took, LEAST_PASSES), UINT32_MAX);
    return ret;
}

static int choose_work(struct fresh *f, const uint8_t *password, size_t length, struct img_error *err)
{
    const char *kdf = f->wish->kdf ? f->wish->kdf : img_argon2_available() ? "argon2id" : "pbkdf2";
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint8_t scratch[IMG_CIPHER_KEY_MAX];
    int ret;

    f->pbkdf2 = strcmp(kdf, "pbkdf2") == 0;
    if (f->pbkdf2)
        return img_luks_iterations(f->luks->hash, f->wish->time, 1, &f->iterations, err);
    f->argon2 = (struct img_argon2){
        .kind = strcmp(kdf, "argon2i") == 0 ? IMG_ARGON2_I : IMG_ARGON2_ID,
        .password = password, .password_length = length, .salt = f->salt, .salt_length = sizeof f->salt,
        .memory = (uint32_t)(f->wish->memory ? f->wish->memory : USUAL_MEMORY),
        .lanes = processors < 1 ? 1 : (uint32_t)img_min((uint64_t)processors, MOST_LANES),
    };
    ret = count_passes(f, scratch, err);
    img_wipe(scratch, sizeof scratch);
    return ret;
}

static int derive(const struct fresh *f, const uint8_t *password, size_t length, uint8_t *key, struct img_error *err)
{
    const struct img_pbkdf2 how = { f->luks->hash, password, f->salt, length, sizeof f->salt, f->iterations };

    if (!f->pbkdf2)
        return img_argon2(&f->argon2, key, f->luks->data.key_length, err);
    img_pbkdf2(&how, key, f->luks->data.key_length);
    return 0;
}

/* ---- The text ------------------------------------------------------------------------------------ */

static void put_number(struct img_doc *object, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    img_doc_put_string(object, key, text);
}

static void put_bytes(struct img_doc *object, const char *key, const uint8_t *bytes, size_t length)
{
    char text[BASE64_ENCODE_RAW_LENGTH(IMG_KDF_HASH_MAX) + 1];

    base64_encode_raw(text, length, bytes);
    text[BASE64_ENCODE_RAW_LENGTH(length)] = 0;
    img_doc_put_string(object, key, text);
}

static struct img_doc *list_of(const char *one)
{
    struct img_doc *list = img_doc_array();

    img_doc_append(list, img_doc_string(one));
    return list;
}

/* Objects have numbers for names there; ours have only one. */
static void put_first(struct img_doc *all, const char *key, struct img_doc *one)
{
    struct img_doc *object = img_doc_object();

    if (one)
        img_doc_put(object, "0", one);
    img_doc_put(all, key, object);
}

static struct img_doc *describe_kdf(const struct fresh *f)
{
    struct img_doc *kdf = img_doc_object();

    if (f->pbkdf2) {
        img_doc_put_string(kdf, "type", "pbkdf2");
        img_doc_put_string(kdf, "hash", img_kdf_hash_name(f->luks->hash));
        img_doc_put_uint(kdf, "iterations", f->iterations);
    } else {
        img_doc_put_string(kdf, "type", f->argon2.kind == IMG_ARGON2_I ? "argon2i" : "argon2id");
        img_doc_put_uint(kdf, "time", f->argon2.time);
        img_doc_put_uint(kdf, "memory", f->argon2.memory);
        img_doc_put_uint(kdf, "cpus", f->argon2.lanes);
    }
    put_bytes(kdf, "salt", f->salt, sizeof f->salt);
    return kdf;
}

static uint64_t area_bytes(const struct fresh *f)
{
    return img_align_up(img_luks_split_bytes(f->luks), AREA_ALIGNMENT);
}

static struct img_doc *describe_slot(const struct fresh *f)
{
    struct img_doc *slot = img_doc_object(), *af = img_doc_object(), *area = img_doc_object();

    img_doc_put_string(slot, "type", "luks2");
    img_doc_put_uint(slot, "key_size", f->luks->data.key_length);
    img_doc_put_string(af, "type", "luks1");
    img_doc_put_uint(af, "stripes", IMG_LUKS_STRIPES);
    img_doc_put_string(af, "hash", img_kdf_hash_name(f->luks->hash));
    img_doc_put(slot, "af", af);
    img_doc_put_string(area, "type", "raw");
    put_number(area, "offset", AREA);
    put_number(area, "size", area_bytes(f));
    img_doc_put_string(area, "encryption", f->encryption);
    img_doc_put_uint(area, "key_size", f->luks->data.key_length);
    img_doc_put(slot, "area", area);
    img_doc_put(slot, "kdf", describe_kdf(f));
    return slot;
}

static struct img_doc *describe_segment(const struct fresh *f)
{
    struct img_doc *segment = img_doc_object();

    img_doc_put_string(segment, "type", "crypt");
    put_number(segment, "offset", IMG_LUKS2_PAYLOAD);
    img_doc_put_string(segment, "size", "dynamic");
    put_number(segment, "iv_tweak", 0);
    img_doc_put_string(segment, "encryption", f->encryption);
    img_doc_put_uint(segment, "sector_size", f->wish->sector ? f->wish->sector : IMG_LUKS_SECTOR);
    return segment;
}

static struct img_doc *describe_digest(const struct fresh *f)
{
    struct img_doc *digest = img_doc_object();

    img_doc_put_string(digest, "type", "pbkdf2");
    img_doc_put(digest, "keyslots", list_of("0"));
    img_doc_put(digest, "segments", list_of("0"));
    img_doc_put_string(digest, "hash", img_kdf_hash_name(f->luks->hash));
    img_doc_put_uint(digest, "iterations", f->luks->iterations);
    put_bytes(digest, "salt", f->luks->salt, sizeof f->luks->salt);
    put_bytes(digest, "digest", f->digest, img_kdf_hash_length(f->luks->hash));
    return digest;
}

static struct img_doc *describe(const struct fresh *f)
{
    struct img_doc *all = img_doc_object(), *config = img_doc_object();

    put_first(all, "keyslots", describe_slot(f));
    put_first(all, "tokens", NULL);
    put_first(all, "segments", describe_segment(f));
    put_first(all, "digests", describe_digest(f));
    put_number(config, "json_size", COPY - LUKS2_JSON);
    put_number(config, "keyslots_size", IMG_LUKS2_PAYLOAD - AREA);
    img_doc_put(all, "config", config);
    return all;
}

/* ---- The bytes ------------------------------------------------------------------------------------- */

static int put_copy(uint8_t *bytes, uint64_t at, const struct fresh *f, const char *json)
{
    const struct img_kdf_hash *sha256 = img_kdf_hash_find("sha256");
    uint8_t *copy = bytes + at, checksum[IMG_KDF_HASH_MAX];

    memcpy(copy, at ? IMG_LUKS2_SECOND : IMG_LUKS2_FIRST, LUKS2_VERSION);
    img_put_be16(copy + LUKS2_VERSION, 2);
    img_put_be64(copy + LUKS2_SIZE, COPY);
    img_put_be64(copy + LUKS2_SEQUENCE, 1);
    memcpy(copy + LUKS2_ALGORITHM, "sha256", 6);
    if (img_random(copy + LUKS2_SALT, LUKS2_SALT_BYTES) < 0)
        return -EIO;
    memcpy(copy + LUKS2_UUID, f->luks->uuid, strlen(f->luks->uuid));
    img_put_be64(copy + LUKS2_OFFSET, at);
    memcpy(copy + LUKS2_JSON, json, strlen(json));
    img_kdf_hash_of(sha256, copy, COPY, checksum);
    memcpy(copy + LUKS2_CHECKSUM, checksum, img_kdf_hash_length(sha256));
    return 0;
}

static int put_header(uint8_t *bytes, const struct fresh *f, struct img_error *err)
{
    struct img_doc *doc = describe(f);
    char *json = img_doc_json(doc, -1);
    int ret = json && strlen(json) < COPY - LUKS2_JSON ? 0 : img_error_memory(err);

    for (uint64_t at = 0; ret == 0 && at < AREA; at += COPY)
        if (put_copy(bytes, at, f, json) < 0)
            ret = img_error_set(err, EIO, "Unable to get random bytes");
    free(json);
    img_doc_free(doc);
    return ret;
}

/* The digest of the master key is as long as the hash, not cut as in version 1. */
static void digest_key(struct fresh *f, const uint8_t *key)
{
    const struct img_luks *luks = f->luks;
    const struct img_pbkdf2 how = { luks->hash, key, luks->salt, luks->data.key_length, sizeof luks->salt,
                                    luks->iterations };

    img_pbkdf2(&how, f->digest, img_kdf_hash_length(luks->hash));
}

static int put_slot(uint8_t *area, const struct fresh *f, const uint8_t *slot_key, const uint8_t *key,
                    struct img_error *err)
{
    const struct img_luks *luks = f->luks;
    struct img_crypt *crypt = img_luks_crypt(&luks->data, IMG_LUKS_SECTOR, slot_key);
    int ret = 0;

    if (!crypt)
        return img_error_memory(err);
    if (img_af_split(luks->hash, key, luks->data.key_length, IMG_LUKS_STRIPES, area) < 0)
        ret = img_error_set(err, EIO, "Unable to get random bytes");
    else
        img_crypt_encrypt(crypt, 0, area, area, img_luks_split_bytes(luks));
    img_crypt_free(crypt);
    return ret;
}

static void name_encryption(struct fresh *f)
{
    const struct img_luks_cipher *how = &f->luks->data;
    const char *name = img_cipher_name(how->cipher);
    bool essiv = how->ivgen == IMG_IV_ESSIV;

    snprintf(f->encryption, sizeof f->encryption, "%.*s-%s-%s%s%s", (int)strcspn(name, "-"), name,
             img_luks_mode_name(how->mode), img_luks_ivgen_name(how->ivgen), essiv ? ":" : "",
             essiv ? img_kdf_hash_name(how->ivgen_hash) : "");
}

static int make(struct fresh *f, const uint8_t *password, size_t length, uint8_t *bytes, struct img_error *err)
{
    uint8_t key[IMG_CIPHER_KEY_MAX], slot_key[IMG_CIPHER_KEY_MAX];
    int ret = img_luks_new_key(f->luks, f->wish->time, key, err);

    name_encryption(f);
    if (ret == 0 && img_random(f->salt, sizeof f->salt) < 0)
        ret = img_error_set(err, EIO, "Unable to get random bytes");
    if (ret == 0)
        ret = choose_work(f, password, length, err);
    if (ret == 0)
        ret = derive(f, password, length, slot_key, err);
    if (ret == 0)
        ret = put_slot(bytes + AREA, f, slot_key, key, err);
    if (ret == 0) {
        digest_key(f, key);
        ret = put_header(bytes, f, err);
    }
    img_wipe(key, sizeof key);
    img_wipe(slot_key, sizeof slot_key);
    return ret;
}

int img_luks2_make(const struct img_luks2_wish *wish, struct img_luks *luks, const uint8_t *password,
                   size_t password_length, uint8_t **bytes, size_t *length, struct img_error *err)
{
    struct fresh f = { .wish = wish, .luks = luks };
    int ret;

    *length = AREA + (size_t)area_bytes(&f);
    *bytes = img_calloc(1, *length);
    if (!*bytes)
        return img_error_memory(err);
    ret = make(&f, password, password_length, *bytes, err);
    img_wipe(&f, sizeof f);
    return ret;
}
#endif
