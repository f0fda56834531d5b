/* SPDX-License-Identifier: MIT */
/*
 * One connection.  Threads hand their requests to libnbd, and take turns at the socket (net/turns.h).  So many requests
 * are in flight, answered in any order.
 */
#include "nbd.h"
#include "../../libimg/net/nbd-ask.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include "../../libimg/util/printable.h"
#include "../../libimg/util/strbuf.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * How long an answer is waited for, in milliseconds: one that nobody needs any more, and one to anything but a flush,
 * which may have to write all that a server has in memory.
 */
enum { GRACE = 1000, SILENCE = 300 * 1000 };

/* ---- Waiting -------------------------------------------------------------------------- */

static short events_of(const struct nbd_connection *c)
{
    unsigned direction = nbd_aio_get_direction(c->handle);

    return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                   (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* What came, or went.  An error makes the connection dead, and libnbd then fails all requests. */
static void notify(struct nbd_connection *c, short events)
{
    unsigned direction = nbd_aio_get_direction(c->handle);

    if (events & (POLLIN | POLLHUP) && direction & LIBNBD_AIO_DIRECTION_READ)
        nbd_aio_notify_read(c->handle);
    else if (events & POLLOUT && direction & LIBNBD_AIO_DIRECTION_WRITE)
        nbd_aio_notify_write(c->handle);
    else if (events & (POLLERR | POLLNVAL | POLLHUP))
        nbd_aio_notify_read(c->handle);
}

/* Wait for the socket once, with the lock released; `stop`: a descriptor that ends it, or -1. */
static int wait_once(struct nbd_connection *c, int stop, int milliseconds)
{
    short happened;
    int ret = img_turns_wait(&c->turns, nbd_aio_get_fd(c->handle), events_of(c), stop, milliseconds, &happened);

    if (happened)
        notify(c, happened);
    return ret;
}

/* ---- Handshake ----------------------------------------------------------------------------- */

static void make_printable(char *text)
{
    for (; *text; text++)
        *text = img_printable(*text);
}

/* What the server says of a refusal is told by libnbd to those only who trace it. */
static int listen_for_reason(void *context, const char *function, const char *message)
{
    static const char mark[] = "server error message: ";
    const char *found = strstr(message, mark);
    char **reason = context;

    (void)function;
    if (found) {
        free(*reason);
        *reason = img_strdup(found + sizeof mark - 1);
        if (*reason)
            make_printable(*reason);
    }
    return 0;
}

/* libnbd's message without the name of its function. */
static const char *message_of(const char *text)
{
    const char *colon = text ? strstr(text, ": ") : NULL;

    if (!text)
        return "The NBD server does not answer as it has to";
    return colon && strncmp(text, "nbd_", 4) == 0 ? colon + 2 : text;
}

static void tell_reason(const char *before, const char *reason, struct img_error *err)
{
    if (reason)
        img_error_hint(err, "%sserver reported: %s", before, reason);
}

static int refused(const char *reason, struct img_error *err)
{
    const char *text = nbd_get_error();
    int code = nbd_get_errno();

    if (code == ENOTSUP && text && strstr(text, "TLS")) {
        img_error_hint(err, "Did you forget a valid tls-creds?");
        tell_reason("Did you forget a valid tls-creds?\n", reason, err);
        return img_error_set(err, EINVAL, "TLS negotiation required before option 7 (go)");
    }
    tell_reason("", reason, err);
    if (code == ENOENT)
        return img_error_set(err, EINVAL, "Requested export not available");
    return img_error_set(err, EINVAL, "%s", message_of(text));
}

/* -EINVAL: libnbd has the message. */
static int shake_hands(struct nbd_connection *c, int fd, uint64_t end, int stop, struct img_error *err)
{
    if (nbd_aio_connect_socket(c->handle, fd) < 0) {
        close(fd);
        return -EINVAL;
    }
    while (nbd_aio_is_connecting(c->handle)) {
        uint64_t at = img_now_milliseconds();
        int ret = at >= end ? -ETIMEDOUT : wait_once(c, stop, (int)(end - at));
        if (ret == -ETIMEDOUT)
            return img_error_set(err, ETIMEDOUT, "The NBD server does not answer");
        if (ret < 0)
            return img_error_errno(err, -ret, "Could not wait for the NBD server");
    }
    return nbd_aio_is_ready(c->handle) ? 0 : -EINVAL;
}

static int agree(struct nbd_connection *c, int fd, uint64_t end, int stop, struct img_error *err)
{
    CLEANUP_FREE char *reason = NULL;
    int ret;

    nbd_set_debug_callback(c->handle, (nbd_debug_callback){ .callback = listen_for_reason, .user_data = &reason });
    nbd_set_debug(c->handle, true);
    pthread_mutex_lock(&c->turns.lock);
    ret = shake_hands(c, fd, end, stop, err);
    if (ret == -EINVAL)
        refused(reason, err);
    pthread_mutex_unlock(&c->turns.lock);
    nbd_set_debug(c->handle, false);
    nbd_clear_debug_callback(c->handle);
    return ret;
}

/*
 * Look at what the server sends first, without taking it: libnbd's messages do not show it.  Whatever is not clear at a
 * glance is left to libnbd.
 */
static int look_at_greeting(int fd, uint64_t end, int stop, struct img_error *err)
{
    unsigned char greeting[16];
    ssize_t got = img_fd_wait(fd, POLLIN, end, stop) == 0 ? recv(fd, greeting, sizeof greeting, MSG_PEEK) : -1;

    return got < 0 ? 0 : img_nbd_judge_greeting(greeting, (size_t)got, err);
}

/* A connected socket, with the plain bytes. */
static int reach(const struct nbd_target *target, uint64_t end, int stop, struct img_error *err)
{
    int fd = img_dial(&target->address, NBD_PATIENCE * 1000, stop, err), ret;

    if (fd < 0)
        return fd;
    ret = look_at_greeting(fd, end, stop, err);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    return target->tls ? nbd_start_tls(target, fd, end, stop, err) : fd;
}

/* An oldstyle server has one export, which has no name. */
static int judge_style(const struct nbd_connection *c, const struct nbd_target *target, struct img_error *err)
{
    const char *style = nbd_get_protocol(c->handle);

    if (target->export && *target->export && style && strcmp(style, "oldstyle") == 0)
        return img_error_set(err, EINVAL, "Server does not support non-empty export names");
    return 0;
}

static int connect_and_agree(struct nbd_connection *c, const struct nbd_target *target, int stop,
                             struct img_error *err)
{
    uint64_t end = img_now_milliseconds() + NBD_PATIENCE * 1000;
    int fd, ret;

    c->handle = nbd_create();
    if (!c->handle || nbd_set_export_name(c->handle, target->export ? target->export : "") < 0 ||
        nbd_add_meta_context(c->handle, nbd_context(target)) < 0)
        return refused(NULL, err);
    fd = reach(target, end, stop, err);
    ret = fd < 0 ? fd : agree(c, fd, end, stop, err);
    return ret < 0 ? ret : judge_style(c, target, err);
}

int nbd_connection_open(struct nbd_connection *c, const struct nbd_target *target, int stop, struct img_error *err)
{
    int ret = img_turns_init(&c->turns);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not make a pipe");
    ret = connect_and_agree(c, target, stop, err);
    if (ret < 0)
        nbd_connection_close(c);
    return ret;
}

/* Say goodbye, if the server takes it. */
static void part(struct nbd_connection *c)
{
    uint64_t end = img_now_milliseconds() + GRACE;

    if (!nbd_aio_is_ready(c->handle) || nbd_aio_disconnect(c->handle, 0) < 0)
        return;
    pthread_mutex_lock(&c->turns.lock);
    while (!nbd_aio_is_closed(c->handle) && !nbd_aio_is_dead(c->handle)) {
        uint64_t at = img_now_milliseconds();
        if (at >= end || wait_once(c, -1, (int)(end - at)) < 0)
            break;
    }
    pthread_mutex_unlock(&c->turns.lock);
}

void nbd_connection_close(struct nbd_connection *c)
{
    if (c->handle)
        part(c);
    nbd_close(c->handle);
    c->handle = NULL;
    img_turns_end(&c->turns);
}

/* ---- Answers ----------------------------------------------------------------------------------- */

static int completed(void *context, int *error)
{
    struct nbd_request *request = context;

    request->error = *error;
    img_turn_answer(&request->turn);
    return 1;                       /* libnbd may forget it */
}

/* libnbd does not look whether a server sends a part twice and another one never. */
static int chunk_came(void *context, const void *bytes, size_t count, uint64_t offset, unsigned status, int *error)
{
    struct nbd_request *request = context;
    int ret = status == LIBNBD_READ_ERROR ? 0 : nbd_received_add(&request->received, offset, count);

    (void)bytes;
    if (ret < 0)
        *error = -ret;
    return ret < 0 ? -1 : 0;
}

/* A server that sends less than was asked for, and says that this was all. */
static bool is_short(const struct nbd_request *request)
{
    return request->kind == NBD_READ && !nbd_received_all(&request->received, request->offset, request->length);
}

#ifdef LIBNBD_HAVE_NBD_AIO_BLOCK_STATUS_64
static int status_came(void *context, const char *name, uint64_t offset, nbd_extent *entries, size_t count, int *error)
{
    struct nbd_request *request = context;

    (void)error;
    for (size_t i = 0; i < count && strcmp(name, request->context) == 0; i++) {
        nbd_add_extent(request, offset, entries[i].length, entries[i].flags);
        offset += entries[i].length;
    }
    return 0;
}

static int64_t ask_status(struct nbd_handle *handle, struct nbd_request *r, nbd_completion_callback done)
{
    return nbd_aio_block_status_64(handle, r->length, r->offset,
                                   (nbd_extent64_callback){ .callback = status_came, .user_data = r }, done, r->flags);
}
#else
static int status_came(void *context, const char *name, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
    struct nbd_request *request = context;

    (void)error;
    for (size_t i = 0; i + 1 < count && strcmp(name, request->context) == 0; i += 2) {
        nbd_add_extent(request, offset, entries[i], entries[i + 1]);
        offset += entries[i];
    }
    return 0;
}

static int64_t ask_status(struct nbd_handle *handle, struct nbd_request *r, nbd_completion_callback done)
{
    return nbd_aio_block_status(handle, r->length, r->offset,
                                (nbd_extent_callback){ .callback = status_came, .user_data = r }, done, r->flags);
}
#endif

/* ---- Requests --------------------------------------------------------------------------------- */

static int64_t send_request(struct nbd_handle *handle, struct nbd_request *r)
{
    const nbd_completion_callback done = { .callback = completed, .user_data = r };

    switch (r->kind) {
    case NBD_READ:
        return nbd_aio_pread_structured(handle, r->read, r->length, r->offset,
                                        (nbd_chunk_callback){ .callback = chunk_came, .user_data = r }, done,
                                        r->flags);
    case NBD_WRITE:
        return nbd_aio_pwrite(handle, r->write, r->length, r->offset, done, r->flags);
    case NBD_ZERO:
        return nbd_aio_zero(handle, r->length, r->offset, done, r->flags);
    case NBD_TRIM:
        return nbd_aio_trim(handle, r->length, r->offset, done, r->flags);
    case NBD_FLUSH:
        return nbd_aio_flush(handle, done, r->flags);
    case NBD_STATUS:
        return ask_status(handle, r, done);
    }
    return -1;
}

static void hang_up(struct nbd_connection *c)
{
    shutdown(nbd_aio_get_fd(c->handle), SHUT_RDWR);
}

/* Wait for the socket on behalf of all, until this request is answered. */
static void serve_all(struct nbd_connection *c, const struct nbd_request *request)
{
    int patience = request->kind == NBD_FLUSH ? -1 : SILENCE, stop = request->stop;

    while (!request->turn.done) {
        int ret = wait_once(c, stop, patience);
        if (ret == -ECANCELED) {
            /* Nobody needs the answer any more, but it may come soon. */
            stop = -1;
            patience = GRACE;
        } else if (ret < 0) {
            /* It would be put into memory that is gone by then, so the connection goes. */
            hang_up(c);
        }
    }
}

static bool is_gone(const struct nbd_connection *c)
{
    return nbd_aio_is_dead(c->handle) || nbd_aio_is_closed(c->handle);
}

/* libnbd did not take it. */
static int unsent(const struct nbd_connection *c)
{
    int error = nbd_get_errno();

    if (is_gone(c))
        return IMG_POOL_LOST;
    return error == ENOTSUP || error == EINVAL || error == ENOMEM ? -error : -EIO;
}

static int result_of(const struct nbd_connection *c, const struct nbd_request *request)
{
    if (request->error && is_gone(c))
        return IMG_POOL_LOST;
    if (request->error)
        return -request->error;
    return is_short(request) ? -EIO : 0;
}

int nbd_connection_run(void *connection, void *context)
{
    struct nbd_connection *c = connection;
    struct nbd_request *request = context;
    int ret;

    request->count = 0;
    nbd_received_begin(&request->received);
    request->turn = (struct img_turn)IMG_TURN_INIT;
    LOCK_SCOPE(&c->turns.lock);
    if (send_request(c->handle, request) < 0)
        return unsent(c);
    img_turns_wake(&c->turns);
    img_turn_begin(&c->turns, &request->turn);
    if (img_turn_sleep(&c->turns, &request->turn))
        serve_all(c, request);
    img_turn_end(&c->turns, &request->turn);
    ret = result_of(c, request);
    nbd_received_end(&request->received);
    return ret;
}
