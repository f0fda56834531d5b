/* SPDX-License-Identifier: MIT */
/*
 * The handshake, and who the user is.  libssh would wait without an end; so it is told never to wait, and asked again
 * when the socket has something.
 */
#include "ssh.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static int session_error(ssh_session session, const char *what, struct img_error *err)
{
    const char *text = ssh_get_error(session);
    int code = ssh_get_error_code(session);

    if (code == SSH_NO_ERROR)
        return img_error_set(err, EINVAL, "%s", what);
    return img_error_set(err, EINVAL, "%s: %s (libssh error code: %d)", what, text, code);
}

/* ---- Waiting ------------------------------------------------------------------------------------------ */

/* `what` failed if the server is silent for too long. */
static int wait_for_server(const struct ssh_carrier *carrier, const char *what, int stop, struct img_error *err)
{
    bool pending = ssh_get_poll_flags(carrier->session) & SSH_WRITE_PENDING;
    uint64_t end = carrier->timeout ? img_now_milliseconds() + carrier->timeout : 0;
    int ret = img_fd_wait(carrier->fd, (short)(POLLIN | (pending ? POLLOUT : 0)), end, stop);

    if (ret == -ETIMEDOUT)
        return img_error_set(err, ETIMEDOUT, "%s: the server does not answer", what);
    return ret < 0 ? img_error_errno(err, -ret, "%s", what) : 0;
}

/* ---- Steps ------------------------------------------------------------------------------------------------ */

static int refused(ssh_session session, const char *what, struct img_error *err)
{
    return img_error_set(err, EINVAL, "failed to set %s in the libssh session: %s (libssh error code: %d)", what,
                         ssh_get_error(session), ssh_get_error_code(session));
}

/* (The socket is ours, so that connecting can be given up.) */
static int set_options(struct ssh_carrier *carrier, const struct ssh_target *target, struct img_error *err)
{
    unsigned port = (unsigned)atoi(target->address.port);
    int no = 0, verbosity = SSH_LOG_NOLOG;
    ssh_session session = carrier->session;

    if (ssh_options_set(session, SSH_OPTIONS_LOG_VERBOSITY, &verbosity) < 0)
        return refused(session, "the verbosity", err);
    if (ssh_options_set(session, SSH_OPTIONS_USER, target->user) < 0)
        return refused(session, "the user", err);
    if (ssh_options_set(session, SSH_OPTIONS_HOST, target->address.host) < 0)
        return refused(session, "the host", err);
    if (ssh_options_set(session, SSH_OPTIONS_PORT, &port) < 0)
        return refused(session, "the port", err);
    if (ssh_options_set(session, SSH_OPTIONS_COMPRESSION, "none") < 0)
        return refused(session, "the compression", err);
    if (ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(session, SSH_OPTIONS_FD, &carrier->fd) < 0)
        return refused(session, "the socket", err);
    /* The user's ~/.ssh/config may name keys. */
    ssh_options_parse_config(session, NULL);
    return 0;
}

static int shake_hands(struct ssh_carrier *carrier, int stop, struct img_error *err)
{
    static const char what[] = "failed to establish SSH session";
    int said, ret = 0;

    while ((said = ssh_connect(carrier->session)) == SSH_AGAIN && ret == 0)
        ret = wait_for_server(carrier, what, stop, err);
    if (ret == 0 && said != SSH_OK)
        ret = session_error(carrier->session, what, err);
    return ret;
}

static int authenticate(struct ssh_carrier *carrier, int stop, struct img_error *err)
{
    static const char what[] = "failed to authenticate using none authentication",
        no_key[] = "failed to authenticate using publickey authentication and the identities held by your ssh-agent";
    ssh_session session = carrier->session;
    int said, ret = 0;

    while ((said = ssh_userauth_none(session, NULL)) == SSH_AUTH_AGAIN && ret == 0)
        ret = wait_for_server(carrier, what, stop, err);
    if (ret < 0 || said == SSH_AUTH_SUCCESS)
        return ret;
    if (said == SSH_AUTH_ERROR)
        return session_error(session, what, err);
    if (!(ssh_userauth_list(session, NULL) & SSH_AUTH_METHOD_PUBLICKEY))
        return img_error_set(err, EPERM, "%s", no_key);
    while ((said = ssh_userauth_publickey_auto(session, NULL, NULL)) == SSH_AUTH_AGAIN && ret == 0)
        ret = wait_for_server(carrier, no_key, stop, err);
    if (ret == 0 && said != SSH_AUTH_SUCCESS)
        ret = img_error_set(err, EPERM, "%s", no_key);
    return ret;
}

/* ---- Starting and ending ------------------------------------------------------------------------------------- */

int ssh_carrier_start(struct ssh_carrier *carrier, const struct ssh_target *target, int stop, struct img_error *err)
{
    int ret;

    *carrier = (struct ssh_carrier){ .timeout = target->timeout };
    carrier->fd = img_dial(&target->address, target->timeout, stop, err);
    if (carrier->fd < 0)
        return carrier->fd;
    carrier->session = ssh_new();
    if (!carrier->session) {
        close(carrier->fd);
        return img_error_memory(err);
    }
    ssh_set_blocking(carrier->session, 0);
    ssh_set_counters(carrier->session, &carrier->traffic, NULL);
    ret = set_options(carrier, target, err);
    if (ret == 0)
        ret = shake_hands(carrier, stop, err);
    if (ret == 0)
        ret = ssh_check_host_key(carrier->session, target, err);
    if (ret == 0)
        ret = authenticate(carrier, stop, err);
    if (ret < 0)
        ssh_carrier_end(carrier);
    return ret;
}

int ssh_carrier_channel(struct ssh_carrier *carrier, ssh_channel *channel, int stop, struct img_error *err)
{
    static const char what[] = "failed to create sftp handle";
    int said = SSH_ERROR, ret = 0;

    *channel = ssh_channel_new(carrier->session);
    while (*channel && (said = ssh_channel_open_session(*channel)) == SSH_AGAIN && ret == 0)
        ret = wait_for_server(carrier, what, stop, err);
    while (ret == 0 && said == SSH_OK && (said = ssh_channel_request_sftp(*channel)) == SSH_AGAIN) {
        ret = wait_for_server(carrier, what, stop, err);
        said = SSH_OK;
    }
    if (ret == 0 && said != SSH_OK)
        ret = session_error(carrier->session, what, err);
    if (ret < 0 && *channel) {
        ssh_channel_free(*channel);
        *channel = NULL;
    }
    return ret;
}

void ssh_carrier_end(struct ssh_carrier *carrier)
{
    ssh_disconnect(carrier->session);
    ssh_free(carrier->session);
}
