/* SPDX-License-Identifier: MIT */
/*
 * driver.h - what a driver sees of libimg: the node, the vtable and its contract.
 *
 * A format driver maps, the core moves the bytes.  libimg checks ranges and
 * read-only state before it calls a driver, so a callback may rely on
 * offset + length <= image->size and on length > 0.  A NULL callback means that
 * libimg emulates it or answers "not supported".
 *
 * Calls and threads: open, close, create, resize, check, info and snapshot
 * calls are never concurrent with anything on the same node.  map, reserve,
 * publish, cancel, zero, discard and flush of one node of a FORMAT are
 * serialised by libimg with image->lock, so their code is written as for one
 * thread.  decode and encode run concurrently and must not touch state that the others write.
 * pread, pwrite, zero, discard, flush and map of a PROTOCOL run concurrently
 * without a lock (the kernel or a lock of the driver's own serialises).
 *
 * Callbacks on the way of the bytes return 0 or a negative errno; the caller
 * knows what was being done and words the error.  Structural damage is first
 * reported with img_notice.  The others set *err.
 */
#ifndef IMG_DRIVER_H
#define IMG_DRIVER_H

#include "img.h"
#include <errno.h>
#include <pthread.h>

/*
 * Permissions of a user on a node, and those that it leaves to others: the
 * numbers are the lock bytes of the file driver (byte 100 + n: held; byte
 * 200 + n: not shared).
 */
enum img_permission {
    IMG_PERM_READ = 1 << 0, IMG_PERM_WRITE = 1 << 1, IMG_PERM_WRITE_UNCHANGED = 1 << 2,
    IMG_PERM_RESIZE = 1 << 3, IMG_PERM_ALL = 15
};

struct img {
    const struct img_driver *driver;
    void *state;                    /* driver->state_size bytes, zeroed before open */
    uint64_t size;                  /* guest-visible bytes; set by open, resize */
    unsigned flags;                 /* IMG_RDWR ... as opened */
    enum img_cache cache;
    enum img_gate gate;
    unsigned perm, shared;          /* enum img_permission, set before open */

    char *filename;                 /* exact name of the storage, "" when it has no plain name.  PROTOCOL: the "filename"
                                     * option, set before open, NULL when none was given;
                                     * "file:" and the like are cut off where the driver has a probe for plain names */
    char *shown_name;               /* plain or json:, for img_filename */
    struct img_doc *options;        /* options given explicitly to this node, children left out */
    char *node_name;                /* node-name=, NULL: none given */
    struct img *next_named;         /* node.c: all open nodes with a name */
    bool probed;                    /* the format was guessed */

    struct img *file;               /* node below: protocol, or inner format; NULL for a PROTOCOL */
    struct img *backing;            /* NULL: none or not opened */
    struct img *data_file;          /* external data file; NULL: bytes live in `file` */
    char *backing_name;             /* as stored in the image, NULL: none */
    char *backing_format;           /* as stored, NULL: not named */

    uint32_t cluster_size;          /* allocation unit of a format, 0: none */
    uint32_t write_unit;            /* smallest unit that a write allocates (subcluster); 0: byte */
    uint32_t request_alignment;     /* of a PROTOCOL opened with O_DIRECT; 1 otherwise */
    bool encrypted;
    bool dirty;                     /* set by open: was not closed cleanly the last time */
    bool snapshot_view;             /* showing an internal snapshot: read-only */

    pthread_mutex_t lock;           /* see "Calls and threads" */
    struct img_decoded *decoded;    /* io.c: compressed clusters decoded lately */
};

/*
 * Where a write goes.  The driver fills everything but `offset`:
 *  [offset, offset+length) is the accepted prefix of the range asked for; its
 *  bytes go to [host, host+length) of `file`.
 *  head / tail: bytes directly before and behind the range, on the same host
 *  run, that belong to newly allocated units and which libimg fills with the
 *  guest content visible at these places before the write (copy on write).  Tail is cut at the
 *  end of the guest disk; host bytes behind it may stay undefined.
 *  published: nothing has to be linked in (already allocated): publish is not called.
 */
struct img_reservation {
    uint64_t offset, length;
    struct img *file;
    uint64_t host;
    uint64_t head, tail;
    bool published;
    bool coded;
    uint64_t tag[4];                /* the driver's own */
};

/* O_DIRECT; no flush reaches the storage. */
static inline bool img_cache_direct(enum img_cache mode)
{
    return mode == IMG_CACHE_NONE || mode == IMG_CACHE_DIRECTSYNC || mode == IMG_CACHE_DIRECT_UNSAFE;
}

static inline bool img_cache_unsafe(enum img_cache mode)
{
    return mode == IMG_CACHE_UNSAFE || mode == IMG_CACHE_DIRECT_UNSAFE;
}

/* A request to create an image. */
struct img_create {
    const char *name;               /* the target, as given */
    const void *options;            /* driver->create_size bytes, filled by the option table */
    struct img_doc *rest;           /* flat options that the table does not know, for the protocol below; take what is used */
};

