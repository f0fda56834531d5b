/* SPDX-License-Identifier: MIT */
/*
 * sheepdog.h - shared by the files of the sheepdog driver: a disk (VDI) of a Sheepdog cluster.  There is no library:
 * this is a client of the protocol, which is described in wire.h.
 *
 *   name.c        the names of VDIs, as options
 *   target.c      what the options say
 *   wire.c        requests and answers as bytes
 *   result.c      the results of the protocol, in words
 *   connection.c  one connection: requests of many threads in flight
 *   cluster.c     requests over the connections of a node
 *   vdi.c         requests about VDIs: look up, lock, create, delete
 *   inode.c       what describes a VDI: the header, and which object has which part of the disk
 *   object.c      the bytes of the disk: read, write, copy on write
 *   zero.c        zeroes, and what is given back
 *   snapshot.c    the snapshots of a VDI
 *   create.c      a new VDI, empty or the clone of a snapshot
 *   sheepdog.c    the vtable
 */
#ifndef SHEEPDOG_H
#define SHEEPDOG_H

#include "../../libimg/driver.h"
#include "../../libimg/net.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/net/turns.h"
#include "../../libimg/util/range-lock.h"
#include "wire.h"

/* ---- name.c ------------------------------------------------------------------------------- */

int sheepdog_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- target.c -------------------------------------------------------------------------------- */

struct sheepdog_open_options {
    char *vdi, *tag;
    int64_t snap_id, timeout, reconnect_delay, connections;
};
struct sheepdog_target {
    struct img_address address;
    char *vdi;
    char *tag;                      /* of a snapshot; NULL: none */
    uint32_t snap_id;               /* of a snapshot; 0: none */
};
/* Take the address out of `options`. */
int sheepdog_target_take(struct img_doc *options, const struct sheepdog_open_options *given,
                         struct sheepdog_target *target, struct img_error *err);
void sheepdog_target_free(struct sheepdog_target *target);
/* The name that opens it; *text is NULL where no name says it all.  Caller frees. */
int sheepdog_target_text(const struct sheepdog_target *target, char **text);
/* "host:port", or the path: for messages. */
const char *sheepdog_place(const struct sheepdog_target *target);
/* The number of a snapshot that a text is, or 0: it is none, and so a tag. */
uint32_t sheepdog_snapshot_number(const char *text);

/* ---- A request ---------------------------------------------------------------------------------- */

struct sheepdog_request {
    struct img_turn turn;           /* (the first member, so that one leads to the other) */
    uint8_t header[SHEEPDOG_HEADER];
    const void *send;               /* these bytes follow the header */
    uint32_t send_length;
    void *receive;                  /* room for what follows the answer */
    uint32_t room;
    bool whole;                     /* a good answer fills the room */
    bool changes;                   /* something in the cluster */
    bool once;                      /* it does more if it is done twice, so it is not sent again */

    /* What came of it, if it was answered. */
    uint32_t result;                /* enum sheepdog_result */
    uint8_t answer[SHEEPDOG_HEADER];
    uint32_t got;

    int stop;                       /* descriptor that ends the waiting, or -1 */
    unsigned times_lost, may_be_lost;   /* connections, while it was in flight; the most of them */

    /* While it is in flight; protected by the connection's lock. */
    uint32_t id, answer_length;
    size_t sent;
    uint64_t started;               /* milliseconds */
    int error;
    struct sheepdog_request *behind;    /* in the queue of what is to be sent */
};

/* ---- result.c ------------------------------------------------------------------------------------- */

const char *sheepdog_result_words(uint32_t result);
int sheepdog_result_errno(uint32_t result);     /* negative; 0: success */
/* The cluster is busy with itself: it did nothing, and may do it later. */
bool sheepdog_result_is_busy(uint32_t result);

/* ---- connection.c ----------------------------------------------------------------------------------- */

struct sheepdog_connection {
    int fd;
    uint64_t timeout;               /* milliseconds that the server may be silent; 0: for ever */
    struct img_turns turns;
    bool lost;
    uint32_t last_id;
    struct sheepdog_request *queue, **queue_end;    /* not wholly sent yet */
    uint8_t header[SHEEPDOG_HEADER];                /* of the answer that is coming, `got` bytes of it */
    size_t got;
    struct sheepdog_request *answered;              /* whose bytes are coming */
    uint64_t heard, looked;         /* when bytes moved, when the clock was looked at: milliseconds */
};
int sheepdog_connection_open(struct sheepdog_connection *c, const struct sheepdog_target *target, uint64_t timeout,
                             int stop, struct img_error *err);
