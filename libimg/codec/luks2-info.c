/* SPDX-License-Identifier: MIT */
/* luks2-info.c - what info shows of LUKS version 2: all that needs no key, with the names that the header has. */
#ifdef HAVE_NETTLE
#include "luks2-json.h"
#include <string.h>

/* Copy a text, and a number in a text as a number. */
static void put_text(struct img_doc *to, const char *name, const struct img_doc *from, const char *key)
{
    const char *text = img_doc_string_at(from, key);
    uint64_t number;

    if (text && img_luks2_number(from, key, &number))
        img_doc_put_uint(to, name, number);
    else if (text)
        img_doc_put_string(to, name, text);
}

static void put_small(struct img_doc *to, const char *name, const struct img_doc *from, const char *key)
{
    uint32_t number;

    if (img_luks2_small(from, key, 0, UINT32_MAX, &number))
        img_doc_put_uint(to, name, number);
}

static void describe_segment(const struct img_doc *from, struct img_doc *one)
{
    put_text(one, "encryption", from, "encryption");
    put_text(one, "offset", from, "offset");
    put_text(one, "size", from, "size");
    put_small(one, "sector-size", from, "sector_size");
    put_text(one, "integrity", img_doc_get(from, "integrity"), "type");
}

static void describe_slot(const struct img_doc *from, struct img_doc *one)
{
    const struct img_doc *kdf = img_doc_get(from, "kdf");

    put_small(one, "priority", from, "priority");
    put_text(one, "pbkdf", kdf, "type");
    put_text(one, "hash-alg", kdf, "hash");
    put_small(one, "iters", kdf, "iterations");
    put_small(one, "time-cost", kdf, "time");
    put_small(one, "memory-kib", kdf, "memory");
    put_small(one, "threads", kdf, "cpus");
    put_text(one, "key-offset", img_doc_get(from, "area"), "offset");
}

/* Of a token, the type says enough: what it holds belongs to a program. */
static void describe_token(const struct img_doc *from, struct img_doc *one)
{
    (void)from;
    (void)one;
}

/* The members of an object as a list, each with its name and type first. */
static struct img_doc *list_of(const struct img_doc *all,
                               void (*describe)(const struct img_doc *from, struct img_doc *one))
{
    struct img_doc *list = img_doc_array();

    for (size_t i = 0; i < img_doc_count(all); i++) {
        const struct img_doc *from = img_doc_at(all, i);
        struct img_doc *one = img_doc_object();
        img_doc_put_string(one, "id", img_doc_key_at(all, i));
        put_text(one, "type", from, "type");
        describe(from, one);
        img_doc_append(list, one);
    }
    return list;
}

/* Flags and requirements: lists of texts. */
static void put_list(struct img_doc *data, const char *name, const struct img_doc *from)
{
    struct img_doc *list = img_doc_array();

    for (size_t i = 0; i < img_doc_count(from); i++) {
        const char *text = img_doc_get_string(img_doc_at(from, i));
        if (text)
            img_doc_append(list, img_doc_string(text));
    }
    if (img_doc_count(list))
        img_doc_put(data, name, list);
    else
        img_doc_free(list);
}

void img_luks2_info(const struct img_luks2 *luks, struct img_doc *data)
{
    const struct img_doc *tokens = img_doc_get(luks->json, "tokens");

    img_doc_put_uint(data, "version", 2);
    img_doc_put_string(data, "uuid", luks->uuid);
    if (luks->label[0])
        img_doc_put_string(data, "label", luks->label);
    if (luks->subsystem[0])
        img_doc_put_string(data, "subsystem", luks->subsystem);
    img_doc_put_uint(data, "header-size", luks->header_size);
    img_doc_put_uint(data, "sequence", luks->sequence);
    img_doc_put_bool(data, "second-header", luks->second);
    img_doc_put(data, "segments", list_of(img_doc_get(luks->json, "segments"), describe_segment));
    img_doc_put(data, "keyslots", list_of(img_doc_get(luks->json, "keyslots"), describe_slot));
    if (img_doc_count(tokens))
        img_doc_put(data, "tokens", list_of(tokens, describe_token));
    put_list(data, "flags", img_luks2_at(luks->json, "config", "flags"));
    put_list(data, "requirements", img_doc_get(img_luks2_at(luks->json, "config", "requirements"), "mandatory"));
}
#endif