struct img_driver {
    const char *name, *title;
    enum img_kind kind;
    unsigned traits;
    size_t state_size;
    const struct img_option *options;
    size_t create_size;             /* of the structure that IMG_AT_CREATE options fill */
    size_t open_size;               /* of the structure that IMG_AT_OPEN options fill */
    const char *prefix;             /* PROTOCOL: "nbd" of nbd:... ; NULL: none */

    /* FORMAT: how sure is it, 0 (no) to 100, that the first `length` bytes are
     * this format.  PROTOCOL: the same from the file name; head is NULL then. */
    int (*probe)(const uint8_t *head, size_t length, const char *name);

    /* image->file is open (FORMAT).  Takes what it knows out of `options`.  `parsed` is the
     * structure of open_size bytes with the table's IMG_AT_OPEN options. */
    int (*open)(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err);
    /* Opening is split for formats with children: set backing_name, backing_format and open data_file in open;
     * chain.c opens the backing file afterwards. */
    int (*close)(struct img *image);  /* writes what is still held back; frees */
    int (*create)(const struct img_create *request, struct img_error *err);

    /* PROTOCOL, and formats whose bytes do not lie still. */
    int (*pread)(struct img *image, void *buffer, uint64_t offset, size_t length);
    int (*pwrite)(struct img *image, const void *buffer, uint64_t offset, size_t length);

    /* Ranges: flags IMG_ZERO_...  A format that cannot do it without data returns -ENOTSUP and libimg writes zeroes.
     * FORMAT: zero gets whole write_units (cluster_size where that is 0), discard whole clusters; the last may be
     * cut by the end of the disk. */
    int (*zero)(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
    int (*discard)(struct img *image, uint64_t offset, uint64_t length);
    int (*flush)(struct img *image);  /* metadata held back, in order, then image->file (and data_file) are flushed by libimg */

    /* PROTOCOL: let the kernel copy `length` bytes from a node of this driver to another one of it; a
     * negative errno when it can't (then the bytes are copied by hand).  May be NULL. */
    int (*copy_range)(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length);

    /* FORMAT: where are the bytes? (PROTOCOL: DATA or ZERO, host = offset, file = itself.) */
    int (*map)(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
    int (*reserve)(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
    int (*publish)(struct img *image, struct img_reservation *at);
    void (*cancel)(struct img *image, struct img_reservation *at);   /* the bytes could not be written */

    /* Compressed units.  encode returns the coded length, or -ENOSPC when it would not be shorter
     * (then the core writes it plain); decode fills all of `plain` (one cluster). */
    int64_t (*encode)(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
    int (*decode)(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);
    /* Place for `coded_length` coded bytes of the cluster at `offset`; published as usual. */
    int (*reserve_coded)(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);

    int (*resize)(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);
    int (*check)(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);
    int (*info)(struct img *image, struct img_doc *data, struct img_error *err);  /* fill the "data" object */
    const char *info_type;                               /* "type" beside it, NULL: the name */
    int64_t (*allocated)(struct img *image);             /* PROTOCOL: bytes on storage */
    bool (*zero_initialised)(struct img *image);         /* fresh image reads as zeroes */
    void (*limits)(struct img *image, struct img_limits *limits);

    bool (*has_bitmaps)(const struct img *image);        /* persistent bitmaps are possible; NULL: never */
    int (*snapshots)(struct img *image, struct img_snapshot **list, struct img_error *err);
    int (*snapshot_load)(struct img *image, const char *id, const char *name, struct img_error *err);

    /* Options that change what the guest sees and so appear in a json: name; "encrypt." stands for all with that
     * beginning. */
    const char *const *strong_options;
};

enum {
    IMG_CAN_BACK = 1, IMG_CAN_COMPRESS = 2,
    IMG_RECOGNISED_ONLY = 4,        /* a probe and a name: not built in */
    IMG_PASS_THROUGH = 8            /* raw: guest bytes are the bytes below (shift by an offset) */
};

/* All drivers that are linked; NULL-ended.  Written by the build from the configuration. */
extern const struct img_driver *const img_drivers[];

/* ---- For format drivers --------------------------------------------------- */

/* Create the protocol layer at `name` from the options of `rest` that the protocol knows
 * (removed from it), `size` bytes long, and open it for writing (file NULL: do not open it).  What stays in rest is
 * refused by name. */
int img_create_file(const char *name, uint64_t size, struct img_doc *rest, struct img **file, struct img_error *err);
/* Open a file that image names (data file): asks the gate; a relative name starts at the current folder, as in the
 * peer. `options`: a nested object from the caller of open ("data-file"), then the name is not used; or NULL. */
int img_open_child(struct img *parent, const char *role, const char *name, const char *format,
                   const struct img_doc *options, struct img **child, struct img_error *err);
/* Change the length of a PROTOCOL node. preallocation: "off" "falloc" "full" or NULL. */
int img_resize_file(struct img *file, uint64_t size, const char *preallocation, struct img_error *err);

#endif