void sheepdog_connection_close(struct sheepdog_connection *c);
/*
 * Send it and wait for the answer.  0: it was answered, see its result.  IMG_POOL_LOST; -ETIMEDOUT: no answer came;
 * -EPROTO: what came is no answer.
 */
int sheepdog_connection_run(void *connection, void *request);

/* ---- inode.c ---------------------------------------------------------------------------------------- */

struct sheepdog_vdi {
    uint32_t id, parent, snap_id;
    char name[SHEEPDOG_NAME + 1], tag[SHEEPDOG_NAME + 1];
    uint64_t size, created, snapshot_time, vm_state_size, vm_clock;    /* snapshot_time 0: it is no snapshot */
    uint8_t copies, copy_policy, shift;
};
struct sheepdog;
/* Only the header. */
int sheepdog_inode_header(struct sheepdog *s, uint32_t id, struct sheepdog_vdi *vdi, struct img_error *err);
/* The same for one that may be somebody else's, whatever it is like; nothing is there: all is 0. */
int sheepdog_inode_look(struct sheepdog *s, uint32_t id, struct sheepdog_vdi *vdi, struct img_error *err);
/* From now on the node shows this VDI.  After an error it shows what it did. */
int sheepdog_inode_load(struct sheepdog *s, uint32_t id, struct img_error *err);
/* Write a part of the inode of the node: 0, or a negative errno; an answer other than success is told. */
int sheepdog_inode_write(struct sheepdog *s, uint64_t at, const void *bytes, uint32_t length);
/* Make the disk at least this long.  Thread-safe. */
int sheepdog_inode_grow(struct sheepdog *s, uint64_t size);
/* The VDI that owns this object: 0: nobody, it reads as zeroes.  Thread-safe. */
uint32_t sheepdog_owner(const struct sheepdog *s, uint32_t object);
/* The node's own VDI has this object from now on (own), or nobody: in memory. */
void sheepdog_set_owner(struct sheepdog *s, uint32_t object, bool own);
uint64_t sheepdog_size(const struct sheepdog *s);
/* The largest disk with objects of this size. */
uint64_t sheepdog_most_size(unsigned shift);
static inline uint64_t sheepdog_object_size(const struct sheepdog_vdi *vdi)
{
    return UINT64_C(1) << vdi->shift;
}

/* ---- cluster.c ---------------------------------------------------------------------------------------- */

struct sheepdog {
    struct img *image;              /* NULL: while one is created */
    struct sheepdog_target target;
    uint64_t timeout;               /* milliseconds */
    struct img_pool pool;
    bool connected;

    struct sheepdog_vdi vdi;
    uint32_t *owners;               /* SHEEPDOG_MOST_OBJECTS of them; NULL: it shows no VDI yet */
    pthread_mutex_t growing;        /* of vdi.size */
    struct img_range_lock objects;  /* exclusive: to make or discard an object */

    uint32_t locked;                /* the VDI that is locked for us; 0: none */
    bool no_flush, no_discard;      /* atomic: the server does not know the request */
    bool uncertain;                 /* atomic: a change was not answered, and may be done later or never */
    uint32_t told;                  /* atomic: the last result that was told */
};
int sheepdog_connect(struct sheepdog *s, const struct sheepdog_open_options *given, struct img_doc *options,
                     struct img_error *err);
void sheepdog_disconnect(struct sheepdog *s);
/* 0: it was answered, whatever the result. */
int sheepdog_run(struct sheepdog *s, struct sheepdog_request *request);
/* For the path of the bytes, after sheepdog_run returned `ret`: 0, or a negative errno, and it was told what failed
 * ("read"). */
int sheepdog_tell(struct sheepdog *s, const struct sheepdog_request *request, int ret, const char *what,
                  uint64_t object);
