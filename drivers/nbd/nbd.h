/* SPDX-License-Identifier: MIT */
/*
 * nbd.h - shared by the files of the nbd driver: a disk on an NBD server, over libnbd.
 * Specification: "The NBD protocol" and "The NBD Uniform Resource Indicator (URI) format"
 * (doc/proto.md and doc/uri.md of the NBD project).
 *
 *   name.c        the names of exports
 *   target.c      the address and the export in the options
 *   tls.c         the start of TLS, before libnbd gets the connection
 *   connection.c  one connection: handshake, and requests of many threads in flight
 *   received.c    which bytes of a read have come
 *   extents.c     the server's answers about the map
 *   journal.c     what was written since the last flush, for a server that is started again
 *   pool.c        requests over the connections of a node
 *   create.c      a "new" image: an export that is there
 *   nbd.c         the vtable
 */
#ifndef NBD_H
#define NBD_H

#include "../../libimg/driver.h"
#include "../../libimg/net.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/net/turns.h"
#include <libnbd.h>

enum { NBD_CONNECTIONS = 4, NBD_DEPTH = 16 };   /* usual number; useful requests in flight on each */
enum { NBD_PATIENCE = 60 };                     /* seconds that a connection may take to stand */
enum { NBD_MOST_TRANSFER = 32 << 20 };

/* ---- name.c: the options of a name ("server", "export") -------------------------------- */

int nbd_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- target.c --------------------------------------------------------------------------- */

/* What to connect to. */
struct nbd_target {
    struct img_address address;
    char *export;                   /* NULL: "" */
    char *context;                  /* x-dirty-bitmap: asked for the map instead of base:allocation; NULL: none */
    struct img_tls_creds *tls;      /* NULL: none */
    struct img_tls_creds *own;      /* the same, if the target owns them */
    char *tls_host;                 /* the name in the server's certificate; NULL: that of the address */
};
/* The options of the table that say how to connect. */
struct nbd_open_options {
    char *tls_creds, *tls_hostname, *context;
    int64_t reconnect_delay, open_timeout;      /* seconds; -1: not given */
    char *psk_file, *certificates, *tls_username;
    int8_t tls;
    int64_t connections;
};
/* Take the address out of `options`. */
int nbd_target_take(struct img_doc *options, const struct nbd_open_options *given, struct nbd_target *target,
                    struct img_error *err);
void nbd_target_free(struct nbd_target *target);
/* The metadata context that the map is asked from. */
const char *nbd_context(const struct nbd_target *target);
/* As users know it: "nbd://host:port/export".  *text is NULL where no name says it all.  Caller frees. */
int nbd_target_text(const struct nbd_target *target, char **text);

/* ---- tls.c -------------------------------------------------------------------------------- */

/* Ask the server at the other end of `fd` for TLS, and start it.  Returns a socket with the plain bytes, at which the
 * server seems to begin anew.  `fd` belongs to it.  It may take until `deadline` (util/clock.h, milliseconds). */
int nbd_start_tls(const struct nbd_target *target, int fd, uint64_t deadline, int stop, struct img_error *err);

/* ---- received.c ------------------------------------------------------------------------------ */

/* Parts of a range in order, with gaps between them. */
struct nbd_part {
    uint64_t start, end;
};
enum { NBD_FEW_PARTS = 4 };         /* no memory is needed for so many */
struct nbd_received {
    struct nbd_part few[NBD_FEW_PARTS];
    struct nbd_part *at;            /* those, or from malloc */
    size_t count, capacity;
};
void nbd_received_begin(struct nbd_received *received);
void nbd_received_end(struct nbd_received *received);
/* The range came.  -EIO: some of it had come before, or there are too many gaps; -ENOMEM. */
int nbd_received_add(struct nbd_received *received, uint64_t offset, uint64_t length);
/* Did all of this range come, and nothing else? */
bool nbd_received_all(const struct nbd_received *received, uint64_t offset, uint64_t length);

/* ---- connection.c: requests may be sent by any number of threads ---------------------------- */

