/* SPDX-License-Identifier: MIT */
/*
 * luks-header.c - takes the header of LUKS version 1 apart, and checks it before anything in it is believed.
 * Specification: "LUKS1 On-Disk Format Specification", "PHDR layout" and "key slot layout"; numbers are big-endian.
 */
#ifdef HAVE_NETTLE
#include "luks.h"
#include "util/checked.h"
#include "util/endian.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    VERSION = 6, CIPHER = 8, MODE = 40, HASH = 72, NAME_BYTES = 32, PAYLOAD = 104, KEY_BYTES = 108, DIGEST = 112,
    SALT = 132, ITERATIONS = 164, UUID = 168, SLOTS = 208, SLOT_BYTES = 48
};
enum { SLOT_STATE = 0, SLOT_ITERATIONS = 4, SLOT_SALT = 8, SLOT_KEY = 40, SLOT_STRIPES = 44 };
enum { ACTIVE = 0x00ac71f3, INACTIVE = 0x0000dead };

static const char magic[] = "LUKS\xba\xbe";

size_t img_luks_split_bytes(const struct img_luks *luks)
{
    return (size_t)img_align_up((uint64_t)luks->data.key_length * IMG_LUKS_STRIPES, IMG_LUKS_SECTOR);
}

/* ---- Names -------------------------------------------------------------------------- */

static const char *const modes[] = { "ecb", "cbc", "xts", "ctr" };
static const char *const ivgens[] = { "", "plain", "plain64", "essiv" };

const char *img_luks_mode_name(enum img_cipher_mode mode)
{
    return modes[mode];
}

const char *img_luks_ivgen_name(enum img_ivgen ivgen)
{
    return ivgens[ivgen];
}

/* The cipher of this family ("aes") with a key of so many bytes; NULL: there is none. */
static const struct img_cipher *find_cipher(const char *family, size_t key_length)
{
    size_t length = strlen(family);

    for (const struct img_cipher *cipher = img_cipher_next(NULL); cipher; cipher = img_cipher_next(cipher)) {
        const char *name = img_cipher_name(cipher);
        if (strncmp(name, family, length) == 0 && name[length] == '-' && img_cipher_key_length(cipher) == key_length)
            return cipher;
    }
    return NULL;
}

static const struct img_kdf_hash *find_hash(const char *name, struct img_error *err)
{
    const struct img_kdf_hash *hash = img_kdf_hash_find(name);

    if (!hash)
        img_error_set(err, ENOTSUP, "Hash algorithm '%s' not supported", name);
    return hash;
}

/* The cipher of ESSIV is of the same family, with a key as long as the hash. */
static int find_essiv(struct img_luks_cipher *how, const char *family, struct img_error *err)
{
    static const struct { const char *family, *shown; } known[] = {
        { "aes", "AES" }, { "serpent", "Serpent" }, { "twofish", "Twofish" },
    };
    size_t length = img_kdf_hash_length(how->ivgen_hash);

    how->essiv = find_cipher(family, length);
    if (how->essiv)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].family, family) == 0)
            return img_error_set(err, ENOTSUP, "No %s cipher with key size %zu available", known[i].shown, length);
    return img_error_set(err, ENOTSUP, "Cipher %s not supported with essiv", img_cipher_name(how->cipher));
}

int img_luks_check_mode(const struct img_luks_cipher *how, struct img_error *err)
{
    if (how->mode == IMG_MODE_XTS && img_cipher_block(how->cipher) != IMG_CIPHER_BLOCK)
        return img_error_set(err, ENOTSUP, "Unsupported cipher mode %s", modes[how->mode]);
    return 0;
}

/* ---- Taking it apart ------------------------------------------------------------------- */

/* A name of 32 bytes that ends with a NUL. */
static int get_name(const uint8_t *field, const char *what, char name[NAME_BYTES], struct img_error *err)
{
    if (!memchr(field, 0, NAME_BYTES))
        return img_error_set(err, EINVAL, "LUKS header %s is not NUL terminated", what);
    memcpy(name, field, NAME_BYTES);
    return 0;
}

