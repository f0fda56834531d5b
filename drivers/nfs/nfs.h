/* SPDX-License-Identifier: MIT */
/*
 * nfs.h - shared by the files of the nfs driver: a file on an NFS server, version 3, over libnfs.
 * Specification: RFC 1813 (NFS version 3 and MOUNT version 3).
 *
 *   name.c        "nfs://..." as options
 *   target.c      what the options say
 *   connection.c  one connection: mounting, opening, waiting for answers
 *   transfer.c    reading and writing on a connection
 *   change.c      length, place on the disk, and what a server that was started again has forgotten
 *   create.c      a new file
 *   nfs.c         the vtable
 *
 * A libnfs context is for one thread at a time.  So a connection has a lock, and the thread of a request polls the
 * socket itself: it sees the end of its patience, and that of the job, at once.
 */
#ifndef NFS_DRIVER_H
#define NFS_DRIVER_H

#include "../../libimg/driver.h"
#include "../../libimg/net/pool.h"
#include <sys/time.h>              /* libnfs.h lacks it */
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>

/* ---- name.c ------------------------------------------------------------------------------- */

int nfs_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- target.c -------------------------------------------------------------------------------- */

struct nfs_open_options {
    char *path, *user, *group, *syn_count, *readahead, *page_cache, *debug;
    int64_t timeout, connections;
};
struct nfs_target {
    char *host, *path;
    char *folder, *file;            /* what is mounted, and "/file" in it */
    bool has_user, has_group, has_syn_count, has_debug;
    int64_t user, group, syn_count, debug;
    uint64_t timeout;               /* milliseconds that the server may be silent; 0: for ever */
};
/* `direct`: cache.direct is on. */
int nfs_target_take(struct img_doc *options, const struct nfs_open_options *given, bool direct,
                    struct nfs_target *target, struct img_error *err);
void nfs_target_free(struct nfs_target *target);
/* "nfs://host/path?uid=...&gid=..."; NULL: no memory; caller frees. */
char *nfs_target_text(const struct nfs_target *target);

/* ---- connection.c --------------------------------------------------------------------------------- */

/* The open file, for all connections of a node. */
struct nfs_file {
    unsigned char handle[NFS3_FHSIZE];
    unsigned length;                /* of the handle; 0: it is not open yet */
    pthread_mutex_t lock;           /* of what follows: see change.c */
    char verifier[NFS3_WRITEVERFSIZE];
    uint64_t written, committed;    /* answers to writes that a server may forget; those it may no more */
    bool forgotten;
};
/* How the file is opened. */
struct nfs_mode {
    int flags;                      /* O_RDONLY, O_RDWR */
    bool create;                    /* make it, or make it empty */
};
struct nfs_connection {
    struct nfs_context *context;    /* NULL: it is lost */
    struct nfs_file *file;
    uint64_t timeout;
    size_t most_read, most_write;   /* in one message */
    pthread_mutex_t lock;
};
/* Mount, and open the file unless another connection has done that. */
int nfs_connection_open(struct nfs_connection *c, const struct nfs_target *target, const struct nfs_mode *mode,
                        struct nfs_file *file, int stop, struct img_error *err);
void nfs_connection_close(struct nfs_connection *c);
/*
 * Let libnfs work until *pending, which its callbacks count down, is 0.  -ETIMEDOUT, -ECANCELED, IMG_POOL_LOST: the
 * connection is gone, and all callbacks have been called.
 */
int nfs_connection_serve(struct nfs_connection *c, const unsigned *pending, int stop);
/* What the callbacks of libnfs-raw are told, as a result: 0, a negative errno, or IMG_POOL_LOST. */
int nfs_result(int status, nfsstat3 said);

/* ---- transfer.c -------------------------------------------------------------------------------------- */

struct nfs_request {
    enum { NFS_READ, NFS_WRITE, NFS_WRITE_DURABLE, NFS_FLUSH, NFS_LOOK, NFS_SET_LENGTH } kind;
    char *read;
    const char *write;
    uint64_t offset;                /* SET_LENGTH: the length */
    size_t length;
    uint64_t size, used;            /* LOOK: the answer */
    int stop;
    unsigned lost;                  /* how often its connection was */
};
/* Run it on one connection: 0, a negative errno, or IMG_POOL_LOST.  A read beyond the end of the file gives zeroes. */
int nfs_connection_run(void *connection, void *request);
int nfs_transfer(struct nfs_connection *c, struct nfs_request *r);
struct nfs_fh3 nfs_handle(const struct nfs_connection *c);

/* ---- change.c ---------------------------------------------------------------------------------------- */

int nfs_look(struct nfs_connection *c, struct nfs_request *r);
int nfs_set_length(struct nfs_connection *c, struct nfs_request *r);
int nfs_flush(struct nfs_connection *c, struct nfs_request *r);
/* A write was answered, and is not durable yet.  -EIO: earlier ones may be lost. */
int nfs_note_unstable(struct nfs_file *file, const char *verifier);

/* ---- create.c --------------------------------------------------------------------------------------------- */

struct nfs_create_options {
    int64_t size;
};
extern const struct img_driver img_driver_nfs;
int nfs_driver_create(const struct img_create *request, struct img_error *err);

#endif
