/* SPDX-License-Identifier: MIT */
/*
 * iscsi.h - shared by the files of the iscsi driver: a disk (LUN) of an iSCSI target, over libiscsi.
 * Specifications: RFC 7143 (iSCSI), SPC-4 and SBC-3 of T10 (SCSI commands).
 *
 *   name.c        "iscsi://..." as options
 *   config.c      the settings of a configuration file
 *   target.c      what the options say
 *   connection.c  one session: login, and many commands in flight
 *   command.c     a request as a command of SCSI
 *   answer.c      what the answer means: errors, and what may be repeated
 *   patience.c    how often it is repeated
 *   unit.c        what the disk can do
 *   extents.c     the answer to GET LBA STATUS
 *   offload.c     copies that the target does by itself
 *   create.c      a new image on a disk that is there
 *   iscsi.c       the vtable
 */
#ifndef ISCSI_DRIVER_H
#define ISCSI_DRIVER_H

#include "../../libimg/driver.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/net/turns.h"
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { ISCSI_MOST_LUN = 0xffff };

/* ---- name.c ----------------------------------------------------------------------------- */

int iscsi_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- config.c ------------------------------------------------------------------------------ */

/* Add what the file that IMGBOX_ISCSI_CONF names says of this target, where `options` say nothing.  Without the
 * variable nothing happens. */
int iscsi_config_apply(const char *target, struct img_doc *options, struct img_error *err);

/* ---- target.c ------------------------------------------------------------------------------- */

struct iscsi_open_options {
    char *transport, *portal, *target, *user, *password, *password_secret, *initiator_name, *header_digest;
    int64_t lun, timeout, connections, reconnect_delay;
};
struct iscsi_target {
    enum iscsi_transport_type transport;
    char *portal, *name, *initiator;
    char *user, *password;          /* NULL: no authentication.  The password is wiped when it is freed */
    enum iscsi_header_digest digest;
    int lun;
    uint64_t timeout;               /* milliseconds that a command may take; 0: for ever */
    uint32_t isid;                  /* random: tells the sessions of this node from those of others */
};
int iscsi_target_take(const struct iscsi_open_options *given, struct iscsi_target *target, struct img_error *err);
void iscsi_target_free(struct iscsi_target *target);

struct iscsi_connection;

/* ---- A request -------------------------------------------------------------------------------- */

struct iscsi_request {
    struct img_turn turn;           /* (the first member, so that one leads to the other) */
    enum {
        ISCSI_READ, ISCSI_WRITE, ISCSI_FLUSH, ISCSI_UNMAP, ISCSI_WRITE_SAME, ISCSI_STATUS,
        ISCSI_READY, ISCSI_INQUIRY, ISCSI_MODE_SENSE, ISCSI_CAPACITY10, ISCSI_CAPACITY16,
        ISCSI_COPY, ISCSI_COPY_LIMITS
    } kind;
    uint64_t lba;
    uint32_t blocks;
    uint32_t block_size;
    bool wide;                      /* READ(16) and WRITE(16) */
    bool fua, unmap;
    void *read;
    uint64_t mark;                  /* READ: a number that the target does not know */
    const void *write;              /* WRITE_SAME: the block; COPY: the parameter list */
    size_t length;                  /* COPY: of the parameter list */
    int page;                       /* INQUIRY: of vital product data; -1: the standard one */
    unsigned char *answer;          /* all but READ and WRITE: `room` bytes for it */
    size_t room, got;
    int stop;                       /* descriptor that ends the waiting, or -1 */
    unsigned times_lost;            /* sessions that were lost while it was in flight */
    unsigned may_be_lost;           /* the most of them */

    /* What came of it. */
    int status;                     /* enum scsi_status */
    struct scsi_sense sense;
    bool is_short;                  /* fewer bytes came or went than were asked for */

    /* While it is in flight; protected by the connection's lock. */
    struct iscsi_connection *carrier;
    struct scsi_task *task;
    struct scsi_iovec span;
    struct unmap_list range;
    struct iscsi_data list;
    uint64_t started;               /* milliseconds */
};

/* ---- command.c ---------------------------------------------------------------------------------- */

/* Give it to libiscsi; request->task is set.  -ENOMEM; -EINVAL: libiscsi refuses it. */
int iscsi_command_send(struct iscsi_context *context, int lun, struct iscsi_request *request, iscsi_command_cb done);
/* Keep what came, and free the task. */
void iscsi_command_finish(struct iscsi_request *request);

/* ---- answer.c -------------------------------------------------------------------------------------- */

/* After a request was run.  0: it is done; -EAGAIN: repeat it at once; -EBUSY: repeat it after a pause; or another
 * negative errno. */
int iscsi_judge(const struct iscsi_request *request);
/* The target does not know this command, or does not take it in this form. */
bool iscsi_is_unknown(const struct iscsi_request *request);
/* "SENSE KEY:..."; caller frees; NULL: no memory. */
char *iscsi_reason(const struct iscsi_request *request);

/* ---- patience.c -------------------------------------------------------------------------------------- */

/* How long has a request been put off, and how often? */
struct iscsi_delays {
    uint64_t pause, paused;
    int attentions;
};
/* Wait before another attempt, after this result of iscsi_judge (-EAGAIN, -EBUSY).  0: now is the time for it; else the
 * error, because it is not worth one, or -ECANCELED. */
