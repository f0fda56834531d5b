/* SPDX-License-Identifier: MIT */
/* One connection: the handshake, who the user is, and the open file. */
#include "ssh.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/strbuf.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* The permissions of a new file, before the server's mask. */
enum { NEW_FILE = 0644 };

/* ---- Errors -------------------------------------------------------------------------------------- */

static int session_error(ssh_session session, const char *what, struct img_error *err)
{
    const char *text = ssh_get_error(session);
    int code = ssh_get_error_code(session);

    if (code == SSH_NO_ERROR)
        return img_error_set(err, EINVAL, "%s", what);
    return img_error_set(err, EINVAL, "%s: %s (libssh error code: %d)", what, text, code);
}

static int sftp_error_code(int code)
{
    switch (code) {
    case SSH_FX_NO_SUCH_FILE: case SSH_FX_NO_SUCH_PATH: return ENOENT;
    case SSH_FX_PERMISSION_DENIED: return EACCES;
    case SSH_FX_WRITE_PROTECT: return EROFS;
    case SSH_FX_OP_UNSUPPORTED: return ENOTSUP;
    default: return EIO;
    }
}

static int file_error(struct ssh_connection *c, const char *what, const char *path, struct img_error *err)
{
    int code = sftp_get_error(c->sftp);

    return img_error_set(err, sftp_error_code(code), "%s '%s': %s (libssh error code: %d, sftp error code: %d)", what,
                         path, ssh_get_error(c->session), ssh_get_error_code(c->session), code);
}

/* ---- Steps ------------------------------------------------------------------------------------------ */

/* (The socket is ours, so that connecting can be given up and a stalled connection cut.) */
static int set_options(struct ssh_connection *c, const struct ssh_target *target, struct img_error *err)
{
    unsigned port = (unsigned)atoi(target->address.port);
    int no = 0, verbosity = SSH_LOG_NOLOG;
    long seconds = target->timeout ? (long)(target->timeout / 1000) : 365 * 86400L;

    if (ssh_options_set(c->session, SSH_OPTIONS_LOG_VERBOSITY, &verbosity) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_USER, target->user) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_HOST, target->address.host) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_COMPRESSION, "none") < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_TIMEOUT, &seconds) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_FD, &c->fd) < 0)
        return session_error(c->session, "failed to set up libssh", err);
    /* The user's ~/.ssh/config may name keys. */
    ssh_options_parse_config(c->session, NULL);
    return 0;
}

static int authenticate(struct ssh_connection *c, struct img_error *err)
{
    int ret = ssh_userauth_none(c->session, NULL), methods;

    if (ret == SSH_AUTH_SUCCESS)
        return 0;
    if (ret == SSH_AUTH_ERROR)
        return session_error(c->session, "failed to authenticate using none authentication", err);
    methods = ssh_userauth_list(c->session, NULL);
    if (methods & SSH_AUTH_METHOD_PUBLICKEY && ssh_userauth_publickey_auto(c->session, NULL, NULL) == SSH_AUTH_SUCCESS)
        return 0;
    return img_error_set(err, EPERM, "failed to authenticate using publickey authentication and the identities held by "
                         "your ssh-agent");
}

static int open_file(struct ssh_connection *c, const struct ssh_target *target, const struct ssh_mode *mode,
                     struct img_error *err)
{
    c->sftp = sftp_new(c->session);
    if (!c->sftp)
        return session_error(c->session, "failed to create sftp handle", err);
    if (sftp_init(c->sftp) < 0)
        return img_error_set(err, EINVAL, "failed to initialize sftp handle: %s (libssh error code: %d, sftp error code: "
                             "%d)", ssh_get_error(c->session), ssh_get_error_code(c->session), sftp_get_error(c->sftp));
    c->file = sftp_open(c->sftp, target->path, mode->flags, NEW_FILE);
    return c->file ? 0 : file_error(c, "failed to open remote file", target->path, err);
}

static int shake_hands(struct ssh_connection *c, const struct ssh_target *target, const struct ssh_mode *mode,
                       struct img_error *err)
{
    int ret = set_options(c, target, err);

    if (ret < 0)
        return ret;
    if (ssh_connect(c->session) != SSH_OK)
        return session_error(c->session, "failed to establish SSH session", err);
    ret = ssh_check_host_key(c->session, target, err);
    if (ret == 0)
        ret = authenticate(c, err);
    return ret < 0 ? ret : open_file(c, target, mode, err);
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

int ssh_connection_open(struct ssh_connection *c, const struct ssh_target *target, const struct ssh_mode *mode, int stop,
                        struct img_error *err)
{
    struct ssh_watch *watch = c->watch;
    int ret;

    *c = (struct ssh_connection){ .fd = -1, .watch = watch };
    c->fd = img_dial(&target->address, target->timeout, stop, err);
    if (c->fd < 0)
        return c->fd;
    c->session = ssh_new();
    if (!c->session) {
        close(c->fd);
        return img_error_memory(err);
    }
    pthread_mutex_init(&c->lock, NULL);
    c->started = img_now_milliseconds();
    if (watch)
        ssh_watch_add(watch, c);
    ret = shake_hands(c, target, mode, err);
    __atomic_store_n(&c->started, 0, __ATOMIC_RELAXED);
    if (ret < 0)
        ssh_connection_close(c);
    return ret;
}

void ssh_connection_close(struct ssh_connection *c)
{
    /* (closing the file waits for an answer) */
    __atomic_store_n(&c->started, img_now_milliseconds(), __ATOMIC_RELAXED);
    if (c->file)
        sftp_close(c->file);
    if (c->sftp)
        sftp_free(c->sftp);
    if (c->watch)
        ssh_watch_remove(c->watch, c);
    ssh_disconnect(c->session);
    ssh_free(c->session);
    pthread_mutex_destroy(&c->lock);
}

int ssh_connection_size(struct ssh_connection *c, uint64_t *size, struct img_error *err)
{
    sftp_attributes attributes = sftp_fstat(c->file);

    if (!attributes)
        return img_error_set(err, EINVAL, "failed to read file attributes: %s", ssh_get_error(c->session));
    *size = attributes->size;
    sftp_attributes_free(attributes);
    return *size > INT64_MAX - 511 ? img_error_set(err, EFBIG, "The file is too large") : 0;
}
