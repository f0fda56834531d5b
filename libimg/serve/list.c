/* SPDX-License-Identifier: MIT */
/*
 * list.c - the exports of another server: their names (LIST), and for each its size, flags and block sizes (INFO) and
 * its metadata contexts (LIST_META_CONTEXT).  A server that knows only some of these options tells less.
 */
#include "../serve.h"
#include "net/nbd-ask.h"
#include "util/clock.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/strbuf.h"
#include <errno.h>
#include <string.h>

/* Bounds for a server that never ends: */
enum { MAX_MILLISECONDS = 60000, MAX_EXPORTS = 10000, MAX_CONTEXTS = 1000, MAX_ANSWERS = 1000 };
/* An answer to LIST has a name and a description.  Of the others, what is too long to be of use is skipped. */
enum { LIST_MOST = 4 + 2 * NBD_MAX_STRING, INFO_MOST = 2 + 4 * NBD_MAX_STRING, META_MOST = 4 + 4 * NBD_MAX_STRING };

#define QEMU "qemu:"

/* A document has no member for want of memory: it is broken, and refused at the end. */
static void put_text(struct img_doc *object, const char *key, const void *bytes, size_t length)
{
    CLEANUP_FREE char *text = img_strndup(bytes, length);

    img_doc_put(object, key, text ? img_doc_string(text) : NULL);
}

/* ---- LIST ----------------------------------------------------------------------------- */

/* 1: an export was added; 0: that was the last. */
static int take_export(const struct img_nbd_answer *answer, struct img_doc *list, struct img_error *err)
{
    struct img_doc *export;
    uint32_t name;

    if (answer->type == NBD_REP_ACK)
        return answer->length ? img_error_set(err, EINVAL, "length too long for option end") : 0;
    if (answer->type != NBD_REP_SERVER)
        return img_error_set(err, EINVAL, "Unexpected reply type %u (%s), expected %u (server)", answer->type,
                             img_nbd_reply_name(answer->type), (unsigned)NBD_REP_SERVER);
    if (answer->length < 4)
        return img_error_set(err, EINVAL, "incorrect option length %u", answer->length);
    name = img_get_be32(answer->bytes);
    if (name > NBD_MAX_STRING || name > answer->length - 4)
        return img_error_set(err, EINVAL, "incorrect name length in server's list response");
    if (answer->length - 4 - name > NBD_MAX_STRING)
        return img_error_set(err, EINVAL, "incorrect description length in server's list response");
    if (img_doc_count(list) >= MAX_EXPORTS)
        return img_error_set(err, E2BIG, "The server has more than %d exports", MAX_EXPORTS);
    export = img_doc_object();
    put_text(export, "name", answer->bytes + 4, name);
    if (answer->length > 4 + name)
        put_text(export, "description", answer->bytes + 4 + name, answer->length - 4 - name);
    img_doc_append(list, export);
    return 1;
}

static int ask_names(struct img_nbd_peer *peer, struct img_doc *list, struct img_error *err)
{
    struct img_nbd_answer answer;
    int ret = img_nbd_ask(peer, NBD_OPT_LIST, NULL, 0, err), more = 1;

    if (ret < 0)
        return ret;
    while (more > 0) {
        ret = img_nbd_answer(peer, NBD_OPT_LIST, LIST_MOST, true, &answer, err);
        if (ret <= 0)
            return ret;             /* a server without LIST: the list is empty, as in qemu-nbd */
        more = take_export(&answer, list, err);
        free(answer.bytes);
    }
    return more;
}

/* ---- INFO ------------------------------------------------------------------------------- */

static int take_block_sizes(const unsigned char *bytes, struct img_doc *export, struct img_error *err)
{
    uint32_t min = img_get_be32(bytes), opt = img_get_be32(bytes + 4), max = img_get_be32(bytes + 8);

    if (!img_power_of_two(min))
        return img_error_set(err, EINVAL, "server minimum block size %u is not a power of two", min);
    if (!img_power_of_two(opt) || opt < min)
        return img_error_set(err, EINVAL, "server preferred block size %u is not valid", opt);
    if (max < min)
        return img_error_set(err, EINVAL, "server maximum block size %u is not valid", max);
    img_doc_put_uint(export, "min-block", min);
    img_doc_put_uint(export, "opt-block", opt);
    img_doc_put_uint(export, "max-block", max);
    return 0;
}

