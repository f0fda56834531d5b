/* SPDX-License-Identifier: MIT */
/* What the options say: where the image is, and as whom to ask for it. */
#include "rbd.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lists: arrays, or objects whose keys count from 0 ------------------------------------------- */

/* A number of a list without leading zeroes; -1: it is none. */
static long index_of(const char *key)
{
    char *end;
    long number = *key >= '0' && *key <= '9' ? strtol(key, &end, 10) : -1;

    return number >= 0 && !*end && (*key != '0' || !key[1]) ? number : -1;
}

/* *count: of the members of options->name; 0 if there is no such list. */
static int count_list(const struct img_doc *options, const char *name, size_t *count, struct img_error *err)
{
    const struct img_doc *list = img_doc_get(options, name);
    long largest = -1;

    *count = list ? img_doc_count(list) : 0;
    if (!list || img_doc_type(list) == IMG_DOC_ARRAY)
        return 0;
    for (size_t i = 0; img_doc_type(list) == IMG_DOC_OBJECT && i < *count; i++) {
        long number = index_of(img_doc_key_at(list, i));
        if (number < 0) {
            largest = -1;
            break;
        }
        largest = number > largest ? number : largest;
    }
    if (largest < 0)
        return img_error_set(err, EINVAL, "Invalid parameter type for '%s', expected: array", name);
    if ((size_t)largest + 1 != *count)
        return img_error_set(err, EINVAL, "List indices are not contiguous, saw %zu elements but %ld largest index",
                             *count, largest);
    return 0;
}

static struct img_doc *member_of(const struct img_doc *options, const char *name, size_t index)
{
    const struct img_doc *list = img_doc_get(options, name);
    char key[24];

    if (img_doc_type(list) == IMG_DOC_ARRAY)
        return img_doc_at(list, index);
    snprintf(key, sizeof key, "%zu", index);
    return img_doc_get(list, key);
}

/* Append one of several, with `between` before it unless it is the first. */
static void append(struct img_strbuf *text, const char *between, const char *more)
{
    if (text->length)
        img_strbuf_add(text, between);
    img_strbuf_add(text, more);
}

/* ---- How to prove who asks ------------------------------------------------------------------------- */

static int take_methods(struct img_doc *options, struct rbd_target *target, struct img_error *err)
{
    static const char name[] = "auth-client-required";
    struct img_strbuf text = { 0 };
    size_t count;
    int ret = count_list(options, name, &count, err);

    for (size_t i = 0; ret == 0 && i < count; i++) {
        const struct img_doc *member = member_of(options, name, i);
        const char *method = img_doc_type(member) == IMG_DOC_STRING ? img_doc_get_string(member) : "";
        if (strcmp(method, "cephx") != 0 && strcmp(method, "none") != 0)
            ret = img_error_set(err, EINVAL, "Parameter 'null' does not accept value '%s'", method);
        else
            append(&text, ";", method);
    }
    img_doc_remove(options, name);
    target->methods = img_strbuf_take(&text);
    if (ret == 0 && count && !target->methods)
        ret = img_error_memory(err);
    if (!count) {
        free(target->methods);
        target->methods = NULL;
    }
    return ret;
}

static void encode_base64(char *to, const unsigned char *from, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < length; i += 3, to += 4) {
        size_t left = length - i;
        unsigned group = (unsigned)from[i] << 16 | (left > 1 ? (unsigned)from[i + 1] << 8 : 0) |
                         (left > 2 ? from[i + 2] : 0);
        to[0] = digits[group >> 18];
        to[1] = digits[group >> 12 & 63];
        to[2] = '=';
        to[3] = '=';
        if (left > 1)
            to[2] = digits[group >> 6 & 63];
        if (left > 2)
            to[3] = digits[group & 63];
    }
    *to = 0;
}

static void free_key(struct rbd_target *target)
{
    if (target->key)
        img_wipe(target->key, strlen(target->key));
    free(target->key);
    target->key = NULL;
}

static int take_key(const char *id, struct rbd_target *target, struct img_error *err)
{
    const unsigned char *bytes;
    size_t length;

    if (!id)
        return 0;
    bytes = img_secret_find(id, &length, err);
    if (!bytes)
        return -err->code;
    free_key(target);
    target->key = img_malloc((length + 2) / 3 * 4 + 1);
    if (!target->key)
        return img_error_memory(err);
    encode_base64(target->key, bytes, length);
    return 0;
}

/* ---- The monitors ------------------------------------------------------------------------------------ */

static int take_member(const struct img_doc *server, size_t index, const char *key, char **value, struct img_error *err)
{
    if (img_options_text(img_doc_get(server, key), value) < 0)
        return img_error_memory(err);
    return *value ? 0 : img_error_set(err, EINVAL, "Parameter 'server.%zu.%s' is missing", index, key);
}

