/* SPDX-License-Identifier: MIT */
/* What the options say: the volume, the file in it, and the daemons that tell where the volume is. */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

#define USAGE \
    "Usage: -drive driver=qcow2,file.driver=gluster,file.volume=testvol,file.path=/path/a.qcow2[,file.debug=9]" \
    "[,file.logfile=/path/filename.log],file.server.0.type=inet,file.server.0.host=1.2.3.4," \
    "file.server.0.port=24007,file.server.1.transport=unix,file.server.1.path=/var/run/glusterd.socket ..."

enum { MOST_SERVERS = 256 };

/* ---- The servers ----------------------------------------------------------------------------- */

/* The server of this number; NULL: there is none.  A list is an object with numbers for keys where it was given so. */
static const struct img_doc *server_at(const struct img_doc *servers, size_t index)
{
    char key[24];

    if (img_doc_type(servers) == IMG_DOC_ARRAY)
        return index < img_doc_count(servers) ? img_doc_at(servers, index) : NULL;
    snprintf(key, sizeof key, "%zu", index);
    return img_doc_get(servers, key);
}

/* 0: it is no list */
static size_t count_servers(const struct img_doc *servers)
{
    size_t count = 0;

    if (!servers || (img_doc_type(servers) != IMG_DOC_ARRAY && img_doc_type(servers) != IMG_DOC_OBJECT))
        return 0;
    while (count < MOST_SERVERS && server_at(servers, count))
        count++;
    return count == img_doc_count(servers) ? count : 0;
}

static const char *member(const struct img_doc *server, const char *key, char **text, struct img_error *err)
{
    const struct img_doc *value = img_doc_type(server) == IMG_DOC_OBJECT ? img_doc_get(server, key) : NULL;

    if (value && img_options_text(value, text) < 0)
        img_error_memory(err);
    return *text;
}

static int at_server(size_t index, struct img_error *err)
{
    img_error_hint(err, "hint: check in 'server' array index '%zu'\n" USAGE, index);
    return -err->code;
}

static int missing(const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' is missing", key);
}

/* Members that change nothing here ("transport" in old configurations) are let pass, as in qemu-img. */
static int take_inet(const struct img_doc *given, struct gluster_server *server, size_t index, struct img_error *err)
{
    if (!member(given, "host", &server->host, err)) {
        missing("host", err);
        return at_server(index, err);
    }
    if (!member(given, "port", &server->port, err)) {
        missing("port", err);
        return at_server(index, err);
    }
    if (img_doc_get(given, "to"))
        return img_error_set(err, EINVAL, "Parameter 'to' not supported");
    if (img_doc_get(given, "ipv4") || img_doc_get(given, "ipv6"))
        return img_error_set(err, EINVAL, "Parameters 'ipv4/ipv6' not supported");
    return 0;
}

static int take_unix(const struct img_doc *given, struct gluster_server *server, size_t index, struct img_error *err)
{
    server->local = true;
    if (!member(given, "path", &server->host, err) && !member(given, "socket", &server->host, err)) {
        missing("path", err);
        return at_server(index, err);
    }
    return 0;
}

static int take_server(const struct img_doc *given, struct gluster_server *server, size_t index, struct img_error *err)
{
    CLEANUP_FREE char *type = NULL;

    if (!member(given, "type", &type, err)) {
        missing("type", err);
        return at_server(index, err);
    }
    if (strcmp(type, "inet") == 0 || strcmp(type, "tcp") == 0)
        return take_inet(given, server, index, err);
    if (strcmp(type, "unix") == 0)
        return take_unix(given, server, index, err);
    img_error_set(err, EINVAL, "Parameter 'type' may be 'inet' or 'unix'");
    return at_server(index, err);
}

static int take_servers(const struct img_doc *given, struct gluster_target *target, struct img_error *err)
{
    int ret = 0;

    target->servers = img_calloc(target->count, sizeof *target->servers);
    if (!target->servers)
        return img_error_memory(err);
    for (size_t i = 0; i < target->count && ret == 0; i++)
        ret = take_server(server_at(given, i), &target->servers[i], i, err);
    return ret;
}

/* ---- All of it --------------------------------------------------------------------------------------- */

static int keep(const char *from, char **to, struct img_error *err)
{
    *to = img_strdup(from);
    return *to ? 0 : img_error_memory(err);
}

static int take_options(const struct img_doc *servers, const struct gluster_open_options *given,
                        struct gluster_target *target, struct img_error *err)
{
    target->count = count_servers(servers);
    if (!target->count)
        return missing("server", err);
    if (!given->volume || !given->path)
        return missing(given->volume ? "path" : "volume", err);
    if (keep(given->volume, &target->volume, err) < 0 || keep(given->path, &target->path, err) < 0)
        return -err->code;
    return take_servers(servers, target, err);
}

static int take_listed(struct img_doc *options, const struct gluster_open_options *given,
                       struct gluster_target *target, struct img_error *err)
{
    struct img_doc *servers = img_doc_take(options, "server");
    int ret = take_options(servers, given, target, err);

    img_doc_free(servers);
    if (ret < 0 && !err->hint)
        img_error_hint(err, USAGE);
    return ret;
}

/* A name says it all; what is given beside it says how. */
static int take_named(const char *name, const struct gluster_open_options *given, struct gluster_target *target,
                      struct img_error *err)
{
    if (given->volume || given->path)
        return img_error_set(err, EINVAL, "Block protocol 'gluster' doesn't support the option '%s'",
                             given->volume ? "volume" : "path");
    return gluster_name_take(name, target, err);
}

static int take_log(const struct gluster_open_options *given, struct gluster_target *target, struct img_error *err)
{
    if (given->debug >= 0)
        target->debug = (int)img_min(given->debug, GLUSTER_MOST_DEBUG);
    if (given->logfile) {
        free(target->logfile);
        target->logfile = NULL;
    }
    return target->logfile ? 0 : keep(given->logfile ? given->logfile : "-", &target->logfile, err);
}

int gluster_target_take(const char *name, struct img_doc *options, const struct gluster_open_options *given,
                        struct gluster_target *target, struct img_error *err)
{
    int ret;

    *target = (struct gluster_target){
        .debug = GLUSTER_USUAL_DEBUG, .timeout = given->timeout < 0 ? 0 : (uint64_t)given->timeout,
    };
    ret = name ? take_named(name, given, target, err) : take_listed(options, given, target, err);
    if (ret == 0)
        ret = take_log(given, target, err);
    if (ret < 0)
        gluster_target_free(target);
    return ret;
}

void gluster_target_free(struct gluster_target *target)
{
    for (size_t i = 0; target->servers && i < target->count; i++) {
        free(target->servers[i].host);
        free(target->servers[i].port);
    }
    free(target->servers);
    free(target->volume);
    free(target->path);
    free(target->logfile);
    *target = (struct gluster_target){ .path = NULL };
}