static int take_info(const struct img_nbd_answer *answer, struct img_doc *export, struct img_error *err)
{
    uint32_t length = answer->length - 2;
    uint16_t type;

    if (answer->length < 2)
        return img_error_set(err, EINVAL, "NBD_REP_INFO length %u is too short", answer->length);
    type = img_get_be16(answer->bytes);
    if ((type == NBD_INFO_EXPORT && length != 10) || (type == NBD_INFO_BLOCK_SIZE && length != 12))
        return img_error_set(err, EINVAL, "remaining export info len %u is unexpected size", length);
    if (type == NBD_INFO_EXPORT) {
        img_doc_put_uint(export, "size", img_get_be64(answer->bytes + 2));
        img_doc_put_uint(export, "flags", img_get_be16(answer->bytes + 10));
    } else if (type == NBD_INFO_BLOCK_SIZE) {
        return take_block_sizes(answer->bytes + 2, export, err);
    } else if (type == NBD_INFO_DESCRIPTION && length && length <= NBD_MAX_STRING &&
               !img_doc_get(export, "description")) {
        put_text(export, "description", answer->bytes + 2, length);
    }
    return 0;
}

/* 1: an answer; 0: the last. */
static int take_info_answer(const struct img_nbd_answer *answer, struct img_doc *export, struct img_error *err)
{
    int ret;

    if (answer->type == NBD_REP_ACK) {
        if (answer->length)
            return img_error_set(err, EINVAL, "server sent invalid NBD_REP_ACK");
        if (!img_doc_get(export, "flags") || !img_doc_get_uint(img_doc_get(export, "flags")))
            return img_error_set(err, EINVAL, "broken server omitted NBD_INFO_EXPORT");
        return 0;
    }
    if (answer->type != NBD_REP_INFO)
        return img_error_set(err, EINVAL, "unexpected reply type %u (%s), expected %u (info)", answer->type,
                             img_nbd_reply_name(answer->type), (unsigned)NBD_REP_INFO);
    ret = take_info(answer, export, err);
    return ret < 0 ? ret : 1;
}

/* The description is asked for only if LIST did not tell it. */
static int ask_info(struct img_nbd_peer *peer, struct img_doc *export, struct img_error *err)
{
    const char *name = img_doc_string_at(export, "name");
    size_t length = strlen(name);
    unsigned char data[4 + NBD_MAX_STRING + 6];
    uint16_t count = img_doc_get(export, "description") ? 1 : 2;
    struct img_nbd_answer answer;
    int ret, more = 1;

    img_put_be32(data, (uint32_t)length);
    memcpy(data + 4, name, length);
    img_put_be16(data + 4 + length, count);
    img_put_be16(data + 6 + length, NBD_INFO_BLOCK_SIZE);
    img_put_be16(data + 8 + length, NBD_INFO_DESCRIPTION);
    ret = img_nbd_ask(peer, NBD_OPT_INFO, data, 6 + length + 2u * count, err);
    if (ret < 0)
        return ret;
    for (unsigned n = 0; more > 0; n++) {
        if (n == MAX_ANSWERS)
            return img_error_set(err, E2BIG, "The server does not stop to tell about an export");
        ret = img_nbd_answer(peer, NBD_OPT_INFO, INFO_MOST, true, &answer, err);
        if (ret <= 0)
            return ret;             /* the server knows no INFO: nothing more is known */
        more = take_info_answer(&answer, export, err);
        free(answer.bytes);
    }
    return more;
}

/* ---- LIST_META_CONTEXT --------------------------------------------------------------------- */

/* 1: a context; 0: the last. */
static int take_context(const struct img_nbd_answer *answer, struct img_doc *contexts, struct img_error *err)
{
    CLEANUP_FREE char *text = NULL;

    if (answer->type == NBD_REP_ACK)
        return answer->length ? img_error_set(err, EINVAL, "Unexpected length to ACK response") : 0;
    if (answer->type != NBD_REP_META_CONTEXT)
        return img_error_set(err, EINVAL, "Unexpected reply type %u (%s), expected %u (meta context)", answer->type,
                             img_nbd_reply_name(answer->type), (unsigned)NBD_REP_META_CONTEXT);
    if (answer->length <= 4)
        return img_error_set(err, EINVAL, "Failed to negotiate meta context, server answered with unexpected length %u",
                             answer->length);
    if (img_doc_count(contexts) >= MAX_CONTEXTS)
        return img_error_set(err, E2BIG, "An export has more than %d meta contexts", MAX_CONTEXTS);
    text = img_strndup((const char *)answer->bytes + 4, answer->length - 4);
    img_doc_append(contexts, text ? img_doc_string(text) : NULL);
    return 1;
}

/* `query` NULL: all contexts.  1: the server has answered, 0: it knows no such option. */
static int ask_contexts(struct img_nbd_peer *peer, const char *name, const char *query, struct img_doc *contexts,
                        struct img_error *err)
{
    size_t length = strlen(name), more_length = query ? strlen(query) : 0, total = 8 + length;
    unsigned char data[4 + NBD_MAX_STRING + 4 + 4 + 16];
    struct img_nbd_answer answer;
    int ret, more = 1;

