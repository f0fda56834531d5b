/* SPDX-License-Identifier: MIT */
/* The names of VDIs, as options: URIs, and the older "sheepdog:host:port:vdi:snapshot". */
#include "sheepdog.h"
#include "../../libimg/net/uri.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

static int no_url(struct img_error *err)
{
    return img_error_set(err, EINVAL, "No valid URL specified");
}

static void put_host(struct img_doc *options, const char *host, const char *port)
{
    struct img_doc *server = img_doc_object();

    img_doc_put_string(server, "type", "inet");
    img_doc_put_string(server, "host", host);
    img_doc_put_string(server, "port", port);
    img_doc_put(options, "server", server);
}

static void put_path(struct img_doc *options, const char *path)
{
    struct img_doc *server = img_doc_object();

    img_doc_put_string(server, "type", "unix");
    img_doc_put_string(server, "path", path);
    img_doc_put(options, "server", server);
}

/* A number is an id, all else a tag. */
uint32_t sheepdog_snapshot_number(const char *text)
{
    char *end;
    unsigned long long number;

    if (!*text || strspn(text, "0123456789") != strlen(text))
        return 0;
    errno = 0;
    number = strtoull(text, &end, 10);
    return errno || number > UINT32_MAX ? 0 : (uint32_t)number;
}

static void put_snapshot(struct img_doc *options, const char *text)
{
    uint32_t number = sheepdog_snapshot_number(text);

    if (number)
        img_doc_put_uint(options, "snap-id", number);
    else
        img_doc_put_string(options, "tag", text);
}

/* ---- URIs ------------------------------------------------------------------------------------- */

static int take_vdi(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *vdi = uri->path_length > 1 ? img_uri_decoded(uri->path + 1, uri->path_length - 1) : NULL;

    if (!vdi)
        return no_url(err);
    img_doc_put_string(options, "vdi", vdi);
    return 0;
}

/* "#" and what follows. */
static int take_fragment(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    const char *hash = strchr(uri->authority, '#');
    CLEANUP_FREE char *text = hash ? img_uri_decoded(hash + 1, strlen(hash + 1)) : NULL;

    if (hash && (!text || !*text))
        return no_url(err);
    if (text)
        put_snapshot(options, text);
    return 0;
}

/* The socket, and nothing else. */
static int take_socket(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    const char *query = uri->query;
    CLEANUP_FREE char *key = NULL, *value = NULL, *other = NULL, *rest = NULL;

    if (uri->authority_length || img_uri_next(&query, &key, &value) <= 0 || strcmp(key, "socket") != 0 || !*value ||
        img_uri_next(&query, &other, &rest) != 0)
        return no_url(err);
    put_path(options, value);
    return 0;
}

static int take_host(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *user = NULL, *host = NULL, *port = NULL;

    if (img_uri_authority(uri, &user, &host, &port) < 0 || user || (uri->query && *uri->query && *uri->query != '#'))
        return no_url(err);
    put_host(options, *host ? host : SHEEPDOG_HOST, port ? port : SHEEPDOG_PORT);
    return 0;
}

static int parse_uri(const struct img_uri *uri, struct img_doc *options, struct img_error *err)
{
    bool local = img_uri_has_scheme(uri, "sheepdog+unix");
    int ret;

    if (!local && !img_uri_has_scheme(uri, "sheepdog") && !img_uri_has_scheme(uri, "sheepdog+tcp"))
        return no_url(err);
    ret = local ? take_socket(uri, options, err) : take_host(uri, options, err);
    if (ret == 0)
        ret = take_vdi(uri, options, err);
    return ret < 0 ? ret : take_fragment(uri, options, err);
}

/* ---- Older names --------------------------------------------------------------------------------- */

/* Cut off what is in front of the next colon; *rest: what is behind it, or NULL: there is none. */
static char *cut(char *text, char **rest)
{
    char *colon = strchr(text, ':');

    *rest = colon ? colon + 1 : NULL;
    if (colon)
        *colon = 0;
    return text;
}

static size_t count_colons(const char *text)
{
    size_t count = 0;

    for (; (text = strchr(text, ':')); text++)
        count++;
    return count;
}

/* "vdi[:snapshot]", or with at least two colons "host:port:vdi[:snapshot]". */
static int parse_old(const char *name, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *copy = img_strdup(strncmp(name, "sheepdog:", 9) == 0 ? name + 9 : name);
    char *at = copy, *rest;

    if (!copy)
        return img_error_memory(err);
    if (count_colons(copy) >= 2) {
        const char *host = cut(at, &rest), *port = cut(rest, &at);
        put_host(options, *host ? host : SHEEPDOG_HOST, *port ? port : SHEEPDOG_PORT);
    } else {
        put_host(options, SHEEPDOG_HOST, SHEEPDOG_PORT);
    }
    at = cut(at, &rest);
    if (!*at || (rest && !*rest))
        return img_error_set(err, EINVAL, "error parsing name '%s'", name);
    img_doc_put_string(options, "vdi", at);
    if (rest)
        put_snapshot(options, rest);
    return 0;
}

int sheepdog_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    struct img_uri uri;

    return img_uri_split(name, &uri) ? parse_uri(&uri, options, err) : parse_old(name, options, err);
}
