/* SPDX-License-Identifier: MIT */
/* The names of exports, as options.  Specification: doc/uri.md; the older names are qemu-img's. */
#include "nbd.h"
#include "../../libimg/net/uri.h"
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

static int no_url(struct img_error *err)
{
    return img_error_set(err, EINVAL, "No valid URL specified");
}

/* A user in front of the host: whose TLS key it is, or ignored. */
static int take_authority(const struct img_uri *uri, bool tls, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *user = NULL, *host = NULL, *port = NULL;

    if (img_uri_authority(uri, &user, &host, &port) < 0 || !*host)
        return no_url(err);
    put(options, "inet", "host", host, port ? port : IMG_NBD_PORT);
    if (tls && user)
        img_doc_put_string(options, "tls-username", user);
    return 0;
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

/* A socket becomes the address. */
static int take_pair(const char *key, const char *value, bool local, bool tls, struct img_doc *options,
                     struct img_error *err)
{
    if (local && strcmp(key, "socket") == 0 && !img_doc_get(options, "server")) {
        put(options, "unix", "path", value, NULL);
        return 0;
    }
    for (size_t i = 0; i < sizeof query_keys / sizeof *query_keys; i++) {
        const struct query_key *known = &query_keys[i];
        if (strcmp(known->key, key) == 0 && (tls || !known->tls)) {
            img_doc_put_string(options, known->option, value);
            return 0;
        }
    }
    return no_url(err);
}

static int take_query(const char *query, bool local, bool tls, struct img_doc *options, struct img_error *err)
{
    for (;;) {
        CLEANUP_FREE char *key = NULL, *value = NULL;
        int ret = img_uri_next(&query, &key, &value);
        if (ret > 0)
            ret = take_pair(key, value, local, tls, options, err) < 0 ? -err->code : 1;
        else if (ret < 0)
            no_url(err);
        if (ret <= 0)
            return ret;
    }
}

static int parse_uri(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    bool tls = img_uri_has_scheme(uri, "nbds") || img_uri_has_scheme(uri, "nbds+tcp") ||
               img_uri_has_scheme(uri, "nbds+unix");
    bool local = img_uri_has_scheme(uri, "nbd+unix") || img_uri_has_scheme(uri, "nbds+unix");
    int ret;

    if (!local && !tls && !img_uri_has_scheme(uri, "nbd") && !img_uri_has_scheme(uri, "nbd+tcp"))
        return no_url(err);
    if (tls)
        img_doc_put_string(options, "tls", "on");
    if (uri->path_length > 1) {
        CLEANUP_FREE char *export = img_uri_decoded(uri->path + 1, uri->path_length - 1);
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
    struct img_uri uri;

    return img_uri_split(name, &uri) ? parse_uri(&uri, options, err) : parse_old(name, options, err);
}
