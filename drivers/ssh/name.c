/* SPDX-License-Identifier: MIT */
/* ssh://[user@]host[:port]/path?host_key_check=... as options. */
#include "ssh.h"
#include "../../libimg/net/uri.h"
#include "../../libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

/* (to qemu-img, what cannot be understood says nothing) */
static int no_uri(struct img_error *err)
{
    img_error_set(err, EINVAL, "Parameter 'server' is missing");
    img_error_advise(err, "this is no URI: look at its port, and at each %% in it");
    return -EINVAL;
}

/* As qemu-img does it: the whole is decoded, then each part once more; and what has no "=" ends it. */
static int take_query(const char *query, struct img_doc *options, struct img_error *err)
{
    CLEANUP_FREE char *decoded = query ? img_uri_decoded(query, strcspn(query, "#")) : NULL;
    const char *at = decoded;

    if (query && !decoded)
        return no_uri(err);
    while (at && at[strcspn(at, "=&#")] == '=') {
        CLEANUP_FREE char *key = NULL, *value = NULL;
        if (img_uri_next(&at, &key, &value) < 0)
            break;
        if (strcmp(key, "host_key_check") == 0)
            img_doc_put_string(options, key, value);
        else
            img_notice(IMG_WARNING, "Unsupported parameter '%s' in URI", key);
    }
    return 0;
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
    if (img_uri_authority(&uri, &user, &host, &port) < 0 || !(path = img_uri_path(&uri)))
        return no_uri(err);
    if (!*host)
        return img_error_set(err, EINVAL, "missing hostname in URI");
    if (!*path)
        return img_error_set(err, EINVAL, "missing remote path in URI");
    if (user && *user)
        img_doc_put_string(options, "user", user);
    server = img_doc_object();
    img_doc_put_string(server, "host", host);
    img_doc_put_string(server, "port", port && atoi(port) ? port : SSH_PORT);
    img_doc_put(options, "server", server);
    img_doc_put_string(options, "path", path);
    return take_query(uri.query, options, err);
}
