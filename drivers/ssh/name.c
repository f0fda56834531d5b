/* SPDX-License-Identifier: MIT */
/* ssh://[user@]host[:port]/path?host_key_check=... as options. */
#include "ssh.h"
#include "../../libimg/net/uri.h"
#include "../../libimg/util/cleanup.h"
#include <string.h>

static int take_query(const char *query, struct img_doc *options, struct img_error *err)
{
    for (;;) {
        CLEANUP_FREE char *key = NULL, *value = NULL;
        int ret = img_uri_next(&query, &key, &value);
        if (ret < 0)
            return img_error_set(err, EINVAL, "The query of the URI cannot be decoded");
        if (ret == 0)
            return 0;
        if (strcmp(key, "host_key_check") == 0)
            img_doc_put_string(options, key, value);
        else if (*key)
            img_notice(IMG_WARNING, "Unsupported parameter '%s' in URI", key);
    }
}

int ssh_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *user = NULL, *host = NULL, *port = NULL, *path = NULL;
    struct img_doc *server;
    struct img_uri uri;

    if (!img_uri_split(name, &uri))
        return img_error_set(err, EINVAL, "missing hostname in URI");
    if (!img_uri_has_scheme(&uri, "ssh"))
        return img_error_set(err, EINVAL, "URI scheme must be 'ssh'");
    if (img_uri_authority(&uri, &user, &host, &port) < 0 || !*host)
        return img_error_set(err, EINVAL, "missing hostname in URI");
    path = img_uri_decoded(uri.path, uri.path_length);
    if (!path || !*path)
        return img_error_set(err, EINVAL, "missing remote path in URI");
    if (user && *user)
        img_doc_put_string(options, "user", user);
    server = img_doc_object();
    img_doc_put_string(server, "host", host);
    img_doc_put_string(server, "port", port ? port : SSH_PORT);
    img_doc_put(options, "server", server);
    img_doc_put_string(options, "path", path);
    return take_query(uri.query, options, err);
}
