/* SPDX-License-Identifier: MIT */
/* The names of exports, as options.  Specification: doc/uri.md; the older names are qemu-img's. */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

static void put(struct img_doc *options, const char *type, const char *first, const char *first_value,
                const char *second_value)
{
    struct img_doc *server = img_doc_object();

    img_doc_put_string(server, "type", type);
    img_doc_put_string(server, first, first_value);
    if (second_value)
        img_doc_put_string(server, "port", second_value);
    img_doc_put(options, "server", server);
}

/* ---- URIs ------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)((at - digits) % 16) : -1;
}

/* Decode "%20" and the like; caller frees.  NULL: a digit or memory is missing, or it would hold a NUL. */
static char *decoded(const char *text, size_t length)
{
    char *plain = img_malloc(length + 1), *to = plain;

    for (size_t i = 0; plain && i < length; i++) {
        int byte = (unsigned char)text[i];
        if (byte == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1, low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0) {
                free(plain);
                return NULL;
            }
            byte = high * 16 + low;
            i += 2;
        }
        *to++ = (char)byte;
    }
    if (plain)
        *to = 0;
    return plain;
}

/* The parts of scheme://authority/path?query, not decoded. */
struct uri {
    const char *scheme, *authority, *path, *query;
    size_t scheme_length, authority_length, path_length;
};

static bool split(const char *text, struct uri *uri)
{
    const char *colon = strstr(text, "://");

    if (!colon)
        return false;
    uri->scheme = text;
    uri->scheme_length = (size_t)(colon - text);
    uri->authority = colon + 3;
    uri->authority_length = strcspn(uri->authority, "/?#");
    uri->path = uri->authority + uri->authority_length;
    uri->path_length = strcspn(uri->path, "?#");
    uri->query = uri->path[uri->path_length] == '?' ? uri->path + uri->path_length + 1 : NULL;
    return true;
}

static bool has_scheme(const struct uri *uri, const char *scheme)
{
    return uri->scheme_length == strlen(scheme) && memcmp(uri->scheme, scheme, uri->scheme_length) == 0;
}

static int no_url(struct img_error *err)
{
    return img_error_set(err, EINVAL, "No valid URL specified");
}

static int take_user(const char *at, const char *end, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *name = decoded(at, (size_t)(end - at));

    if (!name)
        return no_url(err);
    img_doc_put_string(options, "tls-username", name);
    return 0;
}

static bool is_port(const char *port)
{
    return strspn(port, "0123456789") == strlen(port) && strlen(port) <= 5 && atoi(port) <= 65535;
}

/* "host", "host:port", "[::1]:port" */
static int take_host(const char *at, const char *end, struct img_doc *options, struct img_error *err)
{
    bool bracket = at < end && *at == '[';
    const char *last = memchr(at, bracket ? ']' : ':', (size_t)(end - at)), *colon = bracket && last ? last + 1 : last;
    bool has_port = colon && colon + 1 < end && *colon == ':';

    if (bracket && !last)
        return no_url(err);
    CLEANUP_FREE char *host = bracket ? img_strndup(at + 1, (size_t)(last - at) - 1)
                                      : decoded(at, (size_t)((last ? last : end) - at));
    CLEANUP_FREE char *port = has_port ? img_strndup(colon + 1, (size_t)(end - colon) - 1) : img_strdup(IMG_NBD_PORT);
    if (!host || !port || !*host || !is_port(port))
        return no_url(err);
    put(options, "inet", "host", host, port);
    return 0;
}

/* With a user in front: whose TLS key it is, or ignored. */
static int take_authority(const struct uri *uri, bool tls, struct img_doc *options, struct img_error *err)
{
    const char *at = uri->authority, *end = at + uri->authority_length, *user = memchr(at, '@', uri->authority_length);
    int ret = user && tls ? take_user(at, user, options, err) : 0;

    return ret < 0 ? ret : take_host(user ? user + 1 : at, end, options, err);
}

/* The keys of a query, and the options that they become.  A key for TLS turns it on. */
static const struct query_key {
    const char *key, *option;
    bool tls;
} query_keys[] = {
    { "connections", "connections", false }, { "tls-psk-file", "tls-psk-file", true },
    { "tls-certificates", "tls-certificates", true }, { "tls-hostname", "tls-hostname", true },
    { "tls-username", "tls-username", true },
};