/* Both of them. */
int sheepdog_do(struct sheepdog *s, struct sheepdog_request *request, const char *what, uint64_t object);
/* Set *err for a request that returned `ret` from sheepdog_run.  0 if it was a success. */
int sheepdog_judge(const struct sheepdog *s, const struct sheepdog_request *request, int ret, struct img_error *err,
                   const char *format, ...) IMG_PRINTF(5, 6);

/* ---- vdi.c ---------------------------------------------------------------------------------------------- */

/* The id of a VDI, or of its snapshot with this tag (NULL: none) or number (0: none). */
int sheepdog_find(struct sheepdog *s, const char *name, const char *tag, uint32_t snap_id, uint32_t *id,
                  struct img_error *err);
/* What the target means. */
int sheepdog_find_target(struct sheepdog *s, uint32_t *id, struct img_error *err);
/* Lock the VDI that has the name now: s->locked.  -EAGAIN: another client has it. */
int sheepdog_lock(struct sheepdog *s, struct img_error *err);
/* If one is locked. */
void sheepdog_unlock(struct sheepdog *s);
struct sheepdog_new {
    const char *name;
    uint64_t size;
    uint32_t base;                  /* 0: none */
    bool snapshot;                  /* the VDI that has the name becomes a snapshot */
    uint8_t copies, copy_policy, shift;     /* 0: as is usual in the cluster */
};
/* *id: the new VDI. */
int sheepdog_new_vdi(struct sheepdog *s, const struct sheepdog_new *what, uint32_t *id, struct img_error *err);
int sheepdog_delete(struct sheepdog *s, const char *name, uint32_t snap_id, struct img_error *err);
/* Which ids are in use: SHEEPDOG_BITMAP bytes. */
int sheepdog_used(struct sheepdog *s, uint8_t *bitmap, struct img_error *err);
/* The size of objects that is usual in the cluster, as a power of two. */
int sheepdog_usual_shift(struct sheepdog *s, uint8_t *shift, struct img_error *err);
/* After a lost connection: is it the same VDI, and still ours?  0, IMG_POOL_LOST, or a negative errno. */
int sheepdog_recognise(struct sheepdog *s, struct sheepdog_connection *c, int stop);

/* ---- object.c, zero.c -------------------------------------------------------------------------------------- */

/* A part of one object. */
struct sheepdog_piece {
    uint32_t object, within, length;
};
/* The first piece of a range of the disk. */
struct sheepdog_piece sheepdog_first_piece(const struct sheepdog *s, uint64_t offset, uint64_t length);
int sheepdog_read(struct sheepdog *s, void *buffer, uint64_t offset, uint64_t length);
int sheepdog_write(struct sheepdog *s, const void *bytes, uint64_t offset, uint64_t length);
/* Write to an object that the node's VDI owns.  The caller holds its range. */
int sheepdog_overwrite(struct sheepdog *s, struct sheepdog_piece piece, const void *bytes);
/* Make an object, whose other bytes are those of its owner (`copy`) or zeroes.  The caller holds its range alone. */
int sheepdog_make(struct sheepdog *s, struct sheepdog_piece piece, const void *bytes, bool copy);
/* The object as part of an id. */
uint64_t sheepdog_object_id(uint32_t owner, uint32_t object);
int sheepdog_flush(struct sheepdog *s);
/* Zeroes by giving storage back; -ENOTSUP: not without writing them. */
int sheepdog_zero(struct sheepdog *s, uint64_t offset, uint64_t length, bool may_write);
int sheepdog_discard(struct sheepdog *s, uint64_t offset, uint64_t length);
/* Give all objects of a range their own storage. */
int sheepdog_allocate(struct sheepdog *s, uint64_t offset, uint64_t end);

/* ---- snapshot.c ------------------------------------------------------------------------------------------------ */

int sheepdog_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err);
int sheepdog_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err);
int sheepdog_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err);
int sheepdog_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err);
int sheepdog_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err);

/* ---- create.c --------------------------------------------------------------------------------------------- */

struct sheepdog_create_options {
    int64_t size;
    char *backing_file, *backing_fmt, *preallocation, *redundancy;
    int64_t object_size;
};
extern const struct img_driver img_driver_sheepdog;
int sheepdog_driver_create(const struct img_create *request, struct img_error *err);
/* "off" (also NULL) or "full". */
int sheepdog_take_preallocation(const char *mode, bool *full, struct img_error *err);

#endif
