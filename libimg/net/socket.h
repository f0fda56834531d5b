/* SPDX-License-Identifier: MIT */
/* socket.h - what connecting and listening share. */
#ifndef IMG_NET_SOCKET_H
#define IMG_NET_SOCKET_H

#include "../net.h"
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The address of a Unix socket, and its length.  -EINVAL: the path is too long. */
int img_unix_address(const struct img_address *address, struct sockaddr_un *to, socklen_t *length,
                     struct img_error *err);
/* Look up an INET address; `flags`: AI_... in addition.  The caller passes *list to freeaddrinfo. */
int img_look_up(const struct img_address *address, int flags, struct addrinfo **list, struct img_error *err);
/* CID and port of a VSOCK address. */
int img_vsock_numbers(const struct img_address *address, unsigned *cid, unsigned *port, struct img_error *err);

#endif
