/* SPDX-License-Identifier: MIT */
/* The names of exports, and the address in the options.  Specification: doc/uri.md; the older names are qemu-img's. */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

#define USUAL_PORT "10809"

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

/* "host", "host:port", "[::1]:port", with a user that is ignored. */
static int take_authority(const struct uri *uri, struct img_doc *options, struct img_error *err)
{
    const char *at = uri->authority, *end = at + uri->authority_length, *user = memchr(at, '@', uri->authority_length);
    const char *last;

    at = user ? user + 1 : at;
    bool bracket = at < end && *at == '[';
    last = bracket ? memchr(at, ']', (size_t)(end - at)) : memchr(at, ':', (size_t)(end - at));
    if (bracket && !last)
        return img_error_set(err, EINVAL, "No valid URL specified");
    CLEANUP_FREE char *host = bracket ? img_strndup(at + 1, (size_t)(last - at) - 1)
                                      : decoded(at, (size_t)((last ? last : end) - at));
    const char *colon = bracket ? last + 1 : last;
    CLEANUP_FREE char *port = colon && colon < end && *colon == ':' && colon + 1 < end
                              ? img_strndup(colon + 1, (size_t)(end - colon) - 1) : img_strdup(USUAL_PORT);
    if (!host || !port)
        return img_error_set(err, EINVAL, "No valid URL specified");
    if (!*host || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) > 65535)
        return img_error_set(err, EINVAL, "No valid URL specified");
    put(options, "inet", "host", host, port);
    return 0;
}

static int take_socket(const struct uri *uri, struct img_doc *options, struct img_error *err)
{
    static const char key[] = "socket=";

    if (uri->authority_length || !uri->query || strncmp(uri->query, key, sizeof key - 1) != 0 ||
        strchr(uri->query, '&'))
        return img_error_set(err, EINVAL, "No valid URL specified");
    const char *path = uri->query + sizeof key - 1;
    CLEANUP_FREE char *plain = decoded(path, strcspn(path, "#"));
    if (!plain)
        return img_error_set(err, EINVAL, "No valid URL specified");
    put(options, "unix", "path", plain, NULL);
    return 0;
}

static int parse_uri(const struct uri *uri, struct img_doc *options, struct img_error *err)
{
    bool local = has_scheme(uri, "nbd+unix");
    int ret = 0;

    if (!local && !has_scheme(uri, "nbd") && !has_scheme(uri, "nbd+tcp"))
        return img_error_set(err, EINVAL, "No valid URL specified");
    if (uri->path_length > 1) {
        CLEANUP_FREE char *export = decoded(uri->path + 1, uri->path_length - 1);
        if (!export)
            return img_error_set(err, EINVAL, "No valid URL specified");
        img_doc_put_string(options, "export", export);
    }
    if (local)
        ret = take_socket(uri, options, err);
    else if (uri->query)
        ret = img_error_set(err, EINVAL, "No valid URL specified");
    else
        ret = take_authority(uri, options, err);
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

/* ---- Options ---------------------------------------------------------------------------------- */

static int take_text(struct img_doc *options, const char *key, char **text, struct img_error *err)
{
    struct img_doc *value = img_doc_take(options, key);
    const char *given = img_doc_get_string(value);
    int ret = 0;

    if (given && !(*text = img_strdup(given)))
        ret = img_error_memory(err);
    img_doc_free(value);
    return ret;
}

static int take_inet(struct img_doc *server, struct nbd_address *address, struct img_error *err)
{
    int ret = take_text(server, "host", &address->host, err);

    if (ret == 0)
        ret = take_text(server, "port", &address->port, err);
    if (ret < 0)
        return ret;
    if (!address->host || !address->port)
        return img_error_set(err, EINVAL, "Parameter '%s' is missing", address->host ? "port" : "host");
    return 0;
}

static int take_server(struct img_doc *server, struct nbd_address *address, struct img_error *err)
{
    CLEANUP_FREE char *type = NULL;
    int ret = take_text(server, "type", &type, err);

    if (ret < 0)
        return ret;
    if (!type)
        return img_error_set(err, EINVAL, "Parameter 'type' is missing");
    if (strcmp(type, "inet") == 0)
        ret = take_inet(server, address, err);
    else if (strcmp(type, "unix") == 0)
        ret = take_text(server, "path", &address->path, err);
    else
        return img_error_set(err, EINVAL, "Parameter 'type' does not accept value '%s'", type);
    if (ret == 0 && !address->host && !address->path)
        ret = img_error_set(err, EINVAL, "Parameter 'path' is missing");
    if (ret == 0 && img_doc_count(server))
        ret = img_error_set(err, EINVAL, "Parameter '%s' is unexpected", img_doc_key_at(server, 0));
    return ret;
}

/* "host" and "port", or "path", without "server". */
static int take_old_options(struct img_doc *options, struct nbd_address *address, struct img_error *err)
{
    int ret = take_text(options, "host", &address->host, err);

    if (ret == 0)
        ret = take_text(options, "port", &address->port, err);
    if (ret == 0)
        ret = take_text(options, "path", &address->path, err);
    if (ret < 0)
        return ret;
    if (address->path && address->host)
        return img_error_set(err, EINVAL, "path and host may not be used at the same time");
    if (address->path && address->port)
        return img_error_set(err, EINVAL, "port may not be used without host");
    if (!address->path && !address->host)
        return img_error_set(err, EINVAL, "NBD server address missing");
    if (address->host && !address->port && !(address->port = img_strdup(USUAL_PORT)))
        return img_error_memory(err);
    return 0;
}

int nbd_take_address(struct img_doc *options, struct nbd_address *address, struct img_error *err)
{
    struct img_doc *server = img_doc_take(options, "server");
    int ret;

    *address = (struct nbd_address){ .host = NULL };
    ret = server ? take_server(server, address, err) : take_old_options(options, address, err);
    img_doc_free(server);
    if (ret == 0)
        ret = take_text(options, "export", &address->export, err);
    if (ret < 0)
        nbd_free_address(address);
    return ret;
}

void nbd_free_address(struct nbd_address *address)
{
    free(address->host);
    free(address->port);
    free(address->path);
    free(address->export);
    *address = (struct nbd_address){ .host = NULL };
}

char *nbd_address_text(const struct nbd_address *address)
{
    const char *slash = address->export && *address->export ? "/" : "";
    const char *export = *slash ? address->export : "";

    if (address->path)
        return img_asprintf("nbd+unix://%s%s?socket=%s", slash, export, address->path);
    return img_asprintf("nbd://%s:%s%s%s", address->host, address->port, slash, export);
}
