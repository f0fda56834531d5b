/* SPDX-License-Identifier: MIT */
/*
 * driver.h - what a driver sees of libimg: the node, the vtable and its contract.
 *
 * A format driver maps, the core moves the bytes.  libimg checks ranges and
 * read-only state before it calls a driver, so a callback may rely on
 * offset + length <= image->size (a PROTOCOL may be written to behind its end)
 * and on length > 0.  A NULL callback means that libimg emulates it or answers
 * "not supported".
 *
 * Requests: pread, pwrite, zero, discard and map of a PROTOCOL, a FILTER or an
 * ADAPTER are called within image->limits: offset and length are multiples of
 * request_alignment, the buffer is aligned to memory_alignment, and length is
 * at most max_transfer (max_write_zeroes, max_discard).  One exception: the
 * end of a write may be the end of the node, or its new end, without alignment.
 * A read may reach beyond the end by less than request_alignment; there a
 * PROTOCOL and an ADAPTER read zeroes.  Writes of one block are never
 * concurrent with a partial write of it.
 *
 * Calls and threads: open, close, create, resize, check, info and snapshot
 * calls are never concurrent with anything on the same node.  map, reserve,
 * publish, cancel, zero, discard and flush of one node of a FORMAT are
 * serialised by libimg with image->lock, so their code is written as for one
 * thread; but map and reserve may release image->lock while they wait for a
 * table, before they have changed anything, and flush while a storage is synced
 * (io/waiting.h).  Between reserve
 * and publish nobody else reserves in the same lock unit (limits.lock_unit).
 * decode and encode run concurrently and must not touch state that the others
 * write.  pread, pwrite, zero, discard, flush and map of all other kinds run
 * concurrently without a lock; so does pread of a FORMAT with
 * IMG_READS_CONCURRENTLY.  flush of a PROTOCOL or ADAPTER is called by one
 * thread at a time, and only if there was a write since the last one.
 *
 * Callbacks on the path of the bytes return 0 or a negative errno; the caller
 * knows what was being done and words the error.  Structural damage is first
 * reported with img_notice.  The others set *err.
 */
#ifndef IMG_DRIVER_H
#define IMG_DRIVER_H

#include "img.h"
#include "node/event.h"
#include "node/mark.h"
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

/* detect-zeroes=: what becomes of a write of nothing but zeroes. */
enum img_detect_zeroes { IMG_DETECT_OFF, IMG_DETECT_ON, IMG_DETECT_UNMAP };

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
    /* Asked before guest bytes go to the node below (buffer NULL: zeroes): may this be written?  NULL: anything may. */
    int (*guard)(struct img *image, const void *buffer, uint64_t offset, size_t length);

    struct img *file;               /* node below: protocol, or inner format; NULL for a PROTOCOL */
    struct img *backing;            /* NULL: none or not opened */
    struct img *data_file;          /* external data file; NULL: bytes live in `file` */
    struct img **extents;           /* further nodes that hold the guest's bytes, "extents.0" and so on: filled by */
    size_t extent_count;            /* the driver (img_open_extent), flushed and closed by libimg */
    char *child_name;               /* of an extent: "extents.N" */
    bool backing_changed;           /* set by map: the backing file is not what the image was made on, and what shows of
                                     * it is not to be read */
    char *backing_name;             /* as stored in the image, NULL: none */
    char *backing_format;           /* as stored, NULL: not named */
    struct img_doc *backing_options;    /* backing.c: what opening said about the backing file; NULL: nothing */

    struct img_limits limits;       /* set before open to what the node below can do; open changes what is its own */
    char *within;                   /* PROTOCOL: the folder that the file has to lie in, wherever links lead, set before
                                     * open; NULL: it may lie anywhere */
    bool blind;                     /* PROTOCOL: map calls everything DATA, holes too (a device) */
    bool encrypted;
    bool dirty;                     /* set by open: was not closed cleanly the last time */
    bool snapshot_view;             /* showing an internal snapshot: read-only */
    bool keeps_discarded;           /* discard=ignore: discards end here */
    bool no_details;                /* set by open: nothing is known of the node but its size, no "dirty-flag" */
    bool coded_only;                /* set by open: what is written are whole clusters, and all of them coded */
    enum img_detect_zeroes detect_zeroes;

    pthread_mutex_t lock;           /* see "Calls and threads" */
    pthread_cond_t table_arrived;   /* io/waiting.h, with this lock; */
    unsigned patience;              /* 0 whenever the lock is free */
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
 *  replaces: publish frees something that later reservations may find: publish it before reserving again.
 */