static int number_of(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

/* "MODE-IVGEN" or "MODE-IVGEN:HASH". */
int img_luks_find_cipher(struct img_luks_cipher *how, const char *family, char *mode, struct img_error *err)
{
    char *ivgen = strchr(mode, '-'), *ivgen_hash;
    int found;

    if (!ivgen)
        return img_error_set(err, EINVAL, "Unexpected cipher mode string format '%s'", mode);
    *ivgen++ = 0;
    ivgen_hash = strchr(ivgen, ':');
    if (ivgen_hash) {
        *ivgen_hash++ = 0;
        how->ivgen_hash = find_hash(ivgen_hash, err);
        if (!how->ivgen_hash)
            return -err->code;
    }
    found = number_of(modes, sizeof modes / sizeof *modes, mode);
    if (found < 0)
        return img_error_set(err, ENOTSUP, "Cipher mode '%s' not supported", mode);
    how->mode = (enum img_cipher_mode)found;
    /* The key of XTS is a pair. */
    size_t length = how->mode == IMG_MODE_XTS ? how->key_length / 2 : how->key_length;
    how->cipher = how->mode == IMG_MODE_XTS && how->key_length % 2 ? NULL : find_cipher(family, length);
    if (!how->cipher)
        return img_error_set(err, ENOTSUP, "Algorithm '%s' with key size %zu bytes not supported", family, length);
    found = number_of(ivgens + 1, sizeof ivgens / sizeof *ivgens - 1, ivgen);
    if (found < 0)
        return img_error_set(err, ENOTSUP, "IV generator '%s' not supported", ivgen);
    how->ivgen = (enum img_ivgen)(found + 1);
    if (how->ivgen != IMG_IV_ESSIV)
        return 0;
    if (!how->ivgen_hash)
        return img_error_set(err, EINVAL, "Missing IV generator hash specification");
    return find_essiv(how, family, err);
}

static void get_slot(const uint8_t *bytes, struct img_luks_slot *slot)
{
    slot->active = img_get_be32(bytes + SLOT_STATE) == ACTIVE;
    slot->iterations = img_get_be32(bytes + SLOT_ITERATIONS);
    memcpy(slot->salt, bytes + SLOT_SALT, sizeof slot->salt);
    slot->key_offset = (uint64_t)img_get_be32(bytes + SLOT_KEY) * IMG_LUKS_SECTOR;
    slot->stripes = img_get_be32(bytes + SLOT_STRIPES);
}

/* ---- Putting it together ------------------------------------------------------------------ */

static void put_slot(uint8_t *bytes, const struct img_luks_slot *slot)
{
    img_put_be32(bytes + SLOT_STATE, slot->active ? ACTIVE : INACTIVE);
    img_put_be32(bytes + SLOT_ITERATIONS, slot->iterations);
    memcpy(bytes + SLOT_SALT, slot->salt, sizeof slot->salt);
    img_put_be32(bytes + SLOT_KEY, (uint32_t)(slot->key_offset / IMG_LUKS_SECTOR));
    img_put_be32(bytes + SLOT_STRIPES, slot->stripes);
}

void img_luks_put(const struct img_luks *luks, uint8_t bytes[IMG_LUKS_HEADER])
{
    const char *name = img_cipher_name(luks->data.cipher);

    memset(bytes, 0, IMG_LUKS_HEADER);
    memcpy(bytes, magic, sizeof magic - 1);
    img_put_be16(bytes + VERSION, 1);
    memcpy(bytes + CIPHER, name, strcspn(name, "-"));
    snprintf((char *)bytes + MODE, NAME_BYTES, "%s-%s%s%s", modes[luks->data.mode], ivgens[luks->data.ivgen],
             luks->data.ivgen_hash ? ":" : "", luks->data.ivgen_hash ? img_kdf_hash_name(luks->data.ivgen_hash) : "");
    memcpy(bytes + HASH, img_kdf_hash_name(luks->hash), strlen(img_kdf_hash_name(luks->hash)));
    img_put_be32(bytes + PAYLOAD, (uint32_t)(luks->payload / IMG_LUKS_SECTOR));
    img_put_be32(bytes + KEY_BYTES, luks->data.key_length);
    memcpy(bytes + DIGEST, luks->digest, sizeof luks->digest);
    memcpy(bytes + SALT, luks->salt, sizeof luks->salt);
    img_put_be32(bytes + ITERATIONS, luks->iterations);
    memcpy(bytes + UUID, luks->uuid, IMG_LUKS_UUID);
    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        put_slot(bytes + SLOTS + i * SLOT_BYTES, &luks->slots[i]);
}

/* ---- A new one ------------------------------------------------------------------------------ */

static int refuse(const char *option, const char *value, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", option, value);
}

/* Names among the options whose ciphers no build has: they are refused when all names are known to be right. */
static const char *const missing[] = { "des", "3des", "sm4" };

static int wish_cipher(const char *name, struct img_luks *luks, struct img_error *err)
{
    luks->data.cipher = img_cipher_find(name);
    if (luks->data.cipher)
        return 0;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (strcmp(name, missing[i]) == 0) {
            luks->missing_cipher = missing[i];
            return 0;
        }
    return refuse("cipher-alg", name, err);
}

static int wish_hash(const char *option, const char *name, const struct img_kdf_hash **hash, struct img_error *err)
{
    *hash = img_kdf_hash_find(name);
    return *hash ? 0 : refuse(option, name, err);
}

int img_luks_choose(const struct img_luks_wish *wish, struct img_luks *luks, struct img_error *err)
{
    int mode = wish->mode ? number_of(modes, sizeof modes / sizeof *modes, wish->mode) : IMG_MODE_XTS;
    int ivgen = wish->ivgen ? number_of(ivgens + 1, sizeof ivgens / sizeof *ivgens - 1, wish->ivgen) + 1 : IMG_IV_PLAIN64;
    int ret;

    memset(luks, 0, sizeof *luks);
    ret = wish_cipher(wish->cipher ? wish->cipher : "aes-256", luks, err);
    if (ret < 0)
        return ret;
    if (mode < 0)
        return refuse("cipher-mode", wish->mode, err);
    if (ivgen == 0)
        return refuse("ivgen-alg", wish->ivgen, err);
    luks->data.mode = (enum img_cipher_mode)mode;
    luks->data.ivgen = (enum img_ivgen)ivgen;
    if (wish->ivgen_hash && (ret = wish_hash("ivgen-hash-alg", wish->ivgen_hash, &luks->data.ivgen_hash, err)) < 0)
        return ret;
    return wish_hash("hash-alg", wish->hash ? wish->hash : "sha256", &luks->hash, err);
}

static void place_slots(struct img_luks *luks)
{
    uint64_t at = IMG_LUKS_KEY_AT, step = img_align_up(img_luks_split_bytes(luks), IMG_LUKS_KEY_AT);

    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++, at += step) {
        luks->slots[i].key_offset = at;
        luks->slots[i].stripes = IMG_LUKS_STRIPES;
    }
    luks->payload = at;
}

