/* SPDX-License-Identifier: MIT */
/* encrcdsa.c - encrypted disk images of macOS: from a password to what decrypts their blocks (see encrcdsa.h). */
#include "encrcdsa.h"
#include <errno.h>
#include <string.h>

bool img_encrcdsa_show(const uint8_t *head, size_t length)
{
    return length >= IMG_ENCRCDSA_HEADER && memcmp(head, "encrcdsa", 8) == 0;
}

#ifdef HAVE_NETTLE
#include "util/checked.h"
#include "util/endian.h"
#include "util/wipe.h"
#include <nettle/cbc.h>
#include <nettle/des.h>

/* The header, and one of the pointers to wrapped keys that follow it. */
enum { VERSION = 8, ALGORITHM = 20, KEY_BITS = 24, IV_ALGORITHM = 28, IV_KEY_BITS = 32, BLOCK = 52, SIZE = 56,
       START = 64, KEYS = 72 };
enum { POINTER = 20, POINTER_TYPE = 0, POINTER_OFFSET = 4, MOST_KEYS = 32, BY_PASSWORD = 1 };
/* A wrapped key. */
enum { KDF = 0, ITERATIONS = 8, SALT_LENGTH = 12, SALT = 16, SALT_MOST = 32, IV_LENGTH = 48, IV = 52,
       WRAP_BITS = 84, WRAP_ALGORITHM = 88, WRAP_MODE = 96, BLOB_LENGTH = 100, BLOB = 104, BLOB_MOST = 128, WRAPPED = BLOB + BLOB_MOST };

#define CSSM_AES 0x80000001u
enum { CSSM_PBKDF2 = 103, CSSM_3DES = 17, CSSM_HMAC_SHA1 = 91, CSSM_CBC_IV8 = 5, CSSM_CBC_PADDED = 6 };
enum { IV_KEY = 20, MOST_KEY = 32 };

int img_encrcdsa_parse(const uint8_t bytes[IMG_ENCRCDSA_HEADER], struct img_encrcdsa *header, struct img_error *err)
{
    *header = (struct img_encrcdsa){
        .start = img_get_be64(bytes + START), .size = img_get_be64(bytes + SIZE), .block = img_get_be32(bytes + BLOCK),
        .key_bits = img_get_be32(bytes + KEY_BITS), .keys = img_get_be32(bytes + KEYS),
    };
    if (img_get_be32(bytes + VERSION) != 2)
        return img_error_set(err, ENOTSUP, "Encrypted disk images of version %u are not supported",
                             img_get_be32(bytes + VERSION));
    if (img_get_be32(bytes + ALGORITHM) != CSSM_AES || (header->key_bits != 128 && header->key_bits != 256) ||
        img_get_be32(bytes + IV_ALGORITHM) != CSSM_HMAC_SHA1 || img_get_be32(bytes + IV_KEY_BITS) != IV_KEY * 8)
        return img_error_set(err, ENOTSUP, "The image is encrypted in a way that is not supported");
    if (!img_power_of_two(header->block) || header->block < 512 || header->block > 4096 ||
        header->start > INT64_MAX || header->size > INT64_MAX - header->start || header->keys > MOST_KEYS)
        return img_error_set(err, EINVAL, "The header of the encrypted image is not as it has to be");
    return 0;
}

/* Unwrap in place.  False: the algorithm is another one. */
static bool unwrap(const uint8_t *wrapped, const uint8_t *key, uint8_t *blob, size_t length)
{
    uint32_t algorithm = img_get_be32(wrapped + WRAP_ALGORITHM), bits = img_get_be32(wrapped + WRAP_BITS);
    uint8_t iv[IMG_CIPHER_BLOCK];

    memcpy(iv, wrapped + IV, sizeof iv);
    if (algorithm == CSSM_3DES && bits == 8 * DES3_KEY_SIZE && length % DES_BLOCK_SIZE == 0) {
        struct des3_ctx des3;
        des3_set_key(&des3, key);
        cbc_decrypt(&des3, (nettle_cipher_func *)des3_decrypt, DES_BLOCK_SIZE, iv, length, blob, blob);
        img_wipe(&des3, sizeof des3);
        return true;
    }
    const struct img_cipher *aes = algorithm == CSSM_AES && bits == 128 ? img_cipher_find("aes-128") :
                                   algorithm == CSSM_AES && bits == 256 ? img_cipher_find("aes-256") : NULL;
    return aes && length % IMG_CIPHER_BLOCK == 0 && img_cbc_decrypt(aes, key, iv, blob, length) == 0;
}

