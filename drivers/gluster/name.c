/* SPDX-License-Identifier: MIT */
/* gluster://host:port/volume/path and gluster+unix:///volume/path?socket=... */
#include "gluster.h"
#include "../../libimg/net/uri.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* "/volume/path" */
static int take_path(const struct img_uri *uri, struct gluster_target *target)
{
    CLEANUP_FREE char *whole = img_uri_path(uri);
    const char *start, *path;

    if (!whole)
        return -EINVAL;
    start = whole + strspn(whole, "/");
    path = start + strcspn(start, "/");
    target->volume = img_strndup(start, (size_t)(path - start));
    target->path = img_strdup(path + strspn(path, "/"));
    return target->volume && *target->volume && target->path && *target->path ? 0 : -EINVAL;
}

static void move(char **to, char **from)
{
    free(*to);
    *to = *from;
    *from = NULL;
}

static int take_debug(const char *text, int *debug)
{
    if (strlen(text) != 1 || *text < '0' || *text - '0' > GLUSTER_MOST_DEBUG)
        return -EINVAL;
    *debug = *text - '0';
    return 0;
}

/* *socket belongs to the caller. */
static int take_query(const char *query, char **socket, struct gluster_target *target)
{
    for (;;) {
        CLEANUP_FREE char *key = NULL, *value = NULL;
        int ret = img_uri_next(&query, &key, &value);
        if (ret <= 0)
            return ret;
        if (strcmp(key, "socket") == 0)
            move(socket, &value);
        else if (strcmp(key, "logfile") == 0)
            move(&target->logfile, &value);
        else if (strcmp(key, "debug") != 0 || take_debug(value, &target->debug) < 0)
            return -EINVAL;
    }
}

static int take_server(const struct img_uri *uri, char **socket, struct gluster_server *server)
{
    CLEANUP_FREE char *user = NULL, *host = NULL, *port = NULL;

    server->local = img_uri_has_scheme(uri, "gluster+unix");
    if (img_uri_authority(uri, &user, &host, &port) < 0 || server->local != (*socket != NULL))
        return -EINVAL;
    if (server->local) {
        move(&server->host, socket);
        return *host || !*server->host ? -EINVAL : 0;
    }
    if (!port && !(port = img_asprintf("%d", GLUSTER_PORT)))
        return -EINVAL;
    move(&server->host, &host);
    move(&server->port, &port);
    return 0;
}

int gluster_name_take(const char *name, struct gluster_target *target, struct img_error *err)
{
    CLEANUP_FREE char *socket = NULL;
    struct img_uri uri;

    target->servers = img_calloc(1, sizeof *target->servers);
    if (!target->servers)
        return img_error_memory(err);
    target->count = 1;
    if (img_uri_split(name, &uri) && take_path(&uri, target) == 0 && take_query(uri.query, &socket, target) == 0 &&
        take_server(&uri, &socket, target->servers) == 0)
        return 0;
    img_error_set(err, EINVAL, "invalid URI %s", name);
    img_error_hint(err, "Usage: file=gluster[+transport]://[host[:port]]volume/path[?socket=...][,file.debug=N]"
                        "[,file.logfile=/path/filename.log]");
    return -EINVAL;
}