struct nbd_request;
struct nbd_connection {
    struct nbd_handle *handle;
    struct img_turns turns;         /* of the requests; its lock is held around calls of libnbd */
};
/* Connect and agree on the export.  After an error nothing is left to close. */
int nbd_connection_open(struct nbd_connection *c, const struct nbd_target *target, int stop, struct img_error *err);
/* NULL handle is fine. */
void nbd_connection_close(struct nbd_connection *c);

enum nbd_kind { NBD_READ, NBD_WRITE, NBD_ZERO, NBD_TRIM, NBD_FLUSH, NBD_STATUS };
struct nbd_request {
    enum nbd_kind kind;
    void *read;
    const void *write;
    uint64_t offset, length;
    uint32_t flags;                 /* LIBNBD_CMD_FLAG_... */
    struct img_extent *extents;     /* STATUS: filled, at most `room` of them */
    size_t room, count;
    const char *context;            /* STATUS: the one that is asked for */
    int stop;                       /* a descriptor that ends the waiting, or -1 */

    struct nbd_received received;   /* READ */
    int error;
    struct img_turn turn;
};
/* Send one request and wait for its answer: 0, a negative errno, or IMG_POOL_LOST. */
int nbd_connection_run(void *connection, void *request);

/* ---- extents.c -------------------------------------------------------------------------------- */

/* Add an entry of a block status answer to the request. */
void nbd_add_extent(struct nbd_request *request, uint64_t offset, uint64_t length, uint64_t flags);
/* The number of extents from `offset` on that lie within the node, or -EIO: the answer makes no sense. */
int nbd_judge_extents(struct img *image, uint64_t offset, struct nbd_request *request);

/* ---- journal.c ----------------------------------------------------------------------------------- */

/*
 * A server that is started again may have lost what it acknowledged and nobody flushed.  So a copy of it is kept until
 * a flush has succeeded, in a bounded memory, and is written again first.
 */
struct nbd_journal;
struct nbd_journal *nbd_journal_new(void);      /* NULL: no memory */
void nbd_journal_free(struct nbd_journal *journal);
/* The longest request that it takes. */
enum { NBD_JOURNAL_LONGEST = 4 << 20 };
/* Keep a copy of a write, zeroing or trim that will be sent.  -ENOSPC: no room until a flush. */
int nbd_journal_add(struct nbd_journal *journal, const struct nbd_request *request, uint64_t *ticket);
/* It was answered: with success, or not. */
void nbd_journal_answered(struct nbd_journal *journal, uint64_t ticket, bool success);
/* Around a flush: what was answered before the mark is forgotten after it. */
uint64_t nbd_journal_mark(struct nbd_journal *journal);
void nbd_journal_flushed(struct nbd_journal *journal, uint64_t mark);
/* Send all of it again, in order. */
int nbd_journal_replay(struct nbd_journal *journal, struct nbd_connection *c, int stop);

/* ---- pool.c ---------------------------------------------------------------------------------------- */

/* What the server said of the export; it must say the same when it is connected to again. */
struct nbd_export {
    uint64_t size;
    uint64_t minimum, preferred, most;      /* of a request; preferred 0: it does not say */
    bool read_only, can_map, can_zero, can_fast_zero, can_trim, can_flush, can_fua, can_multi_conn;
};
struct nbd {
    struct nbd_target target;
    struct nbd_export export;
    struct img_pool pool;
    struct nbd_journal *journal;    /* NULL: none is kept */
    bool connected;
};
/* Connect; `timeout` (seconds): keep trying for so long. */
int nbd_connect(struct nbd *s, uint64_t timeout, struct img_error *err);
void nbd_disconnect(struct nbd *s);
int nbd_run(struct img *image, struct nbd_request *request);

/* ---- create.c ---------------------------------------------------------------------------------------- */

struct nbd_create_options {
    int64_t size;
    char *preallocation;
};
extern const struct img_driver img_driver_nbd;
int nbd_driver_create(const struct img_create *request, struct img_error *err);

#endif