int iscsi_put_off(struct iscsi_delays *delays, int judged, int stop);

/* ---- connection.c ------------------------------------------------------------------------------------ */

struct iscsi_connection {
    struct iscsi_context *context;
    const struct iscsi_target *target;
    unsigned number;
    struct img_turns turns;         /* of the requests; its lock is held around calls of libiscsi */
    bool lost;
    struct iscsi_delays opening;    /* of the questions what the disk is like */
    enum { ISCSI_CONNECTING, ISCSI_CONNECTED, ISCSI_FAILED } state;
    int redirections;
    uint64_t heard, asked, looked;  /* when the target last answered, when it was last asked to, when the clock was
                                     * looked at: milliseconds */
};
/* `number`: two sessions at a time never have the same. */
int iscsi_connection_open(struct iscsi_connection *c, const struct iscsi_target *target, unsigned number, int stop,
                          struct img_error *err);
void iscsi_connection_close(struct iscsi_connection *c);
/* Run a request: 0: it has been answered, for iscsi_judge; IMG_POOL_LOST; -ECANCELED; -ENOMEM; -EINVAL. */
int iscsi_connection_run(void *connection, void *request);

/* ---- unit.c --------------------------------------------------------------------------------------------- */

/* What the disk is like. */
struct iscsi_unit {
    bool is_disk;
    bool read_only;
    bool fua;                       /* writes can be durable at once */
    bool thin;                      /* blocks can be unmapped, and are then told by GET LBA STATUS */
    bool zeroes;                    /* unmapped blocks read as zeroes */
    bool can_unmap, can_unmap_same; /* by UNMAP, by WRITE SAME */
    bool copies;                    /* it takes commands of third-party copies */
    uint32_t block_size;
    uint64_t blocks;
    uint32_t most_transfer, best_transfer;      /* in blocks; 0: not told */
    uint32_t most_unmap, unmap_unit;
    uint64_t most_same;
};
/* Ask a connection that nobody else uses. */
int iscsi_unit_ask(struct iscsi_connection *c, struct iscsi_unit *unit, int stop, struct img_error *err);

/* ---- extents.c ---------------------------------------------------------------------------------------------- */

enum { ISCSI_STATUS_ROOM = 8 + 16 * 256 };
/* The answer as extents from request->lba on: their number, or -EIO. */
int iscsi_judge_extents(struct img *image, const struct iscsi_request *request, bool zeroes, uint64_t end,
                        struct img_extent *extents, size_t count);

/* ---- offload.c ---------------------------------------------------------------------------------------------- */

enum { ISCSI_DESIGNATOR = 20, ISCSI_MOST_COPIES = 32 };
/* What a disk is called, as in the page of device identification. */
struct iscsi_designator {
    unsigned code_set, type;
    size_t length;
    unsigned char bytes[ISCSI_DESIGNATOR];
};
struct iscsi_copy_limits {
    bool without_identifier;
    uint32_t longest;               /* bytes of a segment; 0: any number */
    uint64_t granularity;           /* bytes */
    unsigned most;                  /* copies at a time */
};
struct iscsi_offload {
    pthread_mutex_t lock;           /* for all of this; names and limits stay once they are asked for */
    pthread_cond_t change;          /* a copy ended */
    bool asked_name, has_name, asked_limits, takes;
    struct iscsi_designator name;
    struct iscsi_copy_limits limits;
    uint32_t running;               /* bits: the identifiers of copies that run */
};
/* The answer to INQUIRY, page 83h: the best designator of the disk; false: it has none. */
bool iscsi_find_designator(const unsigned char *page, size_t got, struct iscsi_designator *found);
/* The answer to RECEIVE COPY OPERATING PARAMETERS; false: the target cannot copy as we would like it to. */
bool iscsi_judge_copy_limits(const unsigned char *answer, size_t got, struct iscsi_copy_limits *limits);
/* As copy_range of the vtable. */
int iscsi_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                     bool share);

/* ---- iscsi.c, create.c ---------------------------------------------------------------------------------------- */

struct iscsi {
    struct iscsi_target target;
    struct iscsi_unit unit;
    bool asked;                     /* the unit is known */
    struct img_pool pool;
    bool connected;
    unsigned may_be_lost;           /* see struct iscsi_request */
    bool no_status, no_same;        /* atomic: the target does not know the command */
    bool told;                      /* atomic: that the target was lost */
    uint64_t mark;                  /* for reads */
    unsigned numbers;               /* bits: of the sessions that there are */
    unsigned char *zeroes;          /* one block */
    struct iscsi_offload offload;
};
struct iscsi_create_options {
    int64_t size;
    char *preallocation;
};
extern const struct img_driver img_driver_iscsi;
int iscsi_connect(struct iscsi *s, const struct iscsi_open_options *given, struct img_error *err);
void iscsi_disconnect_all(struct iscsi *s);
/* Run it until it is done or cannot be.  `what`: the command, for the message; NULL: none is given. */
int iscsi_run(struct img *image, struct iscsi *s, struct iscsi_request *request, const char *what);
int iscsi_driver_create(const struct img_create *request, struct img_error *err);

#endif
