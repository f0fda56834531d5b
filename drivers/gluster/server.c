/* SPDX-License-Identifier: MIT */
/* The daemons that tell where a volume is: their ports, and which of them can be reached. */
#include "gluster.h"
#include "../../libimg/net.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PORT = 65535 };

static int take_port(const struct gluster_server *server, unsigned *port, struct img_error *err)
{
    const char *text = server->port;

    *port = 0;
    if (server->local)
        return 0;
    if (!*text || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text) || atoi(text) > MOST_PORT)
        return img_error_set(err, EINVAL, "'%s' is not a valid port number", text);
    *port = atoi(text) ? (unsigned)atoi(text) : GLUSTER_PORT;
    return 0;
}

int gluster_check_ports(const struct gluster_target *target, struct img_error *err)
{
    unsigned port;
    int ret = 0;

    for (size_t i = 0; i < target->count && ret == 0; i++)
        ret = take_port(&target->servers[i], &port, err);
    return ret;
}

static bool answers(const struct gluster_server *server, uint64_t milliseconds)
{
    struct img_address address = { .type = server->local ? IMG_UNIX : IMG_INET, .ipv4 = -1, .ipv6 = -1, .tight = true };
    struct img_error ignored = IMG_ERROR_INIT;
    char port[8];
    unsigned number;
    int fd = -1;

    if (take_port(server, &number, &ignored) == 0) {
        snprintf(port, sizeof port, "%u", number);
        address.host = address.path = server->host;
        address.port = port;
        fd = img_dial(&address, milliseconds, -1, &ignored);
    }
    img_error_clear(&ignored);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* (libgfapi tries a list, too, but waits three seconds between two, and finds none by TCP after a Unix socket) */
size_t gluster_first_server(const struct gluster_target *target, uint64_t seconds)
{
    size_t i = 0;

    while (i < target->count && !answers(&target->servers[i], seconds * 1000 / target->count))
        i++;
    return i;
}

int gluster_set_servers(glfs_t *fs, const struct gluster_target *target, size_t first, struct img_error *err)
{
    for (size_t i = 0; i < target->count; i++) {
        const struct gluster_server *server = &target->servers[(first + i) % target->count];
        unsigned port;
        if (take_port(server, &port, err) < 0)
            return -err->code;
        if (glfs_set_volfile_server(fs, server->local ? "unix" : "tcp", server->host, (int)port) < 0)
            return img_error_errno(err, errno ? errno : EINVAL, "Could not add the server %s", server->host);
    }
    return 0;
}
