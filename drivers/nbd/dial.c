/* SPDX-License-Identifier: MIT */
/* A connected socket.  It is made here and not by libnbd, so that the errors name the address as the user gave it. */
#include "nbd.h"
#include "../../libimg/util/cleanup.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Wait until the connection stands, or NBD_PATIENCE is over.  0 or an errno. */
static int connect_patiently(int fd, const struct sockaddr *address, socklen_t length)
{
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    int error = 0, ready;
    socklen_t size = sizeof error;

    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    while ((ready = poll(&wait, 1, NBD_PATIENCE * 1000)) < 0 && errno == EINTR) { }
    if (ready <= 0)
        return ready < 0 ? errno : ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

static int try_address(int family, int protocol, const struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), error;

    if (fd < 0)
        return -errno;
    error = connect_patiently(fd, address, length);
    if (error == 0)
        return fd;
    close(fd);
    return -error;
}

static int dial_unix(const char *path, struct img_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        img_error_set(err, EINVAL, "UNIX socket path '%s' is too long", path);
        img_error_hint(err, "Path must be less than 108 bytes");
        return -EINVAL;
    }
    strcpy(address.sun_path, path);
    fd = try_address(AF_UNIX, 0, (const struct sockaddr *)&address, sizeof address);
    return fd < 0 ? img_error_errno(err, -fd, "Failed to connect to '%s'", path) : fd;
}

static int dial_inet(const char *host, const char *port, struct img_error *err)
{
    const struct addrinfo how = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                                  .ai_flags = AI_CANONNAME | AI_V4MAPPED | AI_ADDRCONFIG };
    struct addrinfo *list;
    int found = getaddrinfo(host, port, &how, &list), fd = -EHOSTUNREACH, on = 1;

    if (found != 0)
        return img_error_set(err, EINVAL, "address resolution failed for %s:%s: %s", host, port, gai_strerror(found));
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = try_address(at->ai_family, at->ai_protocol, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(list);
    if (fd < 0)
        return img_error_errno(err, -fd, "Failed to connect to '%s:%s'", host, port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int nbd_dial(const struct nbd_address *address, struct img_error *err)
{
    return address->path ? dial_unix(address->path, err) : dial_inet(address->host, address->port, err);
}
