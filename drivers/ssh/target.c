/* SPDX-License-Identifier: MIT */
/* What the options say: the server, the file, the user, and how the server is known. */
#include "ssh.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static int missing(const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' is missing", key);
}

static int unexpected(const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' is unexpected", key);
}

/* ---- The server ------------------------------------------------------------------------------ */

/* "host" and "port" without "server". */
static int old_server(struct img_doc *options, struct img_doc **server, struct img_error *err)
{
    CLEANUP_FREE char *host = NULL, *port = NULL;
    int ret = img_options_take_text(options, "host", &host, err);

    if (ret == 0)
        ret = img_options_take_text(options, "port", &port, err);
    if (ret < 0 || !host)
        return ret;
    *server = img_doc_object();
    img_doc_put_string(*server, "host", host);
    img_doc_put_string(*server, "port", port ? port : SSH_PORT);
    return 0;
}

static int take_server(struct img_doc *options, struct img_address *address, struct img_error *err)
{
    struct img_doc *server = NULL, *given;
    int ret = old_server(options, &server, err);

    if (ret < 0)
        return ret;
    given = img_doc_take(options, "server");
    if (server)
        img_doc_free(given);
    else
        server = given;
    if (!server || img_doc_type(server) != IMG_DOC_OBJECT)
        ret = missing("server", err);
    else if (!img_doc_get(server, "host"))
        ret = missing("server.host", err);
    else if (!img_doc_get(server, "port"))
        ret = missing("server.port", err);
    else if (img_doc_get(server, "type"))
        ret = unexpected("server.type", err);
    if (ret == 0) {
        img_doc_put_string(server, "type", "inet");
        ret = img_address_take(server, address, err);
    }
    img_doc_free(server);
    return ret;
}

/* ---- How the server is known --------------------------------------------------------------------- */

static const struct {
    const char *name;
    int type;
} hashes[] = {
    { "md5", SSH_PUBLICKEY_HASH_MD5 }, { "sha1", SSH_PUBLICKEY_HASH_SHA1 }, { "sha256", SSH_PUBLICKEY_HASH_SHA256 },
};

/* The type that `text` begins with, up to `end`; false: it is none. */
static bool find_hash(const char *text, char end, struct ssh_target *target, const char **rest)
{
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        size_t length = strlen(hashes[i].name);
        if (strncmp(text, hashes[i].name, length) == 0 && text[length] == end) {
            target->check = SSH_CHECK_HASH;
            target->hash_type = hashes[i].type;
            *rest = text + length + (end != 0);
            return true;
        }
    }
    return false;
}

static int keep(char **to, const char *text, struct img_error *err)
{
    *to = img_strdup(text);
    return *to ? 0 : img_error_memory(err);
}

/* host_key_check: "no", "yes", or "sha256:HASH". */
static int take_old_check(const char *text, struct ssh_target *target, struct img_error *err)
{
    const char *hash;

    if (strcmp(text, "no") == 0)
        target->check = SSH_CHECK_NONE;
    else if (find_hash(text, ':', target, &hash))
        return keep(&target->hash, hash, err);
    else if (strcmp(text, "yes") != 0)
        return img_error_set(err, EINVAL, "unknown host_key_check setting (%s)", text);
    return 0;
}

static int take_hash(const char *type, const char *hash, struct ssh_target *target, struct img_error *err)
{
    const char *rest;

    if (!type)
        return missing("host-key-check.type", err);
    if (!find_hash(type, 0, target, &rest))
        return img_error_set(err, EINVAL, "Parameter 'type' does not accept value '%s'", type);
    return hash ? keep(&target->hash, hash, err) : missing("host-key-check.hash", err);
}

/* The object "host-key-check". */
static int take_check(struct img_doc *check, struct ssh_target *target, struct img_error *err)
{
    CLEANUP_FREE char *mode = NULL, *type = NULL, *hash = NULL;
    int ret = img_options_take_text(check, "mode", &mode, err);

    if (ret < 0 || !mode)
        return ret < 0 ? ret : missing("host-key-check.mode", err);
    if (strcmp(mode, "hash") == 0) {
        ret = img_options_take_text(check, "type", &type, err);
        if (ret == 0)
            ret = img_options_take_text(check, "hash", &hash, err);
        return ret < 0 ? ret : take_hash(type, hash, target, err);
    }
    if (strcmp(mode, "none") == 0)
        target->check = SSH_CHECK_NONE;
    else if (strcmp(mode, "known_hosts") != 0)
        return img_error_set(err, EINVAL, "Parameter 'mode' does not accept value '%s'", mode);
    if (img_doc_count(check)) {
        CLEANUP_FREE char *key = img_asprintf("host-key-check.%s", img_doc_key_at(check, 0));
        return key ? unexpected(key, err) : img_error_memory(err);
    }
    return 0;
}

/* The older option wins, if both are given. */
static int take_checks(struct img_doc *options, const char *old, struct ssh_target *target, struct img_error *err)
{
    struct img_doc *check = img_doc_take(options, "host-key-check");
    int ret = 0;

    target->check = SSH_CHECK_KNOWN;
    if (old) {
        ret = keep(&target->shown_check, old, err);
        if (ret == 0)
            ret = take_old_check(old, target, err);
    } else if (check && img_doc_type(check) == IMG_DOC_OBJECT) {
        ret = take_check(check, target, err);
    }
    img_doc_free(check);
    return ret;
}

/* ---- All of it --------------------------------------------------------------------------------------- */

/* Who runs the program, if nobody is named. */
static int take_user(const char *given, char **user, struct img_error *err)
{
    const struct passwd *entry = given ? NULL : getpwuid(getuid());

    if (!given && !entry)
        return img_error_set(err, EINVAL, "Can't get user name");
    return keep(user, given ? given : entry->pw_name, err);
}

static int take_all(struct img_doc *options, const struct ssh_open_options *given, struct ssh_target *target,
                    struct img_error *err)
{
    int ret = take_server(options, &target->address, err);

    if (ret == 0 && !given->path)
        ret = missing("path", err);
    if (ret == 0)
        ret = keep(&target->path, given->path, err);
    if (ret == 0)
        ret = take_checks(options, given->old_check, target, err);
    if (ret == 0 && img_doc_count(options))
        ret = unexpected(img_doc_key_at(options, 0), err);
    if (ret == 0)
        ret = take_user(given->user, &target->user, err);
    return ret;
}

int ssh_target_take(struct img_doc *options, const struct ssh_open_options *given, struct ssh_target *target,
                    struct img_error *err)
{
    int ret;

    *target = (struct ssh_target){ .timeout = (uint64_t)given->timeout * 1000 };
    ret = take_all(options, given, target, err);
    if (ret < 0)
        ssh_target_free(target);
    return ret;
}

void ssh_target_free(struct ssh_target *target)
{
    img_address_free(&target->address);
    free(target->path);
    free(target->user);
    free(target->hash);
    free(target->shown_check);
    *target = (struct ssh_target){ .path = NULL };
}

char *ssh_target_text(const struct ssh_target *target)
{
    return img_asprintf("ssh://%s@%s:%s%s%s%s", target->user, target->address.host, target->address.port, target->path,
                        target->shown_check ? "?host_key_check=" : "", target->shown_check ? target->shown_check : "");
}