    img_put_be32(data, (uint32_t)length);
    memcpy(data + 4, name, length);
    img_put_be32(data + 4 + length, query != NULL);
    if (query) {
        img_put_be32(data + total, (uint32_t)more_length);
        memcpy(data + total + 4, query, more_length);
        total += 4 + more_length;
    }
    ret = img_nbd_ask(peer, NBD_OPT_LIST_META_CONTEXT, data, total, err);
    if (ret < 0)
        return ret;
    while (more > 0) {
        ret = img_nbd_answer(peer, NBD_OPT_LIST_META_CONTEXT, META_MOST, false, &answer, err);
        if (ret <= 0)
            return ret;
        more = take_context(&answer, contexts, err);
        free(answer.bytes);
    }
    return more < 0 ? more : 1;
}

static bool has_prefix(const struct img_doc *contexts, const char *prefix)
{
    for (size_t i = 0; i < img_doc_count(contexts); i++) {
        const struct img_doc *context = img_doc_at(contexts, i);

        if (strncmp(img_doc_get_string(context), prefix, strlen(prefix)) == 0)
            return true;
    }
    return false;
}

/* A server need not name all contexts when it is asked for any, so those of QEMU are asked for by their prefix, too. */
static int ask_all_contexts(struct img_nbd_peer *peer, struct img_doc *export, struct img_error *err)
{
    const char *name = img_doc_string_at(export, "name");
    struct img_doc *contexts = img_doc_array();
    int ret = ask_contexts(peer, name, NULL, contexts, err);

    if (ret > 0 && !img_doc_broken(contexts) && !has_prefix(contexts, QEMU))
        ret = ask_contexts(peer, name, QEMU, contexts, err);
    img_doc_put(export, "contexts", contexts);
    return ret < 0 ? ret : 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* How the server would talk to a client that knows all ways. */
static int ask_mode(struct img_nbd_peer *peer, const char **mode, struct img_error *err)
{
    int ret = img_nbd_may(peer, NBD_OPT_EXTENDED_HEADERS, false, err);

    *mode = "extended";
    if (ret != 0)
        return ret;
    ret = img_nbd_may(peer, NBD_OPT_STRUCTURED_REPLY, false, err);
    *mode = ret > 0 ? "structured" : "simple";
    return ret;
}

static int ask_exports(struct img_nbd_peer *peer, struct img_doc *list, struct img_error *err)
{
    const char *mode;
    int structured = ask_mode(peer, &mode, err), ret = structured < 0 ? structured : ask_names(peer, list, err);

    if (ret == 0 && img_doc_broken(list))
        return img_error_memory(err);
    for (size_t i = 0; ret == 0 && i < img_doc_count(list); i++) {
        struct img_doc *export = img_doc_at(list, i);

        ret = ask_info(peer, export, err);
        img_doc_put_string(export, "mode", mode);
        if (ret == 0 && structured && img_doc_get(export, "size"))
            ret = ask_all_contexts(peer, export, err);
    }
    return ret;
}

static void add_old_export(const struct img_nbd_peer *peer, struct img_doc *list)
{
    struct img_doc *export = img_doc_object();

    img_doc_put_string(export, "name", "");
    img_doc_put_uint(export, "size", peer->old_size);
    img_doc_put_uint(export, "flags", peer->old_flags);
    img_doc_put_string(export, "mode", "simple");
    img_doc_append(list, export);
}

static int talk(struct img_nbd_peer *peer, struct img_tls_creds *tls, const char *host, struct img_doc *list,
                struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    unsigned char zeroes[NBD_EXPORT_NAME_ZEROES];
    int ret = img_nbd_greet(peer, err);

    if (ret == 0 && tls)
        ret = img_nbd_start_tls(peer, tls, host, NULL, err);
    if (ret < 0)
        return ret;
    if (peer->old) {
        /* (a server may fail if its last bytes are not read) */
        img_nbd_read(peer, zeroes, sizeof zeroes, "reserved block", &ignored);
        img_error_clear(&ignored);
        add_old_export(peer, list);
        return 0;
    }
    if (!(peer->flags & NBD_FLAG_FIXED_NEWSTYLE))
        return img_error_set(err, EINVAL, "Server does not support export lists");
    ret = ask_exports(peer, list, err);
    /* A farewell; the answer does not matter. */
    if (ret == 0)
        img_nbd_ask(peer, NBD_OPT_ABORT, NULL, 0, &ignored);
    img_error_clear(&ignored);
    return ret;
}

int img_server_list(int fd, struct img_tls_creds *tls, const char *host, struct img_doc **list, struct img_error *err)
{
    struct img_nbd_peer peer = { .fd = fd, .deadline = img_now_milliseconds() + MAX_MILLISECONDS, .stop = -1 };
    int ret;

    *list = img_doc_array();
    ret = talk(&peer, tls, host, *list, err);
    if (peer.fd >= 0)
        close(peer.fd);
    if (ret == 0 && img_doc_broken(*list))
        ret = img_error_memory(err);
    if (ret < 0) {
        img_doc_free(*list);
        *list = NULL;
    }
    return ret;
}
