/* SPDX-License-Identifier: MIT */
/* dial.c - connects, without waiting longer than the caller has time. */
#include "socket.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A host that is gone is noticed: the first question after this many seconds of silence, then some more. */
enum { SILENCE = 30, BETWEEN = 10, QUESTIONS = 6 };

struct patience {
    uint64_t end;                   /* milliseconds; 0: none */
    int stop;
};

/* Wait until the connection stands.  0 or a negative errno. */
static int wait_connected(int fd, const struct patience *patience)
{
    int error = 0, ret = img_fd_wait(fd, POLLOUT, patience->end, patience->stop);
    socklen_t size = sizeof error;

    if (ret < 0)
        return ret;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

/* A socket, or a negative errno. */
static int try_address(int family, int protocol, const void *address, socklen_t length, const struct patience *patience)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), ret = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, address, length) < 0)
        ret = errno == EINPROGRESS ? wait_connected(fd, patience) : -errno;
    if (ret == 0)
        return fd;
    close(fd);
    return ret;
}

static void tune(int fd)
{
    int on = 1, silence = SILENCE, between = BETWEEN, questions = QUESTIONS;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silence, sizeof silence);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &questions, sizeof questions);
}

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int dial_inet(const struct img_address *address, const struct patience *patience, struct img_error *err)
{
    struct addrinfo *list;
    int fd = -EHOSTUNREACH, ret = img_look_up(address, AI_CANONNAME | AI_V4MAPPED | AI_ADDRCONFIG, &list, err);

    if (ret < 0)
        return ret;
    for (struct addrinfo *at = list; at && fd < 0 && fd != -ECANCELED; at = at->ai_next)
        fd = try_address(at->ai_family, address->mptcp ? IPPROTO_MPTCP : at->ai_protocol, at->ai_addr, at->ai_addrlen,
                         patience);
    freeaddrinfo(list);
    if (fd < 0)
        return img_error_errno(err, -fd, "Failed to connect to '%s:%s'", address->host, address->port);
    tune(fd);
    return fd;
}

static int dial_unix(const struct img_address *address, const struct patience *patience, struct img_error *err)
{
    struct sockaddr_un to;
    socklen_t length;
    int fd, ret = img_unix_address(address, &to, &length, err);

    if (ret < 0)
        return ret;
    fd = try_address(AF_UNIX, 0, &to, length, patience);
    return fd < 0 ? img_error_errno(err, -fd, "Failed to connect to '%s'", address->path) : fd;
}

static int dial_vsock(const struct img_address *address, const struct patience *patience, struct img_error *err)
{
    struct sockaddr_vm to = { .svm_family = AF_VSOCK };
    int fd, ret = img_vsock_numbers(address, &to.svm_cid, &to.svm_port, err);

    if (ret < 0)
        return ret;
    fd = try_address(AF_VSOCK, 0, &to, sizeof to, patience);
    return fd < 0 ? img_error_errno(err, -fd, "Failed to connect to '%s:%s'", address->host, address->port) : fd;
}

/* A descriptor that the program was started with.  A copy is used, so that it can be used again. */
static int take_descriptor(const struct img_address *address, struct img_error *err)
{
    char *end;
    long number = strtol(address->path, &end, 10);
    int type, fd, flags;
    socklen_t length = sizeof type;

    if (end == address->path || *end || number < 0 || number > INT32_MAX)
        return img_error_set(err, EINVAL, "Unable to parse FD number %s", address->path);
    if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return img_error_set(err, EINVAL, "File descriptor '%s' is not a socket", address->path);
    fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
    flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return img_error_errno(err, error, "Could not use file descriptor '%s'", address->path);
    }
    return fd;
}

int img_dial(const struct img_address *address, uint64_t milliseconds, int stop, struct img_error *err)
{
    const struct patience patience = { .end = milliseconds ? img_now_milliseconds() + milliseconds : 0, .stop = stop };

    switch (address->type) {
    case IMG_INET:
        return dial_inet(address, &patience, err);
    case IMG_UNIX:
        return dial_unix(address, &patience, err);
    case IMG_VSOCK:
        return dial_vsock(address, &patience, err);
    case IMG_FD:
        return take_descriptor(address, err);
    }
    return img_error_set(err, EINVAL, "This kind of address is not known");
}
