/* SPDX-License-Identifier: MIT */
/*
 * One connection.  Threads hand their requests to libnbd, under a lock that is never held while anybody waits.  One of
 * them waits for the socket on behalf of all, and lets libnbd take what has arrived; the others wait for their answer.
 * So many requests are in flight, answered in any order.
 */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How long an answer is waited for that nobody needs: milliseconds. */
enum { GRACE = 1000 };

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
    struct pollfd wait[] = { { .fd = nbd_aio_get_fd(c->handle), .events = events_of(c) },
                             { .fd = c->wake[0], .events = POLLIN }, { .fd = stop, .events = POLLIN } };
    char drain[64];
    int ready;

    pthread_mutex_unlock(&c->lock);
    ready = poll(wait, 3, milliseconds);
    pthread_mutex_lock(&c->lock);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    if (wait[1].revents && read(c->wake[0], drain, sizeof drain) < 0 && errno != EAGAIN)
        return -errno;
    if (wait[2].revents)
        return -ECANCELED;
    if (wait[0].revents)
        notify(c, wait[0].revents);
    return ready == 0 ? -ETIMEDOUT : 0;
}

/* ---- Handshake ----------------------------------------------------------------------------- */

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
    }
    return 0;
}

static int refused(const char *reason, struct img_error *err)
{
    const char *text = nbd_get_error();
    int code = nbd_get_errno();

    if (reason)
        img_error_hint(err, "server reported: %s", reason);
    if (code == ENOENT)
        return img_error_set(err, EINVAL, "Requested export not available");
    if (code == ENOTSUP && text && strstr(text, "TLS")) {
        img_error_hint(err, "Did you forget a valid tls-creds?");
        return img_error_set(err, EINVAL, "TLS negotiation required before option 7 (go)");
    }
    return img_error_set(err, EINVAL, "%s", text ? text : "The NBD server does not answer as it has to");
}

static uint64_t seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

static int shake_hands(struct nbd_connection *c, int fd, struct img_error *err)
{
    uint64_t end = seconds() + NBD_PATIENCE;

    if (nbd_aio_connect_socket(c->handle, fd) < 0)
        return -EINVAL;
    while (nbd_aio_is_connecting(c->handle)) {
        uint64_t now = seconds();
        if (now >= end || wait_once(c, -1, (int)(end - now) * 1000) == -ETIMEDOUT)
            return img_error_set(err, ETIMEDOUT, "The NBD server does not answer");
    }
    return nbd_aio_is_ready(c->handle) ? 0 : -EINVAL;
}

static int agree(struct nbd_connection *c, int fd, struct img_error *err)
{
    CLEANUP_FREE char *reason = NULL;
    int ret;

    nbd_set_debug_callback(c->handle, (nbd_debug_callback){ .callback = listen_for_reason, .user_data = &reason });
    nbd_set_debug(c->handle, true);
    pthread_mutex_lock(&c->lock);
    ret = shake_hands(c, fd, err);
    if (ret == -EINVAL)
        refused(reason, err);
    pthread_mutex_unlock(&c->lock);
    nbd_set_debug(c->handle, false);
    nbd_clear_debug_callback(c->handle);
    return ret;
}

static int set_up(struct nbd_connection *c, const struct nbd_address *address, struct img_error *err)
{
    c->handle = nbd_create();
    if (!c->handle)
        return refused(NULL, err);
    if (nbd_set_export_name(c->handle, address->export ? address->export : "") < 0 ||
        nbd_add_meta_context(c->handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
        return refused(NULL, err);
    return 0;
}

int nbd_connection_open(struct nbd_connection *c, const struct nbd_address *address, struct img_error *err)
{
    int ret, fd;

    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->progress, NULL);
    if (pipe2(c->wake, O_CLOEXEC | O_NONBLOCK) < 0) {
        c->wake[0] = c->wake[1] = -1;
        return img_error_errno(err, errno, "Could not make a pipe");
    }
    ret = set_up(c, address, err);
    fd = ret < 0 ? ret : nbd_dial(address, err);
    return fd < 0 ? fd : agree(c, fd, err);
}

void nbd_connection_close(struct nbd_connection *c)
{
    /* (the socket is closed without a word if the server may hang) */
    if (c->handle && nbd_aio_is_ready(c->handle))
        nbd_shutdown(c->handle, 0);
    nbd_close(c->handle);
    for (int i = 0; i < 2; i++)
        if (c->wake[i] >= 0)
            close(c->wake[i]);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->progress);
    c->handle = NULL;
}

