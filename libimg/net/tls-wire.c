/* SPDX-License-Identifier: MIT */
/* tls-wire.c - buffers on sockets, and the handshake, which is the only part that has a time-out. */
#include "tls-wire.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/guarded.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

int img_tls_buffer_new(struct img_tls_buffer *buffer, size_t capacity)
{
    *buffer = (struct img_tls_buffer){ .at = img_guarded_new(capacity), .capacity = capacity };
    return buffer->at ? 0 : -ENOMEM;
}

void img_tls_buffer_free(struct img_tls_buffer *buffer)
{
    img_guarded_free(buffer->at, buffer->capacity);
    *buffer = (struct img_tls_buffer){ 0 };
}

/* Give the room before the bytes to the room behind them, when that costs little. */
static void make_room(struct img_tls_buffer *buffer)
{
    size_t held = img_tls_held(buffer);

    if (buffer->start < buffer->capacity / 2)
        return;
    memmove(buffer->at, buffer->at + buffer->start, held);
    buffer->start = 0;
    buffer->end = held;
}

static bool would_wait(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

bool img_tls_receive(int fd, struct img_tls_buffer *buffer, bool *ended, int *code)
{
    ssize_t n;

    make_room(buffer);
    if (*ended || img_tls_room(buffer) == 0)
        return false;
    n = recv(fd, buffer->at + buffer->end, img_tls_room(buffer), MSG_DONTWAIT);
    if (n < 0 && would_wait(errno))
        return false;
    if (n > 0) {
        buffer->end += (size_t)n;
        return true;
    }
    *code = n < 0 ? errno : 0;
    *ended = true;
    return true;
}

bool img_tls_send(int fd, struct img_tls_buffer *buffer, int *code)
{
    ssize_t n;

    if (*code || img_tls_held(buffer) == 0)
        return false;
    n = send(fd, buffer->at + buffer->start, img_tls_held(buffer), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && would_wait(errno))
        return false;
    if (n < 0) {
        *code = errno;
        img_tls_taken(buffer, img_tls_held(buffer));
    } else {
        img_tls_taken(buffer, (size_t)n);
    }
    return true;
}

/* Milliseconds that a refused client gets to see the end. */
enum { REFUSAL = 500 };

/* ---- The handshake ------------------------------------------------------------- */

static int failed(int code, struct img_error *err)
{
    return img_error_set(err, code, "TLS handshake failed: %s", img_strerror(code));
}

/* Wait until there may be more to send or to receive; `look`: only see whether the time is over.  A peer that never
 * stops sending must not make the handshake endless. */
static int wait_for_wire(struct img_tls_session *session, bool look, uint64_t deadline, int stop, struct img_error *err)
{
    short out = img_tls_held(&session->wire.out) ? POLLOUT : 0;
    int ret;

    if (deadline && img_now_milliseconds() >= deadline)
        return failed(ETIMEDOUT, err);
    ret = img_fd_wait(session->fd, (short)(POLLIN | out), look ? img_now_milliseconds() : deadline, stop);
    return ret == 0 || (look && ret == -ETIMEDOUT) ? 0 : failed(-ret, err);
}

int img_tls_shake(struct img_tls_session *session, uint64_t deadline, int stop, struct img_error *err)
{
    struct img_tls_wire *wire = &session->wire;

    for (;;) {
        int ret = session->ops->handshake(session->session, err);
        bool moved = img_tls_send(session->fd, &wire->out, &wire->out_error);

        if (ret < 0 && ret != -EAGAIN)
            return ret;
        if (ret == 0 && img_tls_held(&wire->out) == 0)
            return 0;
        moved |= ret < 0 && img_tls_receive(session->fd, &wire->in, &wire->in_ended, &wire->in_error);
        if (wait_for_wire(session, moved, deadline, stop, err) < 0)
            return -err->code;
    }
}

void img_tls_refuse(struct img_tls_session *session, int stop)
{
    uint64_t deadline = img_now_milliseconds() + REFUSAL;
    struct img_error ignored = IMG_ERROR_INIT;

    shutdown(session->fd, SHUT_WR);
    img_tls_taken(&session->wire.out, img_tls_held(&session->wire.out));
    do {
        img_tls_taken(&session->wire.in, img_tls_held(&session->wire.in));
        img_tls_receive(session->fd, &session->wire.in, &session->wire.in_ended, &session->wire.in_error);
    } while (!session->wire.in_ended && wait_for_wire(session, false, deadline, stop, &ignored) == 0);
    img_error_clear(&ignored);
}