int img_luks_plan(struct img_luks *luks, struct img_error *err)
{
    int ret;

    if (luks->missing_cipher)
        return img_error_set(err, ENOTSUP, "Algorithm '%s' not supported", luks->missing_cipher);
    if (luks->data.ivgen == IMG_IV_ESSIV && !luks->data.ivgen_hash)
        luks->data.ivgen_hash = img_kdf_hash_find("sha256");
    if (luks->data.ivgen == IMG_IV_ESSIV) {
        const char *name = img_cipher_name(luks->data.cipher);
        char family[NAME_BYTES] = "";
        memcpy(family, name, strcspn(name, "-"));
        if ((ret = find_essiv(&luks->data, family, err)) < 0)
            return ret;
    }
    if ((ret = img_luks_check_mode(&luks->data, err)) < 0)
        return ret;
    luks->data.key_length = (uint32_t)img_cipher_key_length(luks->data.cipher) * (luks->data.mode == IMG_MODE_XTS ? 2 : 1);
    place_slots(luks);
    return 0;
}

/* ---- Places ------------------------------------------------------------------------------ */

static uint64_t slot_end(const struct img_luks *luks, unsigned slot)
{
    return luks->slots[slot].key_offset + img_luks_split_bytes(luks);
}

static int check_slot(const struct img_luks *luks, unsigned i, uint32_t state, bool detached, struct img_error *err)
{
    const struct img_luks_slot *slot = &luks->slots[i];

    if (slot->stripes != IMG_LUKS_STRIPES)
        return img_error_set(err, EINVAL, "Keyslot %u is corrupted (stripes %d != %d)", i, (int)slot->stripes,
                             IMG_LUKS_STRIPES);
    if (state != ACTIVE && state != INACTIVE)
        return img_error_set(err, EINVAL, "Keyslot %u state (active/disable) is corrupted", i);
    if (slot->active && slot->iterations == 0)
        return img_error_set(err, EINVAL, "Keyslot %u iteration count is zero", i);
    if (slot->key_offset < IMG_LUKS_KEY_AT)
        return img_error_set(err, EINVAL, "Keyslot %u is overlapping with the LUKS header", i);
    if (!detached && slot_end(luks, i) > luks->payload)
        return img_error_set(err, EINVAL, "Keyslot %u is overlapping with the encrypted payload", i);
    for (unsigned j = i + 1; j < IMG_LUKS_SLOTS; j++)
        if (slot->key_offset < slot_end(luks, j) && luks->slots[j].key_offset < slot_end(luks, i))
            return img_error_set(err, EINVAL, "Keyslots %u and %u are overlapping in the header", i, j);
    return 0;
}

