/* SPDX-License-Identifier: MIT */
/*
 * ssh.h - shared by the files of the ssh driver: a file on a server that runs SFTP over SSH.  libssh carries the bytes;
 * the messages are our own, so that many requests of many threads are in flight on a connection.
 * Specifications: RFC 4251 to 4254 (SSH); see sftp3.h.
 *
 *   name.c        "ssh://..." as options
 *   target.c      what the options say
 *   host-key.c    is it the right server?
 *   session.c     the handshake, and who the user is
 *   sftp3.c       messages as bytes
 *   connection.c  requests in flight on a connection
 *   remote-file.c the open file: its name, its length, what the server says of it
 *   create.c      a new file
 *   ssh.c         the vtable
 */
#ifndef SSH_DRIVER_H
#define SSH_DRIVER_H

#include "../../libimg/driver.h"
#include "../../libimg/net.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/net/turns.h"
#include "sftp3.h"
#include <libssh/libssh.h>
#include <libssh/callbacks.h>

#define SSH_PORT "22"

/* ---- name.c ------------------------------------------------------------------------------- */

int ssh_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- target.c -------------------------------------------------------------------------------- */

struct ssh_open_options {
    char *path, *user, *old_check;
    int64_t timeout, connections;
};
struct ssh_target {
    struct img_address address;
    char *path, *user;
    enum { SSH_CHECK_NONE, SSH_CHECK_KNOWN, SSH_CHECK_HASH } check;
    int hash_type;                  /* SSH_CHECK_HASH: enum ssh_publickey_hash_type */
    char *hash;                     /* as given: hex digits, perhaps with colons */
    char *shown_check;              /* host_key_check as it was given; NULL: it was not */
    uint64_t timeout;               /* milliseconds that a server may be silent; 0: for ever */
};
int ssh_target_take(struct img_doc *options, const struct ssh_open_options *given, struct ssh_target *target,
                    struct img_error *err);
void ssh_target_free(struct ssh_target *target);
/* "ssh://user@host:port/path?host_key_check=..."; NULL: no memory; caller frees. */
char *ssh_target_text(const struct ssh_target *target);

/* ---- host-key.c ------------------------------------------------------------------------------- */

int ssh_check_host_key(ssh_session session, const struct ssh_target *target, struct img_error *err);

/* ---- session.c ---------------------------------------------------------------------------------- */

/* An authenticated session without a channel. */
struct ssh_carrier {
    ssh_session session;
    int fd;
    struct ssh_counter_struct traffic;      /* bytes on the socket */
    uint64_t timeout;               /* milliseconds */
};
/* After an error nothing is left to end. */
int ssh_carrier_start(struct ssh_carrier *carrier, const struct ssh_target *target, int stop, struct img_error *err);
/* A channel that the server serves SFTP on; after an error *channel is NULL. */
int ssh_carrier_channel(struct ssh_carrier *carrier, ssh_channel *channel, int stop, struct img_error *err);
void ssh_carrier_end(struct ssh_carrier *carrier);

/* ---- connection.c --------------------------------------------------------------------------------- */

struct ssh_request {
    struct img_turn turn;           /* first */
    enum { SSH_READ, SSH_WRITE, SSH_CALL } kind;
    uint8_t *read;                  /* a read beyond the end of the file gives zeroes */
    const uint8_t *write;           /* CALL: what follows the id */
    uint64_t offset;
    size_t length;
    int stop;
    enum sftp3_type call, answer;   /* CALL: the types of the message, and of the answer, which are set by run */
    uint8_t *payload;               /* CALL: where the answer goes, as far as there is room */
    size_t room, got;
    /* for connection.c */
    size_t begun;                   /* bytes that parts were made of */
    unsigned pending;               /* parts without an answer */
    int result;
};

/* One message that is to be answered. */
struct ssh_part {
    struct ssh_request *request;    /* NULL: this one is free */
    uint32_t id;
    size_t start, length;           /* of the request */
    bool waits;                     /* to be sent */
    size_t first;                   /* what an answer lacks is asked for: so many bytes it had; 0: it is not */
};
enum { SSH_PARTS = 64 };
struct ssh_connection {
    struct ssh_carrier carrier;
    ssh_channel channel;
    struct ssh_channel_callbacks_struct callbacks;
    struct img_turns turns;
    struct sftp3_inbox inbox;
    struct sftp3_handle handle;
    bool can_flush, lost;
    bool garbled;                   /* what came was no SFTP */
    size_t most;                    /* bytes in one message */
    uint64_t heard, heard_bytes;    /* when something came, and how much had come by then */
    uint64_t widened;               /* how much had come when libssh was last told that more is wanted */
    void *nothing;
    struct ssh_part parts[SSH_PARTS];
    uint32_t serial;                /* of the next part */
    struct {                        /* the message that is being sent */
        struct ssh_part *part;
        uint8_t head[SFTP3_MOST_HEAD];
        const uint8_t *at;
        size_t left;
        const uint8_t *body;
        size_t body_left;
        bool ends;                  /* libssh is given the last of it */
    } out;
};
/* Connect, without opening a file.  After an error nothing is left to close. */
int ssh_connection_open(struct ssh_connection *c, const struct ssh_target *target, int stop, struct img_error *err);
void ssh_connection_close(struct ssh_connection *c);
/* Run a request: 0, a negative errno, or IMG_POOL_LOST.  Thread-safe. */
int ssh_connection_run(void *connection, void *request);

/* ---- remote-file.c ------------------------------------------------------------------------------------- */

/* How the file is opened: SFTP3_FOR_READING and so on. */
int ssh_file_open(struct ssh_connection *c, const struct ssh_target *target, uint32_t flags, int stop,
                  struct img_error *err);
/* The server may keep the file until it has read this. */
void ssh_file_close(struct ssh_connection *c);
struct ssh_look {
    uint64_t size;
    bool regular;                   /* a file, not a device */
};
int ssh_file_look(struct ssh_connection *c, struct ssh_look *look, struct img_error *err);
/* Run on one connection by the pool; -ENOTSUP: the server cannot. */
int ssh_file_flush(void *connection, void *stop);

/* ---- create.c --------------------------------------------------------------------------------------------- */

struct ssh_create_options {
    int64_t size;
};
extern const struct img_driver img_driver_ssh;
int ssh_driver_create(const struct img_create *request, struct img_error *err);

#endif