/* The key of AES, that of the IVs, and a mark that shows that the password was the right one. */
static bool holds_keys(const struct img_encrcdsa *header, const uint8_t *blob, size_t length)
{
    size_t keys = header->key_bits / 8 + IV_KEY;

    return length >= keys + 4 && memcmp(blob + keys, "CKIE", 4) == 0;
}

/* 1: these are the keys in `blob`.  A key that is wrapped in another way is passed over. */
static int try_key(const struct img_encrcdsa *header, const uint8_t *wrapped, const uint8_t *password, size_t length,
                   uint8_t *blob)
{
    uint32_t bytes = img_get_be32(wrapped + BLOB_LENGTH), salt = img_get_be32(wrapped + SALT_LENGTH);
    uint32_t bits = img_get_be32(wrapped + WRAP_BITS);
    struct img_pbkdf2 how = { img_kdf_hash_find("sha1"), password, wrapped + SALT, length, salt,
                              img_get_be32(wrapped + ITERATIONS) };
    uint8_t key[MOST_KEY];
    bool right;

    if (img_get_be32(wrapped + KDF) != CSSM_PBKDF2 || salt > SALT_MOST || bytes > BLOB_MOST || bits > 8 * MOST_KEY ||
        img_get_be32(wrapped + IV_LENGTH) > IMG_CIPHER_BLOCK || how.iterations == 0 || bits == 0 ||
        (img_get_be32(wrapped + WRAP_MODE) != CSSM_CBC_PADDED && img_get_be32(wrapped + WRAP_MODE) != CSSM_CBC_IV8))
        return 0;
    img_pbkdf2(&how, key, bits / 8);
    memcpy(blob, wrapped + BLOB, bytes);
    right = unwrap(wrapped, key, blob, bytes) && holds_keys(header, blob, bytes);
    img_wipe(key, sizeof key);
    return right;
}

static struct img_crypt *make_crypt(const struct img_encrcdsa *header, const uint8_t *blob)
{
    const struct img_crypt_how how = {
        .cipher = img_cipher_find(header->key_bits == 128 ? "aes-128" : "aes-256"), .mode = IMG_MODE_CBC,
        .ivgen = IMG_IV_HMAC_SHA1, .iv_key = blob + header->key_bits / 8, .iv_key_length = IV_KEY,
        .sector = header->block,
    };

    return img_crypt_new(&how, blob);
}

int img_encrcdsa_unlock(const struct img_encrcdsa *header, const struct img_luks_place *place, const uint8_t *password,
                        size_t length, struct img_crypt **crypt, struct img_error *err)
{
    uint8_t pointer[POINTER], wrapped[WRAPPED], blob[BLOB_MOST];
    int ret = 0, found = 0;

    for (uint32_t i = 0; i < header->keys && ret == 0 && !found; i++) {
        ret = place->read(place->context, IMG_ENCRCDSA_HEADER + (uint64_t)i * POINTER, pointer, sizeof pointer, err);
        if (ret < 0 || img_get_be32(pointer + POINTER_TYPE) != BY_PASSWORD)
            continue;
        ret = place->read(place->context, img_get_be64(pointer + POINTER_OFFSET), wrapped, sizeof wrapped, err);
        found = ret == 0 && try_key(header, wrapped, password, length, blob);
    }
    if (found) {
        *crypt = make_crypt(header, blob);
        ret = *crypt ? 0 : img_error_memory(err);
    }
    img_wipe(blob, sizeof blob);
    return ret < 0 ? ret : found ? 0 : -ENOKEY;
}
#else
int img_encrcdsa_parse(const uint8_t bytes[IMG_ENCRCDSA_HEADER], struct img_encrcdsa *header, struct img_error *err)
{
    (void)bytes;
    (void)header;
    return img_error_set(err, ENOTSUP, "The image is encrypted, and nettle is not built in");
}

int img_encrcdsa_unlock(const struct img_encrcdsa *header, const struct img_luks_place *place, const uint8_t *password,
                        size_t length, struct img_crypt **crypt, struct img_error *err)
{
    (void)header, (void)place, (void)password, (void)length, (void)crypt;
    return img_error_set(err, ENOTSUP, "The image is encrypted, and nettle is not built in");
}
#endif
