/* SPDX-License-Identifier: MIT */
/* address.c - socket addresses in options: "type", and the members that belong to it. */
#include "../net.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- One member ---------------------------------------------------------------- */

static int missing(const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' is missing", key);
}

/* *text: the member, or NULL if it is not given. */
static int take_text(struct img_doc *options, const char *key, char **text, struct img_error *err)
{
    struct img_doc *value = img_doc_take(options, key);
    int ret = 0;

    if (value && img_doc_type(value) != IMG_DOC_STRING)
        ret = img_error_set(err, EINVAL, "Invalid parameter type for '%s', expected: string", key);
    else if (value && !(*text = img_strdup(img_doc_get_string(value))))
        ret = img_error_memory(err);
    img_doc_free(value);
    return ret;
}

static int take_needed(struct img_doc *options, const char *key, char **text, struct img_error *err)
{
    int ret = take_text(options, key, text, err);

    return ret == 0 && !*text ? missing(key, err) : ret;
}

/* *flag: -1: not given, 0, 1. */
static int take_flag(struct img_doc *options, const char *key, int *flag, struct img_error *err)
{
    struct img_doc *value = img_doc_take(options, key);
    bool on = false;
    int ret = 0;

    *flag = -1;
    if (!value)
        return 0;
    if (img_doc_type(value) == IMG_DOC_BOOL)
        on = img_doc_get_bool(value);
    else if (img_doc_type(value) != IMG_DOC_STRING)
        ret = img_error_set(err, EINVAL, "Invalid parameter type for '%s', expected: boolean", key);
    else
        ret = img_option_bool(key, img_doc_get_string(value), &on, err);
    img_doc_free(value);
    if (ret == 0)
        *flag = on;
    return ret;
}

static int parse_to(const char *text, uint16_t *to, struct img_error *err)
{
    char *end;
    unsigned long long number;

    errno = 0;
    number = strtoull(text, &end, 0);
    if (end == text || *end || errno || strchr(text, '-'))
        return img_error_set(err, EINVAL, "Parameter 'to' expects integer");
    if (number > UINT16_MAX)
        return img_error_set(err, EINVAL, "Parameter 'to' expects uint16_t");
    *to = (uint16_t)number;
    return 0;
}

static int take_to(struct img_doc *options, uint16_t *to, struct img_error *err)
{
    struct img_doc *value = img_doc_take(options, "to");
    enum img_doc_type type = value ? img_doc_type(value) : IMG_DOC_NULL;
    int ret = 0;

    if (type == IMG_DOC_STRING)
        ret = parse_to(img_doc_get_string(value), to, err);
    else if (value && type != IMG_DOC_INT && type != IMG_DOC_UINT)
        ret = img_error_set(err, EINVAL, "Invalid parameter type for 'to', expected: integer");
    else if (value && img_doc_get_uint(value) > UINT16_MAX)
        ret = img_error_set(err, EINVAL, "Parameter 'to' expects uint16_t");
    else if (value)
        *to = (uint16_t)img_doc_get_uint(value);
    img_doc_free(value);
    return ret;
}

/* ---- One type of address ---------------------------------------------------------- */

static int take_inet(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    int numeric, keep_alive, mptcp, ret = take_needed(options, "host", &address->host, err);

    if (ret < 0 || (ret = take_needed(options, "port", &address->port, err)) < 0 ||
        (ret = take_flag(options, "numeric", &numeric, err)) < 0 ||
        (ret = take_to(options, &address->to, err)) < 0 ||
        (ret = take_flag(options, "ipv4", &address->ipv4, err)) < 0 ||
        (ret = take_flag(options, "ipv6", &address->ipv6, err)) < 0 ||
        (ret = take_flag(options, "keep-alive", &keep_alive, err)) < 0 ||
        (ret = take_flag(options, "mptcp", &mptcp, err)) < 0)
        return ret;
    address->numeric = numeric == 1;
    address->keep_alive = keep_alive == 1;
    address->mptcp = mptcp == 1;
    return 0;
}

static int take_unix(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    int abstract, tight, ret = take_needed(options, "path", &address->path, err);

    if (ret < 0 || (ret = take_flag(options, "abstract", &abstract, err)) < 0 ||
        (ret = take_flag(options, "tight", &tight, err)) < 0)
        return ret;
    address->abstract = abstract == 1;
    address->tight = tight != 0;
    return 0;
}

static int take_vsock(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    int ret = take_needed(options, "cid", &address->host, err);

    return ret < 0 ? ret : take_needed(options, "port", &address->port, err);
}

static int take_members(const char *type, struct img_doc *options, struct img_address *address, struct img_error *err)
{
    if (strcmp(type, "inet") == 0) {
        address->type = IMG_INET;
        return take_inet(options, address, err);
    }
    if (strcmp(type, "unix") == 0) {
        address->type = IMG_UNIX;
        return take_unix(options, address, err);
    }
    if (strcmp(type, "vsock") == 0) {
        address->type = IMG_VSOCK;
        return take_vsock(options, address, err);
    }
    if (strcmp(type, "fd") == 0) {
        address->type = IMG_FD;
        return take_needed(options, "str", &address->path, err);
    }
    return img_error_set(err, EINVAL, "Parameter 'type' does not accept value '%s'", type);
}

int img_address_take(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    CLEANUP_FREE char *type = NULL;
    int ret = take_needed(options, "type", &type, err);

    *address = (struct img_address){ .ipv4 = -1, .ipv6 = -1 };
    if (ret == 0)
        ret = take_members(type, options, address, err);
    if (ret == 0 && img_doc_count(options))
        ret = img_error_set(err, EINVAL, "Parameter '%s' is unexpected", img_doc_key_at(options, 0));
    if (ret < 0)
        img_address_free(address);
    return ret;
}

void img_address_free(struct img_address *address)
{
    free(address->host);
    free(address->port);
    free(address->path);
    address->host = address->port = address->path = NULL;
}