/* ---- Requests --------------------------------------------------------------------------------- */

static int completed(void *context, int *error)
{
    struct nbd_request *request = context;

    request->error = *error;
    request->done = true;
    return 1;                       /* libnbd may forget it */
}

static int status_came(void *context, const char *name, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
    struct nbd_request *request = context;

    (void)error;
    if (strcmp(name, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < count && request->count < request->room; i += 2) {
        bool zero = entries[i + 1] & LIBNBD_STATE_ZERO;
        request->extents[request->count++] = (struct img_extent){
            .offset = offset, .length = entries[i], .kind = zero ? IMG_ZERO : IMG_DATA, .host_valid = true,
            .host = offset,
        };
        offset += entries[i];
    }
    return 0;
}

static int64_t send_request(struct nbd_handle *handle, struct nbd_request *r)
{
    const nbd_completion_callback done = { .callback = completed, .user_data = r };

    switch (r->kind) {
    case NBD_READ:
        return nbd_aio_pread(handle, r->read, r->length, r->offset, done, r->flags);
    case NBD_WRITE:
        return nbd_aio_pwrite(handle, r->write, r->length, r->offset, done, r->flags);
    case NBD_ZERO:
        return nbd_aio_zero(handle, r->length, r->offset, done, r->flags);
    case NBD_TRIM:
        return nbd_aio_trim(handle, r->length, r->offset, done, r->flags);
    case NBD_FLUSH:
        return nbd_aio_flush(handle, done, r->flags);
    case NBD_STATUS:
        return nbd_aio_block_status(handle, r->length, r->offset,
                                    (nbd_extent_callback){ .callback = status_came, .user_data = r }, done, r->flags);
    }
    return -1;
}

/* The thread that waits for the socket must look again: there may be something to send. */
static void wake_poller(struct nbd_connection *c)
{
    static const char nothing = 0;

    if (c->polling && write(c->wake[1], &nothing, 1) < 0)
        return;                     /* the pipe is full: it will wake */
}

static void wait_for_answer(struct nbd_connection *c, struct nbd_request *request, int stop)
{
    int patience = -1;

    while (!request->done) {
        if (c->polling) {
            pthread_cond_wait(&c->progress, &c->lock);
            continue;
        }
        c->polling = true;
        int ret = wait_once(c, stop, patience);
        if (ret == -ECANCELED) {
            /* Nobody needs the answer any more, but it may come soon. */
            stop = -1;
            patience = GRACE;
        } else if (ret == -ETIMEDOUT) {
            /* It would be put into memory that is gone by then, so the connection goes. */
            shutdown(nbd_aio_get_fd(c->handle), SHUT_RDWR);
        }
        c->polling = false;
        pthread_cond_broadcast(&c->progress);
    }
}

int nbd_connection_run(struct nbd_connection *c, struct nbd_request *request, int stop)
{
    int64_t cookie;
    int ret;

    pthread_mutex_lock(&c->lock);
    cookie = send_request(c->handle, request);
    if (cookie < 0) {
        ret = nbd_get_errno();
        pthread_mutex_unlock(&c->lock);
        return ret == ENOTSUP || ret == EINVAL || ret == ENOMEM ? -ret : -EIO;
    }
    wake_poller(c);
    wait_for_answer(c, request, stop);
    pthread_mutex_unlock(&c->lock);
    /* A connection that is gone is an error of the storage. */
    return request->error == ENOTCONN ? -EIO : -request->error;
}