struct img_reservation {
    uint64_t offset, length;
    struct img *file;
    uint64_t host;
    uint64_t head, tail;
    bool published;
    bool replaces;
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
    unsigned shared;                /* PROTOCOL: what is left to others; known before the old content is dropped */
};

/*
 * Persistent bitmaps (see img.h).  `index` counts in stored order and is good until the next add or remove.
 * libimg has checked names, granularity and that the bitmap is consistent, where that matters.
 */
struct img_bitmap_ops {
    size_t (*count)(struct img *image);
    /* Name (the driver's), granularity, enabled, inconsistent of one. */
    void (*describe)(struct img *image, size_t index, struct img_bitmap *bitmap);
    int (*add)(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err);
    int (*remove)(struct img *image, size_t index);
    int (*clear)(struct img *image, size_t index);
    int (*enable)(struct img *image, size_t index, bool enabled);
    /* The first run of set bits at or behind guest `offset`, as bytes cut at the end of the disk; *length 0: none.  The
     * run may be told in pieces. */
    int (*next)(struct img *image, size_t index, uint64_t offset, uint64_t *start, uint64_t *length);
    /* Set the bits of a guest range. */
    int (*mark)(struct img *image, size_t index, uint64_t offset, uint64_t length);
    /* Set all bits that are set in another one, of an image of the same driver with a disk of the same size and of the
     * same granularity.  NULL: libimg does it run by run. */
    int (*merge)(struct img *image, size_t index, struct img *source, size_t source_index);
};
/*
 * An image that is written strictly forward, to a pipe (stream.c, copy-stream.c).  `image` is a node that was never
 * opened: driver, size, state.  The guest disk comes in pieces, one call at a time, from 0 to its end without a gap,
 * each a list of runs in rising order.  A piece begins and ends at a multiple of IMG_STREAM_PIECE (IMG_STREAM_CODED_PIECE
 * where clusters are coded), or of the cluster where that is larger, or at the end of the disk.
 */
enum { IMG_STREAM_PIECE = 512 << 10, IMG_STREAM_CODED_PIECE = 1 << 20 };

/* Whole units of the guest disk: write_unit, or clusters where they are coded; the end of the disk may cut the last. */
struct img_run {
    uint64_t offset, length;
    enum img_extent_kind kind;      /* CODED: one cluster */
    const void *bytes;              /* DATA: length of them, CODED: coded_length; NULL while it is planned */
    size_t coded_length;
};

/* Where it goes: all that is written follows what was written before.  Negative errno. */
struct img_sink;
/* The bytes are to stay until the callback returns, or img_sink_flush. */
int img_sink_write(struct img_sink *sink, const void *bytes, uint64_t length);
int img_sink_flush(struct img_sink *sink);
int img_sink_zeroes(struct img_sink *sink, uint64_t length);
/* Zeroes up to a position ahead; -EIO where it lies behind. */
int img_sink_advance(struct img_sink *sink, uint64_t position);
uint64_t img_sink_position(const struct img_sink *sink);

struct img_stream_ops {
    size_t state_size;              /* zeroed before open */
    const char *only;               /* the option that makes such an image ("subformat=x"); NULL: any will do */
    /* Judge the options (create_size bytes, good until close) and set size, cluster_size, write_unit, coded_only.
     * `compress`: clusters will come coded.  close also after an error. */
    int (*open)(struct img *image, const void *create_options, bool compress, struct img_error *err);
    /* The pieces as they will come, without their bytes; called only where it is set, before anything is written. */
    int (*plan)(struct img *image, const struct img_run *runs, size_t count);
    /* What comes before the guest's bytes; the pieces; what comes behind them.  put: -ESTALE where a piece does not fit
     * what was planned.  Bytes that were planned as data may come as zeroes. */
    int (*begin)(struct img *image, struct img_sink *sink);
    int (*put)(struct img *image, const struct img_run *runs, size_t count, struct img_sink *sink);
    int (*end)(struct img *image, struct img_sink *sink);
    void (*close)(struct img *image);
};

