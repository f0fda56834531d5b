/* SPDX-License-Identifier: MIT */
/*
 * nbd.h - shared by the files of the nbd driver: a disk on an NBD server, over libnbd.
 * Specification: "The NBD protocol" and "The NBD Uniform Resource Indicator (URI) format"
 * (doc/proto.md and doc/uri.md of the NBD project).
 *
 *   name.c        the names of exports, and the address in the options
 *   dial.c        a connected socket
 *   connection.c  one connection: handshake, and requests of many threads in flight
 *   nbd.c         the vtable: opening, requests, the map
 */
#ifndef NBD_H
#define NBD_H

#include "../../libimg/driver.h"
#include <libnbd.h>

enum { NBD_CONNECTIONS = 4, NBD_DEPTH = 16 };   /* at most; useful requests in flight on each */
enum { NBD_PATIENCE = 60 };                     /* seconds that a server may take to answer while it is connected to */

struct nbd_address {
    char *host, *port;              /* NULL: a Unix socket */
    char *path;
    char *export;
};

/* name.c: the options of a name ("server", "export"). */
int nbd_parse_name(const char *name, struct img_doc *options, struct img_error *err);
/* Take the address out of `options`; its members belong to it. */
int nbd_take_address(struct img_doc *options, struct nbd_address *address, struct img_error *err);
void nbd_free_address(struct nbd_address *address);
/* As users know it: "nbd://host:port/export".  Caller frees; NULL: out of memory. */
char *nbd_address_text(const struct nbd_address *address);

/* dial.c: a connected socket, or a negative errno with *err set. */
int nbd_dial(const struct nbd_address *address, struct img_error *err);

/* connection.c: requests may be sent by any number of threads. */
struct nbd_connection {
    struct nbd_handle *handle;
    pthread_mutex_t lock;           /* held around calls of libnbd, never while waiting */
    pthread_cond_t progress;
    bool polling;                   /* a thread waits for the socket, for all */
    int wake[2];                    /* a pipe that ends its waiting */
    unsigned in_flight;
};
/* Connect and agree on the export. */
int nbd_connection_open(struct nbd_connection *c, const struct nbd_address *address, struct img_error *err);
/* NULL handle is fine. */
void nbd_connection_close(struct nbd_connection *c);

struct nbd_request;
/* Send one request and wait for its answer: 0 or a negative errno. */
struct nbd_request {
    enum { NBD_READ, NBD_WRITE, NBD_ZERO, NBD_TRIM, NBD_FLUSH, NBD_STATUS } kind;
    void *read;
    const void *write;
    uint64_t offset, length;
    uint32_t flags;                 /* LIBNBD_CMD_FLAG_... */
    struct img_extent *extents;     /* STATUS: filled, at most `room` of them */
    size_t room, count;
    int error;
    bool done;
};
int nbd_connection_run(struct nbd_connection *c, struct nbd_request *request, int stop);

#endif
