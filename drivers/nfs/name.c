/* SPDX-License-Identifier: MIT */
/* nfs://host/path?uid=...&gid=... as options. */
#include "nfs.h"
#include "../../libimg/net/uri.h"
#include "../../libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *option;
} parameters[] = {
    { "uid", "user" }, { "gid", "group" }, { "tcp-syncnt", "tcp-syn-count" }, { "readahead", "readahead-size" },
    { "pagecache", "page-cache-size" }, { "debug", "debug" },
};

/* 64 bits without a minus sign, in any base of C. */
static bool is_number(const char *text)
{
    char *end;

    errno = 0;
    strtoull(text, &end, 0);
    return *text && !*end && !errno && !strchr(text, '-');
}

static int take_parameter(const char *key, const char *value, struct img_doc *options, struct img_error *err)
{
    if (!is_number(value))
        return img_error_set(err, EINVAL, "Invalid value for NFS parameter: %s", key);
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        if (strcmp(key, parameters[i].key) == 0) {
            img_doc_put_string(options, parameters[i].option, value);
            return 0;
        }
    }
    return img_error_set(err, EINVAL, "Unknown NFS parameter name: %s", key);
}

/* As qemu-img, it looks no further after a parameter without a value. */
static int take_query(const char *query, struct img_doc *options, struct img_error *err)
{
    while (query && query[strcspn(query, "=&#")] == '=') {
        CLEANUP_FREE char *key = NULL, *value = NULL;
        int ret = img_uri_next(&query, &key, &value);
        if (ret == 0)
            return 0;
        ret = ret < 0 ? img_error_set(err, EINVAL, "Invalid URI specified") : take_parameter(key, value, options, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int nfs_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *user = NULL, *host = NULL, *port = NULL, *path = NULL;
    struct img_doc *server;
    struct img_uri uri;

    if (!img_uri_split(name, &uri))
        return img_error_set(err, EINVAL, strchr(name, ':') ? "missing hostname in URI" : "Invalid URI specified");
    if (!img_uri_has_scheme(&uri, "nfs"))
        return img_error_set(err, EINVAL, "URI scheme must be 'nfs'");
    /* (the server says where its ports are) */
    if (img_uri_authority(&uri, &user, &host, &port) < 0 || !(path = img_uri_path(&uri)))
        return img_error_set(err, EINVAL, "Invalid URI specified");
    if (!*host)
        return img_error_set(err, EINVAL, "missing hostname in URI");
    if (!*path)
        return img_error_set(err, EINVAL, "missing file path in URI");
    server = img_doc_object();
    img_doc_put_string(server, "type", "inet");
    img_doc_put_string(server, "host", host);
    img_doc_put(options, "server", server);
    img_doc_put_string(options, "path", path);
    return take_query(uri.query, options, err);
}