/* -EINVAL, with the words for a bitmap that is inconsistent. */
int img_bitmap_unusable(const char *name, struct img_error *err);

/* Raised with every change of what drivers see of libimg: of a structure, of a function, of what one of them means. */
enum { IMG_DRIVER_ABI = 1 };

struct img_driver {
    /* First in every version, for a module is looked at before it is trusted (module.c).  IMG_ROW sets both. */
    uint32_t abi, size;

    /* The row of the driver, which the build keeps where the code is left out: see IMG_ROW. */
    const char *name;
    enum img_kind kind;
    const char *prefix;             /* PROTOCOL, FILTER: "nbd" of nbd:... ; several with blanks between them; NULL: none */
    const char *folder_file;        /* FORMAT: an image may be a folder; this file in it is opened then, and what it
                                     * names has to lie in the folder.  NULL: it is not */
    const struct img_mark *marks;   /* FORMAT: how an image is known without being named.  NULL: it is not */
    int precedence;                 /* where a file bears the marks of two: the higher one counts, of equals any */

    unsigned traits;
    size_t state_size;
    const struct img_option *options;
    size_t create_size;             /* of the structure that IMG_AT_CREATE options fill */
    size_t open_size;               /* of the structure that IMG_AT_OPEN options fill */

    /* PROTOCOL of plain names: how sure is it, 0 (no) to 100, that this one is its own? */
    int (*probe)(const char *name);

    /* image->file is open (FORMAT).  Takes what it knows out of `options`.  `parsed` is the
     * structure of open_size bytes with the table's IMG_AT_OPEN options. */
    int (*open)(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err);
    /* Opening is split for formats with children: set backing_name, backing_format and open data_file in open;
     * backing.c opens the backing file afterwards. */
    int (*close)(struct img *image);  /* writes what is still held back; frees */
    const char *unflushed;            /* what an error of closing is called, NULL: "Could not close image" */
    /* PROTOCOL: take the locks that `perm` and `shared` ask for, which open does not: called after open, and again when
     * a format that was found by its content needs more than the look at it did.  -EAGAIN: others are in the way.
     * NULL: the storage has no locks. */
    int (*lock)(struct img *image, struct img_error *err);
    /* PROTOCOL: where `name` is a folder that has the regular file `inside`, the name of that; caller frees.  NULL: it
     * is not.  A protocol that has it also keeps to `within`. */
    char *(*in_folder)(const char *name, const char *inside);
    int (*create)(const struct img_create *request, struct img_error *err);
    const struct img_stream_ops *stream;    /* FORMAT: can be written in order; NULL: it cannot */

    /* PROTOCOL, FILTER, ADAPTER, and formats that have no place for their bytes.  flags: IMG_WRITE_FUA, only with the
     * trait IMG_WRITES_FUA, or for a FILTER, which passes it on. */
    int (*pread)(struct img *image, void *buffer, uint64_t offset, size_t length);
    int (*pwrite)(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);

