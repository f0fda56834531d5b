/* SPDX-License-Identifier: MIT */
/*
 * secret.c - the secrets that the user defined: decoded and decrypted when defined, and kept by id for the formats that
 * need a key.  Memory that held a secret is wiped before it is freed.
 */
#include "bytes.h"
#include "codec/base64.h"
#include "codec/cipher.h"
#include "object.h"
#include "util/strbuf.h"
#include "util/wipe.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KIND "secret"
enum { SECRET_KEY = 32 };

struct secret {
    struct img_object object;
    struct img_bytes value;
};

static int copy_text(const char *text, struct img_bytes *out, struct img_error *err)
{
    *out = (struct img_bytes){ 0 };
    if (img_bytes_enlarge(out, strlen(text), err) < 0)
        return -ENOMEM;
    out->length = strlen(text);
    memcpy(out->at, text, out->length + 1);
    return 0;
}

/* Decode the base64 text in `value`. */
static int decode(struct img_bytes *value, struct img_error *err)
{
    if (memchr(value->at, '\0', value->length))
        return img_error_set(err, EINVAL, "Base64 data contains embedded NUL characters");
    if (!img_base64_is((const char *)value->at, value->length))
        return img_error_set(err, EINVAL, "Base64 data contains invalid characters");
    value->length = img_base64_decode(value->at, (const char *)value->at, value->length);
    img_wipe(value->at + value->length, value->capacity - value->length);
    return 0;
}

static int get_iv(const char *text, uint8_t iv[IMG_CIPHER_BLOCK], struct img_error *err)
{
    struct img_bytes bytes;
    int ret;

    if (!text)
        return img_error_set(err, EINVAL, "IV is required to decrypt secret");
    if (copy_text(text, &bytes, err) < 0)
        return -ENOMEM;
    ret = decode(&bytes, err);
    if (ret == 0 && bytes.length != IMG_CIPHER_BLOCK)
        ret = img_error_set(err, EINVAL, "IV should be %d bytes in length not %zu", IMG_CIPHER_BLOCK, bytes.length);
    if (ret == 0)
        memcpy(iv, bytes.at, IMG_CIPHER_BLOCK);
    img_bytes_wipe(&bytes);
    return ret;
}

/* PKCS#7: the last byte is the number of padding bytes, all equal. */
static int unpad(struct img_bytes *value, struct img_error *err)
{
    unsigned padding = value->length ? value->at[value->length - 1] : 0;

    if (value->length == 0)
        return 0;
    if (padding == 0 || padding > IMG_CIPHER_BLOCK)
        return img_error_set(err, EINVAL, "Incorrect number of padding bytes (%u) found on decrypted data", padding);
    value->length -= padding;
    value->at[value->length] = 0;
    return 0;
}

static int decrypt(const struct img_secret *definition, struct img_bytes *value, struct img_error *err)
{
    const struct img_cipher *cipher = img_cipher_find("aes-256");
    uint8_t iv[IMG_CIPHER_BLOCK];
    size_t key_length;
    const unsigned char *key = img_secret_find(definition->key_id, &key_length, err);

    int ret;

    if (!cipher)
        return img_error_set(err, ENOTSUP, "Encrypted secrets are not built in (nettle was not there)");
    if (!key)
        return -err->code;
    if (key_length != SECRET_KEY)
        return img_error_set(err, EINVAL, "Key should be %d bytes in length", SECRET_KEY);
    if (get_iv(definition->iv, iv, err) < 0 || (definition->base64 && decode(value, err) < 0))
        return -err->code;
    if (value->length % IMG_CIPHER_BLOCK)
        return img_error_set(err, EINVAL, "Length %zu must be a multiple of block size %d", value->length,
                             IMG_CIPHER_BLOCK);
    ret = img_cbc_decrypt(cipher, key, iv, value->at, value->length);
    return ret < 0 ? img_error_memory(err) : unpad(value, err);
}

static int read_file(const char *name, struct img_bytes *out, struct img_error *err)
{
    return img_bytes_read(out, name, err) < 0 ? img_error_prefix(err, "Unable to read %s: ", name) : 0;
}

static int load(const struct img_secret *definition, struct img_bytes *value, struct img_error *err)
{
    int ret = 0;

    if (definition->file && definition->data)
        return img_error_set(err, EINVAL, "'file' and 'data' are mutually exclusive");
    if (!definition->file && !definition->data)
        return img_error_set(err, EINVAL, "Either 'file' or 'data' must be provided");
    if (definition->file)
        ret = read_file(definition->file, value, err);
    else
        ret = copy_text(definition->data, value, err);
    if (ret < 0)
        return ret;
    if (definition->key_id)
        return decrypt(definition, value, err);
    return definition->base64 ? decode(value, err) : 0;
}

static void release(struct img_object *object)
{
    img_bytes_wipe(&((struct secret *)object)->value);
}

int img_secret_add(const struct img_secret *definition, struct img_error *err)
{
    struct secret *secret;
    int ret = img_object_check_new(definition->id, err);

    if (ret < 0)
        return ret;
    secret = img_calloc(1, sizeof *secret);
    if (!secret)
        return img_error_memory(err);
    secret->object.release = release;
    ret = load(definition, &secret->value, err);
    if (ret == 0)
        ret = img_object_put(&secret->object, KIND, definition->id, err);
    if (ret < 0) {
        img_bytes_wipe(&secret->value);
        free(secret);
    }
    return ret;
}

static void no_secret(const char *id, struct img_error *err)
{
    img_error_set(err, ENOENT, "No secret with id '%s'", id);
    img_error_advise(err, "'--object secret,id=%s,file=PATH' defines it", id);
}

const unsigned char *img_secret_find(const char *id, size_t *length, struct img_error *err)
{
    bool other;
    const struct secret *secret = (const struct secret *)img_object_find(KIND, id, &other);

    if (secret) {
        *length = secret->value.length;
        return secret->value.at;
    }
    if (other)
        img_error_set(err, EINVAL, "Object with id '%s' is not a secret", id);
    else
        no_secret(id, err);
    return NULL;
}
