/* SPDX-License-Identifier: MIT */
/* socket.c - turns an address into what the system calls take. */
#include "socket.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int img_unix_address(const struct img_address *address, struct sockaddr_un *to, socklen_t *length,
                     struct img_error *err)
{
    size_t path = strlen(address->path), room = sizeof to->sun_path - address->abstract;

    if (path > room) {
        img_error_set(err, EINVAL, "UNIX socket path '%s' is too long", address->path);
        img_error_hint(err, "Path must be less than %zu bytes", sizeof to->sun_path);
        return -EINVAL;
    }
    *to = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(to->sun_path + address->abstract, address->path, path);
    *length = sizeof *to;
    if (address->abstract && address->tight)
        *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + path);
    return 0;
}

static int family_of(const struct img_address *address)
{
    if (address->ipv4 == 1 && address->ipv6 == 1)
        return AF_UNSPEC;
    if (address->ipv6 == 1 || address->ipv4 == 0)
        return AF_INET6;
    return address->ipv4 == 1 || address->ipv6 == 0 ? AF_INET : AF_UNSPEC;
}

int img_look_up(const struct img_address *address, int flags, struct addrinfo **list, struct img_error *err)
{
    struct addrinfo how = { .ai_family = family_of(address), .ai_socktype = SOCK_STREAM, .ai_flags = flags };
    int found;

    if (address->ipv4 == 0 && address->ipv6 == 0)
        return img_error_set(err, EINVAL, "Cannot disable IPv4 and IPv6 at same time");
    if (address->numeric)
        how.ai_flags |= AI_NUMERICHOST;
    /* (no host to listen on: any) */
    found = getaddrinfo(*address->host || !(flags & AI_PASSIVE) ? address->host : NULL, address->port, &how, list);
    if (found != 0)
        return img_error_set(err, EINVAL, "address resolution failed for %s:%s: %s", address->host, address->port,
                             gai_strerror(found));
    return 0;
}

static int number(const char *what, const char *text, unsigned *value, struct img_error *err)
{
    char *end;
    unsigned long parsed;

    errno = 0;
    parsed = strtoul(text, &end, 10);
    if (end == text || *end || errno || parsed > UINT32_MAX)
        return img_error_set(err, EINVAL, "Failed to parse %s '%s'", what, text);
    *value = (unsigned)parsed;
    return 0;
}

int img_vsock_numbers(const struct img_address *address, unsigned *cid, unsigned *port, struct img_error *err)
{
    int ret = number("cid", address->host, cid, err);

    return ret < 0 ? ret : number("port", address->port, port, err);
}
