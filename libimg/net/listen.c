/* SPDX-License-Identifier: MIT */
/* listen.c - listening sockets: on every address that a host name means, on a path, on a port of a virtual machine. */
#include "socket.h"
#include "util/cleanup.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int new_socket(int family, int protocol)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

/* ---- INET ------------------------------------------------------------------------- */

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                : ((const struct sockaddr_in *)address)->sin_port);
}

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/*
 * "::" takes IPv4 clients, too, unless the address says otherwise or means 0.0.0.0 besides: two sockets cannot have
 * the same port then.
 */
static bool only_ipv6(const struct img_address *address, const struct addrinfo *list)
{
    if (address->ipv4 == 0)
        return true;
    for (; list; list = list->ai_next) {
        if (list->ai_family == AF_INET)
            return true;
    }
    return false;
}

/* A socket bound to this address and port, or a negative errno. */
static int bind_inet(const struct addrinfo *at, uint16_t port, bool mptcp, bool v6only)
{
    struct sockaddr_storage to = { .ss_family = AF_UNSPEC };
    int fd = new_socket(at->ai_family, mptcp ? IPPROTO_MPTCP : at->ai_protocol), on = 1, off = v6only, error;

    if (fd < 0)
        return -errno;
    memcpy(&to, at->ai_addr, at->ai_addrlen);
    set_port(&to, port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (const struct sockaddr *)&to, at->ai_addrlen) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

/* What may follow from somebody else's use of the port; another port may be free. */
static bool port_is_taken(int error)
{
    return error == EADDRINUSE;
}

static void close_all(int *sockets, int count)
{
    while (count > 0)
        close(sockets[--count]);
}

/* Listen on one port of all addresses.  Their number; -EADDRINUSE: the port is taken. */
static int listen_on_port(const struct img_address *address, const struct addrinfo *list, uint16_t port, int backlog,
                          int *sockets, size_t room, struct img_error *err)
{
    bool v6only = only_ipv6(address, list);
    int count = 0, unsupported = 0, fd, error;

    for (const struct addrinfo *at = list; at && (size_t)count < room; at = at->ai_next) {
        fd = bind_inet(at, port, address->mptcp, v6only);
        if (fd == -EAFNOSUPPORT && (at->ai_next || count)) {
            unsupported++;              /* a host without IPv6 */
            continue;
        }
        if (fd >= 0) {
            sockets[count++] = fd;
            if (listen(fd, backlog) == 0)
                continue;
            fd = -errno;
        }
        error = -fd;
        close_all(sockets, count);
        return port_is_taken(error) ? -error : img_error_errno(err, error, "Failed to bind socket");
    }
    return count ? count : img_error_errno(err, unsupported ? EAFNOSUPPORT : EINVAL, "Failed to create a socket");
}

static int listen_inet(const struct img_address *address, int backlog, int *sockets, size_t room,
                       struct img_error *err)
{
    struct addrinfo *list;
    int count, ret = img_look_up(address, AI_PASSIVE, &list, err);
    unsigned port, last;

    if (ret < 0)
        return ret;
    port = port_of((const struct sockaddr_storage *)list->ai_addr);
    last = address->to > port ? address->to : port;
    do
        count = listen_on_port(address, list, (uint16_t)port, backlog, sockets, room, err);
    while (count == -EADDRINUSE && !err->code && port++ < last);
    freeaddrinfo(list);
    if (count == -EADDRINUSE && !err->code)
        return img_error_errno(err, EADDRINUSE, "Failed to find an available port");
    return count;
}

/* ---- UNIX ------------------------------------------------------------------------- */

/* A socket in the file system that refuses connections: its server is gone. */
static bool nobody_listens(const struct sockaddr_un *at, socklen_t length)
{
    struct stat st;
    CLEANUP_FD int fd = -1;

    if (lstat(at->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = new_socket(AF_UNIX, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)at, length) < 0 && errno == ECONNREFUSED;
}

static int listen_unix(const struct img_address *address, int backlog, int *sockets, struct img_error *err)
{
    struct sockaddr_un to;
    socklen_t length;
    int fd, error, ret = img_unix_address(address, &to, &length, err);

    if (ret < 0)
        return ret;
    fd = new_socket(AF_UNIX, 0);
    if (fd < 0)
        return img_error_errno(err, errno, "Failed to create Unix socket");
    if (!address->abstract && nobody_listens(&to, length) && unlink(to.sun_path) < 0 && errno != ENOENT)
        img_error_errno(err, errno, "Failed to unlink socket %s", address->path);
    else if (bind(fd, (const struct sockaddr *)&to, length) < 0)
        img_error_errno(err, errno, "Failed to bind socket to %s", address->path);
    else if (listen(fd, backlog) < 0) {
        error = errno;
        if (!address->abstract)
            unlink(to.sun_path);
        img_error_errno(err, error, "Failed to listen on socket");
    } else {
        sockets[0] = fd;
        return 1;
    }
    close(fd);
    return -err->code;
}

/* ---- VSOCK and descriptors -------------------------------------------------------------- */

static int listen_vsock(const struct img_address *address, int backlog, int *sockets, struct img_error *err)
{
    struct sockaddr_vm to = { .svm_family = AF_VSOCK };
    int fd, ret = img_vsock_numbers(address, &to.svm_cid, &to.svm_port, err);

    if (ret < 0)
        return ret;
    fd = new_socket(AF_VSOCK, 0);
    if (fd < 0)
        return img_error_errno(err, errno, "Failed to create socket");
    if (bind(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        img_error_errno(err, errno, "Failed to bind socket");
    else if (listen(fd, backlog) < 0)
        img_error_errno(err, errno, "Failed to listen on socket");
    else {
        sockets[0] = fd;
        return 1;
    }
    close(fd);
    return -err->code;
}

/* A socket that the program was started with listens already. */
static int listen_descriptor(const struct img_address *address, int *sockets, struct img_error *err)
{
    int fd = img_dial(address, 0, -1, err), listens = 0;
    socklen_t length = sizeof listens;

    if (fd < 0)
        return fd;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || !listens) {
        close(fd);
        return img_error_set(err, EINVAL, "File descriptor '%s' is not a listening socket", address->path);
    }
    sockets[0] = fd;
    return 1;
}

int img_listen(const struct img_address *address, unsigned backlog, int *sockets, size_t room, struct img_error *err)
{
    int most = backlog > INT32_MAX ? INT32_MAX : (int)backlog;

    if (room == 0)
        return img_error_set(err, EINVAL, "No room for a socket");
    switch (address->type) {
    case IMG_INET:
        return listen_inet(address, most, sockets, room, err);
    case IMG_UNIX:
        return listen_unix(address, most, sockets, err);
    case IMG_VSOCK:
        return listen_vsock(address, most, sockets, err);
    case IMG_FD:
        return listen_descriptor(address, sockets, err);
    }
    return img_error_set(err, EINVAL, "This kind of address is not known");
}