static int add_monitor(struct img_doc *server, size_t index, struct img_strbuf *text, struct img_error *err)
{
    CLEANUP_FREE char *host = NULL, *port = NULL, *address = NULL;

    if (img_doc_type(server) != IMG_DOC_OBJECT)
        return img_error_set(err, EINVAL, "Invalid parameter type for 'server.%zu', expected: object", index);
    if (take_member(server, index, "host", &host, err) < 0 || take_member(server, index, "port", &port, err) < 0)
        return -err->code;
    img_doc_remove(server, "host");
    img_doc_remove(server, "port");
    if (img_doc_count(server))
        return img_error_set(err, EINVAL, "Parameter 'server.%zu.%s' is unexpected", index, img_doc_key_at(server, 0));
    address = strchr(host, ':') ? img_asprintf("[%s]:%s", host, port) : img_asprintf("%s:%s", host, port);
    if (!address)
        return img_error_memory(err);
    append(text, ";", address);
    return 0;
}

static int take_monitors(struct img_doc *options, struct rbd_target *target, struct img_error *err)
{
    struct img_strbuf text = { 0 };
    size_t count;
    int ret = count_list(options, "server", &count, err);

    for (size_t i = 0; ret == 0 && i < count; i++)
        ret = add_monitor(member_of(options, "server", i), i, &text, err);
    img_doc_remove(options, "server");
    if (ret == 0 && count && !(target->monitors = img_strbuf_take(&text)))
        ret = img_error_memory(err);
    img_strbuf_free(&text);
    return ret;
}

/* ---- The settings of a name --------------------------------------------------------------------------- */

/* They come from rbd_parse_name; but a json: name may have anything. */
static int take_pairs(struct img_doc *options, struct rbd_target *target, struct img_error *err)
{
    struct img_doc *pairs = target->pairs = img_doc_take(options, RBD_PAIRS);
    bool sound = !pairs || (img_doc_type(pairs) == IMG_DOC_ARRAY && img_doc_count(pairs) % 2 == 0);

    for (size_t i = 0; sound && pairs && i < img_doc_count(pairs); i++)
        sound = img_doc_type(img_doc_at(pairs, i)) == IMG_DOC_STRING;
    return sound ? 0 : img_error_set(err, EINVAL, "Parameter '%s' is unexpected", RBD_PAIRS);
}

/* ---- All of it --------------------------------------------------------------------------------------- */

static int take_places(const struct rbd_open_options *given, struct rbd_target *target, struct img_error *err)
{
    if (!given->pool)
        return img_error_set(err, EINVAL, "Parameter 'pool' is missing");
    if (!given->image)
        return img_error_set(err, EINVAL, "Parameter 'image' is missing");
    if (img_replace_text(&target->pool, given->pool) < 0 || img_replace_text(&target->image, given->image) < 0 ||
        img_replace_text(&target->space, given->space) < 0 || img_replace_text(&target->conf, given->conf) < 0 ||
        img_replace_text(&target->snapshot, given->snapshot) < 0 || img_replace_text(&target->user, given->user) < 0)
        return img_error_memory(err);
    return 0;
}

static int take_all(struct img_doc *options, const struct rbd_open_options *given, struct rbd_target *target,
                    struct img_error *err)
{
    int ret = take_places(given, target, err);

    if (ret == 0)
        ret = take_pairs(options, target, err);
    if (ret == 0)
        ret = rbd_encryption_take(options, &target->encryption, err);
    if (ret == 0)
        ret = take_methods(options, target, err);
    if (ret == 0)
        ret = take_monitors(options, target, err);
    if (ret == 0 && img_doc_count(options))
        ret = img_error_set(err, EINVAL, "Parameter '%s' is unexpected", img_doc_key_at(options, 0));
    if (ret == 0)
        ret = take_key(given->password_secret, target, err);
    if (ret == 0)
        ret = take_key(given->key_secret, target, err);
    return ret;
}

int rbd_target_take(struct img_doc *options, const struct rbd_open_options *given, struct rbd_target *target,
                    struct img_error *err)
{
    int ret = img_check_seconds("timeout", given->timeout, err);

    *target = (struct rbd_target){ .timeout = ret == 0 ? (unsigned)given->timeout : 0 };
    if (ret == 0)
        ret = take_all(options, given, target, err);
    if (ret < 0)
        rbd_target_free(target);
    return ret;
}

int rbd_target_take_name(const char *name, const struct rbd_open_options *given, struct rbd_target *target,
                         struct img_error *err)
{
    const struct img_driver *driver = &img_driver_rbd;
    struct img_named named;
    int ret;

    img_notice(IMG_WARNING, "RBD options encoded in the filename as keyvalue pairs is deprecated");
    ret = img_named_options(driver, name, &named, err);
    if (ret == 0) {
        struct rbd_open_options *options = named.options;
        options->timeout = given->timeout;
        ret = rbd_target_take(named.rest, options, target, err);
    }
    img_named_free(driver, &named);
    return ret;
}

void rbd_target_free(struct rbd_target *target)
{
    free_key(target);
    rbd_encryption_free(&target->encryption);
    free(target->pool);
    free(target->space);
    free(target->image);
    free(target->snapshot);
    free(target->conf);
    free(target->user);
    free(target->monitors);
    free(target->methods);
    img_doc_free(target->pairs);
    *target = (struct rbd_target){ .pool = NULL };
}