    /* Ranges: flags IMG_ZERO_...  -ENOTSUP: zeroes cannot be made without writing them, and libimg does that.
     * FORMAT: zero gets whole units of limits.write_unit (or clusters), discard whole clusters; the last may be
     * cut by the end of the disk. */
    int (*zero)(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
    int (*discard)(struct img *image, uint64_t offset, uint64_t length);
    /* Write metadata that is held back, in order; libimg then flushes image->file and the other nodes below.  PROTOCOL: make
     * all that was written durable. */
    int (*flush)(struct img *image);

    /* PROTOCOL: let the kernel or the server copy `length` bytes from a node of this driver to another one of it; with
     * `share` only by sharing the blocks, which moves no bytes.  A negative errno when it can't (then the bytes
     * are copied by hand, what it has done of it is harmless); -ENOTSUP: it is not worth another try.  May be NULL. */
    int (*copy_range)(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                      bool share);

    /* FORMAT: where are the bytes? (PROTOCOL: DATA or ZERO, host = offset, file = itself.) */
    int (*map)(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
    int (*reserve)(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
    int (*publish)(struct img *image, struct img_reservation *at);
    /* The bytes could not be written.  NULL: the place is lost, or stays with its unit. */
    void (*cancel)(struct img *image, struct img_reservation *at);

    /* Compressed units.  encode returns the coded length, or -ENOSPC when it does not fit (`capacity` is less than a
     * cluster, then the core writes it plain; img_coded_bound where coded_only is set); decode fills all of `plain`
     * (one cluster). */
    int64_t (*encode)(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
    int (*decode)(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);
    /* Place for `coded_length` coded bytes of the cluster at `offset`; published as usual. */
    int (*reserve_coded)(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);

    int (*resize)(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);
    /* Change options of an image that stands: `options` is create_size bytes of which those for IMG_AT_AMEND that were
     * given are set.  NULL: the format has none that can be changed. */
    int (*amend)(struct img *image, const void *options, const struct img_amend *how, struct img_error *err);
    int (*check)(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);
    int (*info)(struct img *image, struct img_doc *data, struct img_error *err);  /* fill the "data" object */
    const char *info_type;                               /* "type" beside it, NULL: the name */
    int64_t (*allocated)(struct img *image);             /* PROTOCOL: bytes on storage */
    bool (*zero_initialised)(struct img *image);         /* fresh image reads as zeroes */

    /* Store another backing name and format (NULL: none), and keep backing_name and backing_format in step.  What was
     * written before is durable first.  The backing node stays as it is.  -ENOSPC: no room in the header. */
    int (*change_backing)(struct img *image, const char *name, const char *format);
    /* No guest cluster is allocated any more: all of it shows the backing file. */
    int (*make_empty)(struct img *image);

    bool (*has_bitmaps)(const struct img *image);        /* persistent bitmaps are possible; NULL: never */
    const struct img_bitmap_ops *bitmaps;                /* NULL: none */
    /* FORMAT: see img_measure; `create_options` is the structure of create_size bytes, `size` that of the source. */
    int (*measure)(const void *create_options, struct img *source, uint64_t size, struct img_measure *result,
                   struct img_error *err);
    int (*snapshots)(struct img *image, struct img_snapshot **list, struct img_error *err);
    int (*snapshot_load)(struct img *image, const char *id, const char *name, struct img_error *err);
    /* As img_snapshot_create, _apply, _delete; the image is writable.  apply sets image->size. */
    int (*snapshot_create)(struct img *image, struct img_snapshot *what, struct img_error *err);
    int (*snapshot_apply)(struct img *image, const char *id_or_name, struct img_error *err);
    int (*snapshot_delete)(struct img *image, const char *id, const char *name, struct img_error *err);

    /* FILTER.  Its pread, pwrite, zero, discard and flush, where it has them, run concurrently without a lock and pass
     * the request on to image->file themselves (flush does not: libimg flushes what is below).  map may only inject
     * errors; what it answers is the answer from below.
     * ADAPTER.  As a FILTER, but the node is a storage of its own: without map all of it is data, without zero zeroes are
     * written through pwrite, and nothing is copied past it.
     *  child: the name of the node below, NULL: "file".
     *  parse_name: put the options that "prefix:..." or a plain name stands for into `options`; NULL: the name is the
     *  child's.  PROTOCOLs with a prefix may have it too.
     *  plain_name: a name that opens the node with all its options, or NULL (then it is a json: one); caller frees.
     *  event: the metadata code of a format above has come to this point. */
    const char *child;
    int (*parse_name)(const char *name, struct img_doc *options, struct img_error *err);
    char *(*plain_name)(const struct img *image);
    void (*event)(struct img *image, enum img_event event);

    /* Options that change what the guest sees and so appear in a json: name; "encrypt." stands for all with that
     * beginning. */
    const char *const *strong_options;
};

/*
 * A driver is defined with its row first, in lines that hold nothing else:
 *
 *     const struct img_driver img_driver_NAME = {
 *         IMG_ROW(
 *             .name = "qed", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "QED\0"))
 *         ),
 *         .state_size = ...
 *
 * The build copies these lines into its table where the driver is left out, so they may use nothing but this header.
 * Images and names are still recognised then, and refused with "qed support is not built in".
 */
#define IMG_ROW(...) .abi = IMG_DRIVER_ABI, .size = sizeof(struct img_driver), __VA_ARGS__

/*
 * In a line of its own in one file of drivers/NAME/: a dynamic build makes a module of it, for it needs these packages of
 * pkg-config ("libcurl >= 7.60", several with blanks between them, "" for none) and is loaded only where it is used.
 * Where they are not found the driver is left out.
 */
#define IMG_MODULE(packages) _Static_assert(sizeof(packages), "")

enum {
    IMG_CAN_BACK = 1, IMG_CAN_COMPRESS = 2,
    IMG_RECOGNISED_ONLY = 4,        /* a row without code: not built in */
    IMG_PASS_THROUGH = 8,           /* raw: guest bytes are the bytes below (shift by an offset) */
    IMG_COMPRESSES = 16,            /* FILTER: what is written through it is compressed */
    IMG_READS_CONCURRENTLY = 32,    /* FORMAT: its pread needs no lock of libimg's */
    IMG_WRITES_FUA = 64,            /* pwrite and zero do what IMG_WRITE_FUA asks; without it libimg flushes */
    IMG_IN_MODULE = 1 << 16,        /* a row that stands for a driver which is not loaded */
    IMG_MAP_UNTOLD = 128            /* FORMAT: users are told that all of it is data, as qemu-img does (img_map_told) */
};

/* All drivers that are linked; NULL-ended.  Written by the build from the configuration. */
extern const struct img_driver *const img_drivers[];

/* ---- For all drivers ------------------------------------------------------- */

/* The node has become so long by a write, if it was not before; any thread. */
void img_grew_to(struct img *image, uint64_t end);
/* Was it given options that only a json: name can tell (strong_options), other than `but` (NULL: any)? */
bool img_has_strong_options(const struct img *image, const char *but);

/* Wait, for a storage that has to: so many nanoseconds.  -ECANCELED when the job is to end meanwhile, and then nobody
 * needs the answer.  Any thread. */
int img_sleep(struct img *image, uint64_t nanoseconds);
/* The same for poll(): a descriptor that becomes readable when the job is to end; -1: there is none. */
int img_stop_descriptor(struct img *image);

/* ---- For format drivers --------------------------------------------------- */

/* img_pread of what may be cut short: bytes behind the end of the node are zeroes, wherever they lie. */
int img_pread_padded(struct img *image, void *buffer, uint64_t offset, size_t length);
/* Create the protocol layer at `name` from the options of `rest` that the protocol knows
 * (removed from it), `size` bytes long, and open it for writing (file NULL: do not open it).  What stays in rest is
 * refused by name.  `shared`: enum img_permission left to other users. */
int img_create_file(const char *name, uint64_t size, unsigned shared, struct img_doc *rest, struct img **file,
                    struct img_error *err);
/* Open a file that image names (data file): asks the gate; a relative name starts at the current folder, as in
 * qemu-img. `options`: a nested object from the caller of open ("data-file"), then the name is not used; or NULL. */
int img_open_child(struct img *parent, const char *role, const char *name, const char *format,
                   const struct img_doc *options, struct img **child, struct img_error *err);
/* Open a file that image names as the next of its `extents`: asks the gate; the name is a file's, never that of a
 * protocol, and relative ones start at the image.  `options` as for img_open_child, "extents.N" then.  -EINVAL, or as
 * opening fails. */
int img_open_extent(struct img *parent, const char *name, const struct img_doc *options, struct img_error *err);
/* Change the length of a PROTOCOL node. preallocation: "off" "falloc" "full" or NULL.  It may become longer while others
 * write in front of its end. */
int img_resize_file(struct img *file, uint64_t size, const char *preallocation, struct img_error *err);
/* The node is at least so long: its last byte is written, which has to be the caller's alone.  To set the length could
 * cut off what others write further on. */
int img_lengthen_file(struct img *file, uint64_t end);
/* Close the file of a new image (NULL is fine). `status`: what became of writing it, with its words in *err.  The first
 * error is the one that counts and is returned. */
int img_close_file(struct img *file, int status, struct img_error *err);
/* What was written to image->file is to be durable before what comes next. */
int img_barrier(struct img *image);

#endif
