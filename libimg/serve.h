/* SPDX-License-Identifier: MIT */
/*
 * serve.h - public: an NBD server for open images.  Specification: "The NBD protocol" (doc/proto.md of the NBD
 * project).  The conventions of img.h hold.
 */
#ifndef IMG_SERVE_H
#define IMG_SERVE_H

#include "net.h"

struct img_server;

struct img_server_settings {
    unsigned clients;               /* at a time; others wait in the listening socket.  0: any number */
    bool persistent;                /* go on after the last client has left */
    unsigned handshake_seconds;     /* a client that takes longer is dropped; 0: no limit */
    struct img_tls_creds *tls;      /* then every client must start TLS; NULL: none may */
    const char *tls_authz;          /* NULL: any client */
    /* Why a client was dropped, in qemu-nbd's words: a line without a newline; called from any thread.  NULL: nobody
     * listens. */
    void (*log)(void *context, const char *text);
    void *context;
};

/*
 * A part of an open image.  All is borrowed until img_server_free; the image is not closed.  Several exports may show
 * one image.
 */
struct img_export {
    const char *name;               /* at most 4096 bytes; "" is the default export */
    const char *description;        /* at most 4096 bytes; NULL: none */
    struct img *image;
    uint64_t offset, length;        /* the part of the image */
    bool writable;                  /* then the image is open for writing */
    bool multi_conn;                /* tell clients that they may use several connections */
    bool allocation_depth;          /* context qemu:allocation-depth */
    const char *const *bitmaps;     /* contexts qemu:dirty-bitmap:NAME: persistent bitmaps of the image or of one in */
    size_t bitmap_count;            /* its backing chain */
};

int img_server_new(struct img_server **server, const struct img_server_settings *settings, struct img_error *err);
/* Before the server runs.  Clients see the bitmaps in this order.  -EEXIST: another export has this name; -ENOENT: no
 * such bitmap. */
int img_server_export(struct img_server *server, const struct img_export *export, struct img_error *err);
/*
 * Serve one client, in the calling thread, until it leaves or the server is stopped: handshake, then requests.  `in`
 * and `out` may be the same socket; both stay open.  They may be pipes, but not with TLS (-ENOTSOCK): then the caller
 * ignores or blocks SIGPIPE.  0, or what ended it: -EPROTO: the client broke the rules, -EPIPE: it left in the middle
 * of something, -ETIMEDOUT: its handshake took too long, -ECANCELED: the server stops.  Thread-safe: several clients
 * at a time.
 */
int img_server_talk(struct img_server *server, int in, int out);
/*
 * Accept clients from the listening sockets (borrowed, non-blocking) and serve them, each by its own threads, until the
 * server is stopped or, unless it is persistent, the last client has left that had chosen an export.  All requests are
 * complete then, and their answers sent or their clients gone.
 */
int img_server_run(struct img_server *server, const int *sockets, size_t count, struct img_error *err);
/* End img_server_run and img_server_talk soon: no request is accepted any more, those in flight are completed.
 * Thread-safe, and safe in a signal handler. */
void img_server_stop(struct img_server *server);
/* NULL is fine.  It must not be running. */
void img_server_free(struct img_server *server);

/* ---- The client's side of the handshake (serve/join.c) --------------------------- */

/*
 * Choose the export of this name from the server at the other end of a connected socket, without TLS; what follows are
 * requests with simple replies.  *size in bytes, *flags: the transmission flags.  `fd` stays open.
 */
int img_server_join(int fd, const char *name, uint64_t *size, uint32_t *flags, struct img_error *err);

/* ---- The exports of another server (serve/list.c) ----------------------------- */

/*
 * Ask the server at the other end of a connected socket for its exports, in the order in which it names them.
 * `tls` (NULL: none) and `host` as for img_tls_start.  `fd` belongs to this call.  *list is an array of objects:
 *   "name", "description" (string, absent if none), "size" (uint), "flags" (uint, the transmission flags),
 *   "min-block", "opt-block", "max-block" (uint, absent if not told), "contexts" (array of strings),
 *   "mode" ("simple", "structured", "extended"); an export about which the server tells nothing has only its name.
 */
int img_server_list(int fd, struct img_tls_creds *tls, const char *host, struct img_doc **list, struct img_error *err);

#endif
