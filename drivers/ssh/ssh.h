/* SPDX-License-Identifier: MIT */
/*
 * ssh.h - shared by the files of the ssh driver: a file on a server that runs SFTP over SSH, over libssh.
 * Specifications: RFC 4251 to 4254 (SSH), draft-ietf-secsh-filexfer-02 (SFTP version 3), and the PROTOCOL file of OpenSSH
 * (fsync@openssh.com).
 *
 *   name.c        "ssh://..." as options
 *   target.c      what the options say
 *   host-key.c    is it the right server?
 *   connection.c  one connection: handshake, authentication, the open file
 *   transfer.c    reading and writing on a connection
 *   watch.c       ends connections that have stalled
 *   create.c      a new file
 *   ssh.c         the vtable
 */
#ifndef SSH_DRIVER_H
#define SSH_DRIVER_H

#include "../../libimg/driver.h"
#include "../../libimg/net.h"
#include "../../libimg/net/pool.h"
#include <libssh/libssh.h>
#include <libssh/sftp.h>

#define SSH_PORT "22"
enum { SSH_CONNECTIONS = 4, SSH_TIMEOUT = 60 };     /* usual; seconds */

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

/* ---- connection.c --------------------------------------------------------------------------------- */

/* How the file is opened. */
struct ssh_mode {
    int flags;                      /* O_RDONLY, O_RDWR, with O_CREAT and O_TRUNC for a new file */
};
struct ssh_connection {
    ssh_session session;
    sftp_session sftp;
    sftp_file file;
    int fd;
    pthread_mutex_t lock;           /* libssh wants one thread at a time */
    uint64_t started;               /* atomic: when the request on it began, milliseconds; 0: there is none */
    bool ended;                     /* atomic: the watch has ended it */
    struct ssh_watch *watch;
    struct ssh_connection *next;    /* of the watch */
};
int ssh_connection_open(struct ssh_connection *c, const struct ssh_target *target, const struct ssh_mode *mode, int stop,
                        struct img_error *err);
void ssh_connection_close(struct ssh_connection *c);
/* The length of the open file. */
int ssh_connection_size(struct ssh_connection *c, uint64_t *size, struct img_error *err);

/* ---- transfer.c -------------------------------------------------------------------------------------- */

struct ssh_request {
    enum { SSH_READ, SSH_WRITE, SSH_FLUSH } kind;
    void *read;
    const void *write;
    uint64_t offset;
    size_t length;
};
/* Run it on one connection: 0, a negative errno (-ENOTSUP: the server cannot flush), or IMG_POOL_LOST.  A read beyond the
 * end of the file gives zeroes. */
int ssh_connection_run(void *connection, void *request);

/* ---- watch.c ------------------------------------------------------------------------------------------- */

/* libssh waits without an end.  So a thread looks after the connections, and cuts those whose request takes too long. */
struct ssh_watch {
    pthread_mutex_t lock;
    struct ssh_connection *first;
    uint64_t timeout;               /* milliseconds */
    pthread_t thread;
    int wake[2];
    bool running;
};
/* timeout 0: nothing is watched. */
int ssh_watch_start(struct ssh_watch *watch, uint64_t timeout);
void ssh_watch_end(struct ssh_watch *watch);
void ssh_watch_add(struct ssh_watch *watch, struct ssh_connection *c);
void ssh_watch_remove(struct ssh_watch *watch, struct ssh_connection *c);

/* ---- create.c --------------------------------------------------------------------------------------------- */

struct ssh_create_options {
    int64_t size;
};
extern const struct img_driver img_driver_ssh;
int ssh_driver_create(const struct img_create *request, struct img_error *err);
/* Make the file at least this long, by a byte at its end. */
int ssh_lengthen(struct ssh_connection *c, uint64_t size);

#endif
