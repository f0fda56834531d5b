/* SPDX-License-Identifier: MIT */
/*
 * secret.c - the secrets that the user defined: decoded and decrypted when they are defined, kept by id for
 * the formats that need a key.
 */
#include "codec/aes.h"
#include "img.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "util/vector.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = 16 << 20 };

struct bytes {
    unsigned char *at;              /* with a NUL behind */
    size_t length;
};

struct secret {
    char *id;
    struct bytes value;
};

static IMG_VECTOR(struct secret) secrets;

static int value_of(int c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Missing padding at the end is overlooked, line ends do not count. */
static int decode_base64(const struct bytes *text, struct bytes *out, struct img_error *err)
{
    unsigned held = 0, bits = 0;
    bool padded = false;

    *out = (struct bytes){ img_xmalloc(text->length + 1), 0 };
    for (size_t i = 0; i < text->length; i++) {
        int c = text->at[i], value = value_of(c);
        if (c == '\n' || c == '\r')
            continue;
        if (c != '=' && (value < 0 || padded)) {
            free(out->at);
            return img_error_set(err, EINVAL, "Base64 data contains invalid characters");
        }
        padded |= c == '=';
        if (padded)
            continue;
        held = held << 6 | (unsigned)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out->at[out->length++] = (unsigned char)(held >> bits);
        }
    }
    out->at[out->length] = 0;
    return 0;
}

/* `value` becomes what it is the base64 of. */
static int replace_decoded(struct bytes *value, struct img_error *err)
{
    struct bytes decoded;
    int ret = decode_base64(value, &decoded, err);

    if (ret < 0)
        return ret;
    free(value->at);
    *value = decoded;
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
    size_t capacity = 4096;
    ssize_t n;

    if (fd < 0)
        return read_failed(name, "Failed to open", errno, err);
    *out = (struct bytes){ img_xmalloc(capacity + 1), 0 };
    while ((n = read(fd, out->at + out->length, capacity - out->length)) > 0) {
        out->length += (size_t)n;
        if (out->length == capacity && capacity < SECRET_MAX)
            out->at = img_xrealloc(out->at, (capacity *= 2) + 1);
    }
    if (n < 0) {
        int code = errno;
        free(out->at);
        out->at = NULL;
        return read_failed(name, "Error reading", code, err);
    }
    out->at[out->length] = 0;
    return 0;
}

static const struct secret *find(const char *id)
{
    for (size_t i = 0; i < secrets.count; i++) {
        if (strcmp(secrets.at[i].id, id) == 0)
            return &secrets.at[i];
    }
    return NULL;
}

static int get_iv(const char *text, struct bytes *iv, struct img_error *err)
{
    struct bytes coded;
    int ret;

    if (!text)
        return img_error_set(err, EINVAL, "IV is required to decrypt secret");
    coded = (struct bytes){ (unsigned char *)(uintptr_t)text, strlen(text) };
    ret = decode_base64(&coded, iv, err);
    if (ret < 0 || iv->length == IMG_AES_BLOCK)
        return ret;
    img_error_set(err, EINVAL, "IV should be %d bytes in length not %zu", IMG_AES_BLOCK, iv->length);
    free(iv->at);
    return -EINVAL;
}

/* PKCS#7: the last byte says how many there are of its kind. */
static int unpad(struct bytes *value, struct img_error *err)
{
    unsigned padding = value->length ? value->at[value->length - 1] : 0;

    if (value->length == 0)
        return 0;
    if (padding == 0 || padding > IMG_AES_BLOCK)
        return img_error_set(err, EINVAL, "Incorrect number of padding bytes (%u) found on decrypted data", padding);
    value->length -= padding;
    value->at[value->length] = 0;
    return 0;
}

static int decrypt(const struct img_secret *definition, struct bytes *value, struct img_error *err)
{
    CLEANUP_FREE unsigned char *iv_bytes = NULL;
    size_t key_length;
    const unsigned char *key = img_secret_find(definition->key_id, &key_length, err);
    struct bytes iv;

    if (!key)
        return -err->code;
    if (key_length != IMG_AES256_KEY)
        return img_error_set(err, EINVAL, "Key should be %d bytes in length", IMG_AES256_KEY);
    if (get_iv(definition->iv, &iv, err) < 0)
        return -EINVAL;
    iv_bytes = iv.at;
    if (definition->base64 && replace_decoded(value, err) < 0)
        return -EINVAL;
    if (value->length % IMG_AES_BLOCK)
        return img_error_set(err, EINVAL, "Length %zu must be a multiple of block size %d", value->length,
                             IMG_AES_BLOCK);
    img_aes256_cbc_decrypt(key, iv.at, value->at, value->length);
    return unpad(value, err);
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
        *value = (struct bytes){ (unsigned char *)img_xstrdup(definition->data), strlen(definition->data) };
    if (ret < 0)
        return ret;
    if (definition->key_id)
        return decrypt(definition, value, err);
    return definition->base64 ? replace_decoded(value, err) : 0;
}

int img_secret_add(const struct img_secret *definition, struct img_error *err)
{
    struct secret secret = { 0 };
    int ret;

    if (find(definition->id))
        return img_error_set(err, EEXIST, "attempt to add duplicate property '%s' to object (type 'container')",
                             definition->id);
    ret = load(definition, &secret.value, err);
    if (ret < 0) {
        free(secret.value.at);
        return ret;
    }
    secret.id = img_xstrdup(definition->id);
    IMG_VECTOR_PUSH(&secrets, secret);
    return 0;
}

const unsigned char *img_secret_find(const char *id, size_t *length, struct img_error *err)
{
    const struct secret *secret = find(id);

    if (!secret) {
        img_error_set(err, ENOENT, "No secret with id '%s'", id);
        return NULL;
    }
    *length = secret->value.length;
    return secret->value.at;
}
