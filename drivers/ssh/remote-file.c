/* SPDX-License-Identifier: MIT */
/* The open file on the server. */
#include "ssh.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/printable.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <sys/stat.h>

/* The permissions of a new file, before the server's mask. */
enum { NEW_FILE = 0644, HAS_PERMISSIONS = 4 };
enum { MOST_PAYLOAD = 1024 };

/* ---- Calls: one message, one answer -------------------------------------------------------------------- */

struct call {
    struct ssh_request request;
    uint8_t payload[MOST_PAYLOAD];
};

static int run_call(struct ssh_connection *c, struct call *call, enum sftp3_type type, const struct img_strbuf *message,
                    int stop)
{
    if (message->failed)
        return -ENOMEM;
    call->request = (struct ssh_request){
        .kind = SSH_CALL, .call = type, .write = (const uint8_t *)message->text, .length = message->length,
        .payload = call->payload, .room = sizeof call->payload, .stop = stop,
    };
    return ssh_connection_run(c, &call->request);
}

static void add_number(struct img_strbuf *message, uint32_t number)
{
    uint8_t bytes[4];

    img_put_be32(bytes, number);
    img_strbuf_add_bytes(message, bytes, sizeof bytes);
}

static void add_string(struct img_strbuf *message, const void *bytes, size_t length)
{
    add_number(message, (uint32_t)length);
    img_strbuf_add_bytes(message, bytes, length);
}

/* A call about the open file, with `name` in front, if that is not NULL. */
static int call_on_file(struct ssh_connection *c, struct call *call, enum sftp3_type type, const char *name, int stop)
{
    struct img_strbuf message = { 0 };
    int ret;

    if (name)
        add_string(&message, name, strlen(name));
    add_string(&message, c->handle.bytes, c->handle.length);
    ret = run_call(c, call, type, &message, stop);
    img_strbuf_free(&message);
    return ret;
}

/* ---- What went wrong -------------------------------------------------------------------------------------- */

static int code_of(uint32_t status)
{
    switch (status) {
    case SFTP3_NO_SUCH_FILE: return ENOENT;
    case SFTP3_PERMISSION_DENIED: return EACCES;
    case SFTP3_UNSUPPORTED: return ENOTSUP;
    default: return EIO;
    }
}

/* The answer is an error, or none that fits, or the connection is lost. */
static int call_failed(struct ssh_connection *c, const struct call *call, int ret, const char *what,
                       struct img_error *err)
{
    CLEANUP_FREE char *words = NULL;
    const char *text;
    size_t length;
    uint32_t status;

    if (ret == 0 && call->request.answer == SFTP3_STATUS &&
        sftp3_get_status(call->payload, call->request.got, &status, &text, &length)) {
        words = img_strndup(text, length);
        if (!words)
            return img_error_memory(err);
        for (char *at = words; *at; at++)
            *at = img_printable(*at);
        return img_error_set(err, code_of(status), "%s: SFTP server: %s (libssh error code: %d, sftp error code: %u)",
                             what, words, SSH_REQUEST_DENIED, (unsigned)status);
    }
    if (ret == -ENOMEM)
        return img_error_memory(err);
    if (ret == 0)
        return img_error_set(err, EIO, "%s: the server's answer makes no sense", what);
    return img_error_set(err, EIO, "%s: %s (libssh error code: %d, sftp error code: %d)", what,
                         ssh_get_error(c->carrier.session), ssh_get_error_code(c->carrier.session),
                         SFTP3_CONNECTION_LOST);
}

/* ---- The file ------------------------------------------------------------------------------------------------ */

int ssh_file_open(struct ssh_connection *c, const struct ssh_target *target, uint32_t flags, int stop,
                  struct img_error *err)
{
    struct img_strbuf message = { 0 };
    CLEANUP_FREE char *what = img_asprintf("failed to open remote file '%s'", target->path);
    struct call call;
    int ret;

    add_string(&message, target->path, strlen(target->path));
    add_number(&message, flags);
    add_number(&message, HAS_PERMISSIONS);
    add_number(&message, NEW_FILE);
    ret = what ? run_call(c, &call, SFTP3_OPEN, &message, stop) : -ENOMEM;
    img_strbuf_free(&message);
    if (ret == 0 && call.request.answer == SFTP3_HANDLE &&
        sftp3_get_handle(call.payload, call.request.got, &c->handle))
        return 0;
    return call_failed(c, &call, ret, what, err);
}

void ssh_file_close(struct ssh_connection *c)
{
    struct call call;

    if (!c->lost)
        call_on_file(c, &call, SFTP3_CLOSE, NULL, -1);
}

int ssh_file_look(struct ssh_connection *c, struct ssh_look *look, struct img_error *err)
{
    struct call call;
    bool has_size;
    uint32_t mode;
    int ret = call_on_file(c, &call, SFTP3_FSTAT, NULL, -1);

    if (ret < 0 || call.request.answer != SFTP3_ATTRS ||
        !sftp3_get_attributes(call.payload, call.request.got, &has_size, &look->size, &mode))
        return call_failed(c, &call, ret, "failed to read file attributes", err);
    look->regular = S_ISREG(mode);
    if (!has_size)
        return img_error_set(err, EINVAL, "The server does not say how long the file is");
    return look->size > INT64_MAX - 511 ? img_error_set(err, EFBIG, "The file is too large") : 0;
}

int ssh_file_flush(void *connection, void *stop)
{
    struct ssh_connection *c = connection;
    const char *text;
    size_t length;
    uint32_t status;
    struct call call;
    int ret;

    if (!c->can_flush)
        return -ENOTSUP;
    ret = call_on_file(c, &call, SFTP3_EXTENDED, "fsync@openssh.com", *(int *)stop);
    if (ret < 0)
        return ret;
    if (call.request.answer != SFTP3_STATUS ||
        !sftp3_get_status(call.payload, call.request.got, &status, &text, &length))
        return -EIO;
    return status == SFTP3_OK ? 0 : -code_of(status);
}