/* One "key=value" of the query; a socket becomes the address. */
static int take_pair(const char *pair, size_t length, bool local, bool tls, struct img_doc *options,
                     struct img_error *err)
{
    const char *equals = memchr(pair, '=', length);
    size_t key = equals ? (size_t)(equals - pair) : 0;
    CLEANUP_FREE char *value = equals ? decoded(equals + 1, length - key - 1) : NULL;

    if (!value)
        return no_url(err);
    if (local && key == 6 && memcmp(pair, "socket", 6) == 0 && !img_doc_get(options, "server")) {
        put(options, "unix", "path", value, NULL);
        return 0;
    }
    for (size_t i = 0; i < sizeof query_keys / sizeof *query_keys; i++) {
        const struct query_key *known = &query_keys[i];
        if (strlen(known->key) == key && memcmp(pair, known->key, key) == 0 && (tls || !known->tls)) {
            img_doc_put_string(options, known->option, value);
            return 0;
        }
    }
    return no_url(err);
}

static int take_query(const char *query, bool local, bool tls, struct img_doc *options, struct img_error *err)
{
    while (query && *query && *query != '#') {
        size_t length = strcspn(query, "&#");
        int ret = take_pair(query, length, local, tls, options, err);
        if (ret < 0)
            return ret;
        query += length + (query[length] == '&');
    }
    return 0;
}

static int parse_uri(const struct uri *uri, struct img_doc *options, struct img_error *err)
{
    bool tls = has_scheme(uri, "nbds") || has_scheme(uri, "nbds+tcp") || has_scheme(uri, "nbds+unix");
    bool local = has_scheme(uri, "nbd+unix") || has_scheme(uri, "nbds+unix");
    int ret;

    if (!local && !tls && !has_scheme(uri, "nbd") && !has_scheme(uri, "nbd+tcp"))
        return no_url(err);
    if (tls)
        img_doc_put_string(options, "tls", "on");
    if (uri->path_length > 1) {
        CLEANUP_FREE char *export = decoded(uri->path + 1, uri->path_length - 1);
        if (!export)
            return no_url(err);
        img_doc_put_string(options, "export", export);
    }
    ret = take_query(uri->query, local, tls, options, err);
    if (ret == 0 && !local)
        ret = take_authority(uri, tls, options, err);
    else if (ret == 0 && (uri->authority_length || !img_doc_get(options, "server")))
        ret = no_url(err);
    return ret;
}

/* ---- Older names ---------------------------------------------------------------------------- */

static int parse_old_address(char *address, struct img_doc *options, struct img_error *err)
{
    char *colon, *host = address;

    if (strncmp(address, "unix:", 5) == 0) {
        put(options, "unix", "path", address + 5, NULL);
        return 0;
    }
    if (*address == '[') {
        host = address + 1;
        colon = strchr(host, ']');
        if (colon)
            *colon++ = 0;
    } else {
        colon = strrchr(address, ':');
    }
    if (!colon || *colon != ':')
        return img_error_set(err, EINVAL, "error parsing address '%s'", address);
    *colon = 0;
    put(options, "inet", "host", host, colon + 1);
    return 0;
}

/* "nbd:host:port[:exportname=NAME]", "nbd:unix:PATH[:exportname=NAME]"; "nbd:" alone says nothing. */
static int parse_old(const char *name, struct img_doc *options, struct img_error *err)
{
    static const char key[] = ":exportname=";
    CLEANUP_FREE char *address = img_strdup(strncmp(name, "nbd:", 4) == 0 ? name + 4 : name);
    char *export = address ? strstr(address, key) : NULL;

    if (!address)
        return img_error_memory(err);
    if (export) {
        *export = 0;
        img_doc_put_string(options, "export", export + sizeof key - 1);
    }
    return *address ? parse_old_address(address, options, err) : 0;
}

int nbd_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    struct uri uri;

    return split(name, &uri) ? parse_uri(&uri, options, err) : parse_old(name, options, err);
}