static int check_places(const struct img_luks *luks, const uint8_t *bytes, bool detached, struct img_error *err)
{
    if (!detached && luks->payload < IMG_LUKS_KEY_AT)
        return img_error_set(err, EINVAL, "LUKS payload is overlapping with the header");
    if (luks->iterations == 0)
        return img_error_set(err, EINVAL, "LUKS key iteration count is zero");
    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++) {
        int ret = check_slot(luks, i, img_get_be32(bytes + SLOTS + i * SLOT_BYTES + SLOT_STATE), detached, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int img_luks_parse(const uint8_t bytes[IMG_LUKS_HEADER], bool detached, struct img_luks *luks, struct img_error *err)
{
    char family[NAME_BYTES], mode[NAME_BYTES], hash[NAME_BYTES];
    int ret;

    memset(luks, 0, sizeof *luks);
    if (memcmp(bytes, magic, sizeof magic - 1) != 0)
        return img_error_set(err, EINVAL, "Volume is not in LUKS format");
    if (img_get_be16(bytes + VERSION) != 1)
        return img_error_set(err, ENOTSUP, "LUKS version %u is not supported", img_get_be16(bytes + VERSION));
    if ((ret = get_name(bytes + CIPHER, "cipher name", family, err)) < 0 ||
        (ret = get_name(bytes + MODE, "cipher mode", mode, err)) < 0 ||
        (ret = get_name(bytes + HASH, "hash spec", hash, err)) < 0)
        return ret;
    luks->payload = (uint64_t)img_get_be32(bytes + PAYLOAD) * IMG_LUKS_SECTOR;
    luks->data.key_length = img_get_be32(bytes + KEY_BYTES);
    memcpy(luks->digest, bytes + DIGEST, sizeof luks->digest);
    memcpy(luks->salt, bytes + SALT, sizeof luks->salt);
    luks->iterations = img_get_be32(bytes + ITERATIONS);
    memcpy(luks->uuid, bytes + UUID, IMG_LUKS_UUID);
    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        get_slot(bytes + SLOTS + i * SLOT_BYTES, &luks->slots[i]);
    if ((ret = check_places(luks, bytes, detached, err)) < 0 ||
        (ret = img_luks_find_cipher(&luks->data, family, mode, err)) < 0)
        return ret;
    luks->hash = find_hash(hash, err);
    return luks->hash ? 0 : -err->code;
}
#endif
