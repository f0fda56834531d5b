/* SPDX-License-Identifier: MIT */
/*
 * channel.c - bytes from and to one client.  No call waits for ever once the server is to stop: reading ends at once,
 * and a client has some seconds to take its answers.  Descriptors are not made non-blocking, as others may share them.
 */
#include "internal.h"
#include "util/checked.h"
#include "util/strbuf.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define SECOND 1000000000ull
#define PATIENCE (3 * SECOND)       /* for a client to take its answers after a stop request */

enum { PIPE_PIECE = 4096 };         /* a pipe that is ready takes this much without blocking */

static bool is_socket(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int serve_channel_open(struct serve_channel *channel, int in, int out, const struct img_stop *stop)
{
    *channel = (struct serve_channel){ .in = in, .out = out, .in_socket = is_socket(in), .out_socket = is_socket(out),
                                       .stop = stop };
    channel->ahead = img_malloc(SERVE_READ_AHEAD);
    return channel->ahead ? 0 : -ENOMEM;
}

void serve_channel_close(struct serve_channel *channel)
{
    free(channel->ahead);
}

/* Wait until `end` (0: for ever) for `fd`, or, without `stopping`, for a stop request.  -ETIMEDOUT. */
static int wait_until(const struct serve_channel *channel, int fd, short events, uint64_t end, bool stopping)
{
    struct pollfd either[] = { { .fd = fd, .events = events }, { .fd = img_stop_fd(channel->stop), .events = POLLIN } };
    uint64_t time = end ? img_now_nanoseconds() : 0, left = end > time ? end - time : 0;
    struct timespec most = { (time_t)(left / SECOND), (long)(left % SECOND) };

    if (end && !left)
        return -ETIMEDOUT;
    if (ppoll(either, stopping ? 1 : 2, end ? &most : NULL, NULL) < 0 && errno != EINTR)
        return -errno;
    return 0;
}

static int wait_to_read(struct serve_channel *channel)
{
    int ret = wait_until(channel, channel->in, POLLIN, channel->deadline, false);

    return img_stop_asked(channel->stop) ? -ECANCELED : ret;
}

static int wait_to_send(struct serve_channel *channel)
{
    bool stopping = img_stop_asked(channel->stop);
    uint64_t end = channel->deadline;

    if (stopping && !channel->patience)
        channel->patience = img_now_nanoseconds() + PATIENCE;
    if (stopping && (!end || channel->patience < end))
        end = channel->patience;
    return wait_until(channel, channel->out, POLLOUT, end, stopping);
}

/* Returns the number of bytes, 0 at the end, or a negative errno. */
static ssize_t read_some(struct serve_channel *channel, void *bytes, size_t length)
{
    /* A pipe is only read when it has something, or it would block. */
    int ret = channel->in_socket ? 0 : wait_to_read(channel);

    while (ret == 0) {
        ssize_t n = channel->in_socket ? recv(channel->in, bytes, length, MSG_DONTWAIT)
                                       : read(channel->in, bytes, length);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            ret = wait_to_read(channel);
        else if (errno != EINTR)
            ret = -errno;
        /* A client that sends a byte now and then never makes us wait. */
        if (ret == 0 && channel->deadline && img_now_nanoseconds() >= channel->deadline)
            ret = -ETIMEDOUT;
    }
    return ret;
}

int serve_read(struct serve_channel *channel, void *bytes, size_t length)
{
    unsigned char *at = bytes;
    bool begun = false;

    while (length) {
        size_t have = img_min(channel->to - channel->from, length);
        if (have) {
            memcpy(at, channel->ahead + channel->from, have);
            channel->from += have;
        } else {
            bool direct = length >= SERVE_READ_AHEAD;
            ssize_t n = read_some(channel, direct ? at : channel->ahead, direct ? length : SERVE_READ_AHEAD);
            if (n <= 0)
                return n < 0 ? (int)n : begun ? -EPIPE : -ENODATA;
            if (!direct) {
                channel->from = 0;
                channel->to = (size_t)n;
                begun = true;
                continue;
            }
            have = (size_t)n;
        }
        begun = true;
        at += have;
        length -= have;
    }
    return 0;
}

int serve_skip(struct serve_channel *channel, uint64_t length)
{
    unsigned char nowhere[4096];
    int ret = 0;

    while (length && ret == 0) {
        size_t part = img_min(length, sizeof nowhere);
        ret = serve_read(channel, nowhere, part);
        length -= part;
    }
    return ret == -ENODATA ? -EPIPE : ret;
}

static ssize_t send_some(struct serve_channel *channel, struct iovec *parts, size_t count)
{
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };

    if (channel->out_socket)
        return sendmsg(channel->out, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(channel->out, parts->iov_base, img_min(parts->iov_len, PIPE_PIECE));
}

/* Leave out what was sent, and empty parts. */
static void advance(struct iovec **parts, size_t *count, size_t sent)
{
    while (*count && sent >= (*parts)->iov_len) {
        sent -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (*count) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + sent;
        (*parts)->iov_len -= sent;
    }
}

int serve_send(struct serve_channel *channel, struct iovec *parts, size_t count)
{
    while (count) {
        int ret = channel->out_socket ? 0 : wait_to_send(channel);
        ssize_t n = ret < 0 ? 0 : send_some(channel, parts, count);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && channel->out_socket)
            ret = wait_to_send(channel);
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            ret = -errno;
        if (ret < 0)
            return ret;
        advance(&parts, &count, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

/* What TLS knows about the end of the stream. */
static bool tell_tls(int fd, char text[SERVE_WHY])
{
    struct img_error err = IMG_ERROR_INIT;
    bool known = img_tls_why(fd, &err) < 0;

    if (known)
        snprintf(text, SERVE_WHY, "%s", err.text);
    img_error_clear(&err);
    return known;
}

bool serve_read_failure(const struct serve_channel *channel, int code, const char *pieces, char text[SERVE_WHY])
{
    bool ended = code == -ENODATA || code == -EPIPE;

    if (ended && tell_tls(channel->in, text))
        return true;
    /* (to qemu-nbd, a client that was cut off is one that has left) */
    if (ended || code == -ETIMEDOUT)
        snprintf(text, SERVE_WHY, "Unexpected end-of-file before all %s were read", pieces);
    else
        snprintf(text, SERVE_WHY, "Unable to read from socket: %s", img_strerror(code));
    return code != -ENODATA;
}

void serve_send_failure(const struct serve_channel *channel, int code, char text[SERVE_WHY])
{
    if (code != -EPIPE || !tell_tls(channel->out, text))
        snprintf(text, SERVE_WHY, "Unable to write to socket: %s", img_strerror(code));
}
