/* SPDX-License-Identifier: MIT */
/*
 * The JSON text of a header of LUKS version 2, put into a header with right checksums; what follows a NUL is where a
 * key slot may lie.  Numbers that ask for time or memory are made small.  The first byte says what else is done to it.
 */
#include "codec/luks2.h"
#include <stdlib.h>
#include <string.h>

enum { BINARY = 4096, COPY = 16384, ALL = 2 * COPY, MOST_JSON = COPY - BINARY - 1 };

struct image {
    uint8_t *bytes;
    size_t size;
};

static int read_image(void *context, uint64_t offset, void *to, size_t length, struct img_error *err)
{
    const struct image *image = context;
    size_t there = offset < image->size ? image->size - (size_t)offset : 0;

    (void)err;
    memset(to, 0, length);
    memcpy(to, image->bytes + (there ? offset : 0), there < length ? there : length);
    return 0;
}

static void make_small(struct img_doc *doc)
{
    for (size_t i = 0; i < img_doc_count(doc); i++) {
        const char *key = img_doc_type(doc) == IMG_DOC_OBJECT ? img_doc_key_at(doc, i) : "";
        struct img_doc *one = img_doc_at(doc, i);
        uint64_t most = strcmp(key, "iterations") == 0 || strcmp(key, "time") == 0 ? 4 :
                        strcmp(key, "memory") == 0 ? 64 : 0;
        if (most && img_doc_get_uint(one) > most)
            img_doc_put_uint(doc, key, most);
        else
            make_small(one);
    }
}

static void put_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static void put_copy(uint8_t *copy, size_t at, uint64_t sequence, const char *json)
{
    memcpy(copy, at ? "SKUL\xba\xbe" : "LUKS\xba\xbe", 6);
    put_be(copy + 6, 2, 2);
    put_be(copy + 8, COPY, 8);
    put_be(copy + 16, sequence, 8);
    memcpy(copy + 72, "sha256", 6);
    put_be(copy + 256, at, 8);
    memcpy(copy + BINARY, json, strnlen(json, MOST_JSON));
    img_kdf_hash_of(img_kdf_hash_find("sha256"), copy, COPY, copy + 448);
}

static void use(struct image *image, const uint8_t *password, size_t length)
{
    const struct img_luks_place place = { read_image, image };
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *info = img_doc_object();
    struct img_luks_cipher how;
    struct img_luks2 luks;
    uint8_t key[IMG_CIPHER_KEY_MAX];

    if (img_luks2_read(&place, &luks, &err) == 0) {
        img_luks2_info(&luks, info);
        if (img_luks2_check(&luks, &err) == 0 &&
            img_luks2_unlock(&luks, &place, password, length, &how, key, &err) >= 0)
            img_crypt_free(img_luks_crypt(&how, luks.sector, key));
        img_luks2_free(&luks);
    }
    img_doc_free(info);
    img_error_clear(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 1 ? memchr(data + 1, 0, size - 1) : NULL;
    size_t text = end ? (size_t)(end - data) - 1 : size > 1 ? size - 1 : 0, rest = end ? size - text - 2 : 0;
    struct image image = { calloc(1, ALL + rest), ALL + rest };
    struct img_error err = IMG_ERROR_INIT;
    char *json = calloc(1, text + 1), *small = NULL;
    struct img_doc *doc;

    if (!image.bytes || !json)
        abort();
    if (text)
        memcpy(json, data + 1, text);
    doc = img_doc_parse(json, &err);
    if (doc) {
        make_small(doc);
        small = img_doc_json(doc, -1);
        put_copy(image.bytes, 0, 1, small);
        put_copy(image.bytes + COPY, COPY, data[0] & 1 ? 2 : 0, small);
        if (data[0] & 2)
            image.bytes[data[0]] ^= 1;
        if (rest)
            memcpy(image.bytes + ALL, end + 1, rest);
        use(&image, data, size % 16);
    }
    img_doc_free(doc);
    img_error_clear(&err);
    free(small);
    free(json);
    free(image.bytes);
    return 0;
}
