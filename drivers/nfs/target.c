/* SPDX-License-Identifier: MIT */
/* What the options say: the server, the file, and as whom to ask for it. */
#include "nfs.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The largest values that are taken, as in qemu-img. */
enum { MOST_READAHEAD = 1 << 20, MOST_PAGES = (8 << 20) / NFS_BLKSIZE, MOST_DEBUG = 2 };

static int missing(const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' is missing", key);
}

static int unexpected(const char *prefix, const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s%s' is unexpected", prefix, key);
}

/* ---- The server ------------------------------------------------------------------------------ */

static int take_members(struct img_doc *server, struct nfs_target *target, struct img_error *err)
{
    CLEANUP_FREE char *type = NULL;

    if (img_options_text(img_doc_get(server, "type"), &type) < 0 ||
        img_options_text(img_doc_get(server, "host"), &target->host) < 0)
        return img_error_memory(err);
    if (!type)
        return missing("server.type", err);
    if (strcmp(type, "inet") != 0)
        return img_error_set(err, EINVAL, "Parameter 'type' does not accept value '%s'", type);
    if (!target->host)
        return missing("server.host", err);
    img_doc_remove(server, "type");
    img_doc_remove(server, "host");
    return img_doc_count(server) ? unexpected("server.", img_doc_key_at(server, 0), err) : 0;
}

static int take_server(struct img_doc *options, struct nfs_target *target, struct img_error *err)
{
    struct img_doc *server = img_doc_take(options, "server");
    int ret;

    if (!server)
        ret = missing("server", err);
    else if (img_doc_type(server) != IMG_DOC_OBJECT)
        ret = img_error_set(err, EINVAL, "Invalid parameter type for 'server', expected: object");
    else
        ret = take_members(server, target, err);
    img_doc_free(server);
    return ret;
}

/* ---- The file ------------------------------------------------------------------------------------ */

/* What is mounted is the folder of the file. */
static int take_path(const char *path, struct nfs_target *target, struct img_error *err)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    if (!path)
        return missing("path", err);
    if (!slash)
        return img_error_set(err, EINVAL, "Invalid URL specified");
    target->path = img_strdup(path);
    target->folder = slash == path ? img_strdup("/") : img_strndup(path, (size_t)(slash - path));
    target->file = img_strdup(slash);
    return target->path && target->folder && target->file ? 0 : img_error_memory(err);
}

/* ---- Numbers ----------------------------------------------------------------------------------------- */

/* 64 bits with a sign, in any base of C. */
static int take_number(const char *key, const char *text, bool *has, int64_t *number, struct img_error *err)
{
    char *end;

    if (!text)
        return 0;
    errno = 0;
    *number = strtoll(text, &end, 0);
    if (!*text || *end || errno)
        return img_error_set(err, EINVAL, "Parameter '%s' expects integer", key);
    *has = true;
    return 0;
}

/* What is for libnfs's own cache, which this driver does without: libimg asks for more than one thing at a time. */
static int take_caches(const struct nfs_open_options *given, bool direct, struct img_error *err)
{
    bool ahead = false, cached = false;
    int64_t bytes = 0, pages = 0;
    int ret = take_number("readahead-size", given->readahead, &ahead, &bytes, err);

    if (ret == 0)
        ret = take_number("page-cache-size", given->page_cache, &cached, &pages, err);
    if (ret < 0)
        return ret;
    if (ahead && direct)
        return img_error_set(err, EINVAL, "Cannot enable NFS readahead if cache.direct = on");
    if (bytes > MOST_READAHEAD)
        img_notice(IMG_WARNING, "Truncating NFS readahead size to %d", MOST_READAHEAD);
    if (cached && direct)
        return img_error_set(err, EINVAL, "Cannot enable NFS pagecache if cache.direct = on");
    if (pages > MOST_PAGES)
        img_notice(IMG_WARNING, "Truncating NFS pagecache size to %d pages", MOST_PAGES);
    return 0;
}

/* ---- All of it --------------------------------------------------------------------------------------- */

static int take_numbers(const struct nfs_open_options *given, struct nfs_target *target, struct img_error *err)
{
    int ret = take_number("user", given->user, &target->has_user, &target->user, err);

    if (ret == 0)
        ret = take_number("group", given->group, &target->has_group, &target->group, err);
    if (ret == 0)
        ret = take_number("tcp-syn-count", given->syn_count, &target->has_syn_count, &target->syn_count, err);
    if (ret == 0)
        ret = take_number("debug", given->debug, &target->has_debug, &target->debug, err);
    return ret;
}

static int take_all(struct img_doc *options, const struct nfs_open_options *given, bool direct,
                    struct nfs_target *target, struct img_error *err)
{
    int ret = take_server(options, target, err);

    if (ret == 0)
        ret = take_path(given->path, target, err);
    if (ret == 0)
        ret = take_numbers(given, target, err);
    if (ret == 0 && img_doc_count(options))
        ret = unexpected("", img_doc_key_at(options, 0), err);
    if (ret == 0)
        ret = take_caches(given, direct, err);
    if (ret == 0 && target->debug > MOST_DEBUG) {
        img_notice(IMG_WARNING, "Limiting NFS debug level to %d", MOST_DEBUG);
        target->debug = MOST_DEBUG;
    }
    return ret;
}

int nfs_target_take(struct img_doc *options, const struct nfs_open_options *given, bool direct,
                    struct nfs_target *target, struct img_error *err)
{
    int ret;

    *target = (struct nfs_target){ .timeout = (uint64_t)given->timeout * 1000 };
    ret = take_all(options, given, direct, target, err);
    if (ret < 0)
        nfs_target_free(target);
    return ret;
}

void nfs_target_free(struct nfs_target *target)
{
    free(target->host);
    free(target->path);
    free(target->folder);
    free(target->file);
    *target = (struct nfs_target){ .path = NULL };
}

char *nfs_target_text(const struct nfs_target *target)
{
    if (target->user && target->group)
        return img_asprintf("nfs://%s%s?uid=%" PRId64 "&gid=%" PRId64, target->host, target->path, target->user,
                            target->group);
    if (target->user || target->group)
        return img_asprintf("nfs://%s%s?%s=%" PRId64, target->host, target->path, target->user ? "uid" : "gid",
                            target->user ? target->user : target->group);
    return img_asprintf("nfs://%s%s", target->host, target->path);
}
