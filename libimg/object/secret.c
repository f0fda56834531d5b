/* SPDX-License-Identifier: MIT */
/*
 * secret.c - the secrets that the user defined: decoded and decrypted when defined, and kept by id for the formats that
 * need a key.  Memory that held a secret is wiped before it is freed.
 */
#include "codec/base64.h"
#include "codec/cipher.h"
#include "object.h"
#include "util/cleanup.h"
#include "util/guarded.h"
#include "util/strbuf.h"
#include "util/wipe.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIND "secret"
enum { SECRET_START = 4096, SECRET_MAX = 64 << 20, SECRET_KEY = 32 };

struct bytes {
    unsigned char *at;              /* followed by a NUL */
    size_t length, capacity;
};

struct secret {
    struct img_object object;
    struct bytes value;
};

static void wipe(struct bytes *bytes)
{
    img_guarded_free(bytes->at, bytes->capacity);
    *bytes = (struct bytes){ 0 };
}

/* Make room for `capacity` bytes and a NUL.  realloc could leave a copy of the secret behind. */
static int enlarge(struct bytes *bytes, size_t capacity, struct img_error *err)
{
    struct bytes larger = { img_guarded_new(capacity + 1), bytes->length, capacity + 1 };

    if (!larger.at)
        return img_error_memory(err);
    if (bytes->length)
        memcpy(larger.at, bytes->at, bytes->length);
    wipe(bytes);
    *bytes = larger;
    return 0;
}

static int copy_text(const char *text, struct bytes *out, struct img_error *err)
{
    *out = (struct bytes){ 0 };
    if (enlarge(out, strlen(text), err) < 0)
        return -ENOMEM;
    out->length = strlen(text);
    memcpy(out->at, text, out->length + 1);
    return 0;
}

/* Decode the base64 text in `value`. */
static int decode(struct bytes *value, struct img_error *err)
{
    if (memchr(value->at, '\0', value->length))
        return img_error_set(err, EINVAL, "Base64 data contains embedded NUL characters");
    if (!img_base64_is((const char *)value->at, value->length))
        return img_error_set(err, EINVAL, "Base64 data contains invalid characters");
    value->length = img_base64_decode(value->at, (const char *)value->at, value->length);
    img_wipe(value->at + value->length, value->capacity - value->length);
    return 0;
}

static int read_failed(const char *name, const char *what, int code, struct img_error *err)
{
    return img_error_set(err, code, "Unable to read %s: %s file \u201c%s\u201d: %s", name, what, name,
                         img_strerror(code));
}

static int read_file(const char *name, struct bytes *out, struct img_error *err)
{
    CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return read_failed(name, "Failed to open", errno, err);
    if (enlarge(out, SECRET_START, err) < 0)
        return -ENOMEM;
    while ((n = read(fd, out->at + out->length, out->capacity - 1 - out->length)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return read_failed(name, "Error reading", errno, err);
        out->length += (size_t)n;
        if (out->length > SECRET_MAX)
            return read_failed(name, "Error reading", EFBIG, err);
        if (out->length == out->capacity - 1 && enlarge(out, 2 * out->length, err) < 0)
            return -ENOMEM;
    }
    out->at[out->length] = 0;
    return 0;
}

static int get_iv(const char *text, uint8_t iv[IMG_CIPHER_BLOCK], struct img_error *err)
{
    struct bytes bytes;
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
    wipe(&bytes);
    return ret;
}

/* PKCS#7: the last byte is the number of padding bytes, all equal. */
static int unpad(struct bytes *value, struct img_error *err)
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

static int decrypt(const struct img_secret *definition, struct bytes *value, struct img_error *err)
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

static int load(const struct img_secret *definition, struct bytes *value, struct img_error *err)
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
    wipe(&((struct secret *)object)->value);
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
        wipe(&secret->value);
        free(secret);
    }
    return ret;
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
        img_error_set(err, ENOENT, "No secret with id '%s'", id);
    return NULL;
}
