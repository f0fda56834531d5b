/* SPDX-License-Identifier: MIT */
/*
 * driver.h - what a driver sees of libimg: the node, the vtable and its contract.
 *
 * A format driver maps, the core moves the bytes.  libimg checks ranges and
 * read-only state before it calls a driver, so a callback may rely on
 * offset + length <= image->size and on length > 0.  A PROTOCOL may be written
 * to behind its end: then it becomes longer, or says -ENOSPC.  Sizes are whole
 * sectors of 512 bytes.  A NULL callback means that libimg emulates it or answers
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
 * thread; but map, reserve and reserve_coded may release image->lock while they wait for a
 * table, before they have changed anything, and flush while a storage is synced
 * (io/waiting.h).  Between reserve
 * and publish nobody else reserves in the same lock unit (limits.lock_unit).
 * decode and encode run concurrently and must not touch state that the others
 * write.  pread, pwrite, zero, discard and map of all other kinds run
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
 * Permissions that a user has on a node, or shares with others.  The numbers are the lock bytes of the file driver
 * (byte 100 + n: held; byte 200 + n: not shared).
 */
enum img_permission {
    IMG_PERM_READ = 1 << 0, IMG_PERM_WRITE = 1 << 1, IMG_PERM_WRITE_UNCHANGED = 1 << 2,
    IMG_PERM_RESIZE = 1 << 3, IMG_PERM_ALL = 15
};

/* detect-zeroes=: what to do with a write of zeroes only. */
enum img_detect_zeroes { IMG_DETECT_OFF, IMG_DETECT_ON, IMG_DETECT_UNMAP };

struct img {
    const struct img_driver *driver;
    void *state;                    /* driver->state_size bytes, zeroed before open */
    uint64_t size;                  /* guest-visible bytes; set by open, resize */
    unsigned flags;                 /* IMG_RDWR ... as opened */
    enum img_cache cache;
    enum img_gate gate;
    unsigned perm, shared;          /* enum img_permission, set before open */

    char *filename;                 /* exact name of the storage, "" if it has no plain name.  PROTOCOL: the "filename"
                                     * option, set before open, NULL if none was given; without "file:" and the like if
                                     * the driver has a probe for plain names */
    char *shown_name;               /* plain or json:, for img_filename */
    struct img_doc *options;        /* options given explicitly to this node, without its children */
    char *node_name;                /* node-name=, NULL: none given */
    struct img *next_named;         /* node.c: all open nodes with a name */
    bool probed;                    /* the format was guessed */
    const struct img_content *content;  /* raw was guessed, and it begins like something else; NULL: it does not */
    /*
     * Called before guest bytes are passed to the node below (buffer NULL: zeroes): may this be written?  NULL: always.
     */
    int (*guard)(struct img *image, const void *buffer, uint64_t offset, size_t length);

    struct img *file;               /* node below: protocol, or inner format; NULL for a PROTOCOL */
    struct img *backing;            /* NULL: none or not opened */
    struct img *data_file;          /* external data file, or what driver->second_child names; NULL: there is none */
    struct img **extents;           /* more nodes with guest bytes, "extents.0" and so on: filled by */
    size_t extent_count;            /* the driver (img_open_extent), flushed and closed by libimg */
    char *child_name;               /* of an extent: "extents.N" */
    bool rebasing;                  /* a backing file comes below: what it must not show has to be stored, zeroes too */
    bool backing_changed;           /* set by map: the backing file is not the one that the image was made on, so its
                                     * content must not be read */
    char *backing_name;             /* as stored in the image, NULL: none */
    char *backing_format;           /* as stored, NULL: none */
    char *backing_alias;            /* the same name in UTF-8, if it is stored in another encoding; NULL: it is not */
    struct img_doc *backing_options;    /* backing.c: options given for the backing file; NULL: none */
    bool has_parent;                /* set by open: a differencing disk.  graph/parent.c finds its backing file by */
    char **parent_names;            /* these names (img_add_parent_name), checks it, and sets backing_name */
    size_t parent_count;

    struct img_limits limits;       /* before open: the limits of the node below; open sets those that differ */
    char *within;                   /* PROTOCOL: the folder that must contain the file, after links are resolved; set
                                     * before open.  NULL: anywhere */
    bool blind;                     /* PROTOCOL: map reports holes as DATA, too (a device) */
    bool encrypted;
    bool dirty;                     /* set by open: the image was not closed cleanly */
    bool snapshot_view;             /* shows an internal snapshot: read-only */
    bool keeps_discarded;           /* discard=ignore: do not pass discards on */
    bool no_details;                /* set by open: only the size of the node is known; no "dirty-flag" */
    /* Set by open, over a storage with limits.forward: map finds its way while it goes forward, so it must not be asked
     * before.  Answers stay for the last 16 MiB or so. */
    bool maps_forward;
    bool coded_only;                /* set by open: only whole compressed clusters can be written */
    enum img_detect_zeroes detect_zeroes;

    pthread_mutex_t lock;           /* see "Calls and threads" */
    pthread_cond_t table_arrived;   /* see io/waiting.h; used with this lock */
    unsigned patience;              /* see io/waiting.h; 0 while the lock is free */
};

/*
 * Where to write.  The driver fills everything except `offset`.  [offset, offset+length) is the accepted prefix of the
 * requested range; its bytes are written to [host, host+length) of `file`.
 * head / tail: bytes directly before and after the range, on the same host run, in newly allocated units.  libimg fills
 * them with the old guest content before the write (copy on write).  Tail stops at the end of the guest disk; host
 * bytes beyond it may stay undefined.
 * published: the range was already allocated: publish is not called.
 * replaces: publish frees something that later reservations may find: publish it before reserving again.
 */
struct img_reservation {
    uint64_t offset, length;
    struct img *file;
    uint64_t host;
    uint64_t head, tail;
    bool published;
    bool replaces;
    bool coded;
    uint64_t tag[4];                /* private to the driver */
};

/* O_DIRECT; flushes do not reach the storage. */
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
    const char *name;               /* the target; of a PROTOCOL without its prefix */
    const char *called;             /* the name that the image will have, for formats that store it */
    const void *options;            /* driver->create_size bytes, filled by the option table */
    struct img_doc *rest;           /* flat options unknown to the table, for the protocol below; take those you use */
    unsigned shared;                /* PROTOCOL: shared permissions; needed before the content is dropped */
};

/*
 * Persistent bitmaps (see img.h).  `index` counts in stored order and is valid until the next add or remove.  libimg
 * has checked the granularity, that the name is not empty or taken, and, where it matters, that the bitmap is consistent.
 */
struct img_bitmap_ops {
    size_t (*count)(struct img *image);
    /* Name (owned by the driver), granularity, enabled and inconsistent of one bitmap. */
    void (*describe)(struct img *image, size_t index, struct img_bitmap *bitmap);
    int (*add)(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err);
    int (*remove)(struct img *image, size_t index);
    int (*clear)(struct img *image, size_t index);
    int (*enable)(struct img *image, size_t index, bool enabled);
    /* The first run of set bits at or after guest `offset`, as bytes, cut at the end of the disk; *length 0: none.  A
     * run may be returned in pieces. */
    int (*next)(struct img *image, size_t index, uint64_t offset, uint64_t *start, uint64_t *length);
    /* Set the bits of a guest range. */
    int (*mark)(struct img *image, size_t index, uint64_t offset, uint64_t length);
    /* Set all bits that are set in `source_index` of `source`: an image of the same driver, with the same disk size and
     * granularity.  NULL: libimg copies run by run. */
    int (*merge)(struct img *image, size_t index, struct img *source, size_t source_index);
};
/*
 * An image that is written strictly forward, to a pipe (copy/stream.c, copy/stream-pass.c).  `image` is a node that was
 * never opened: it has driver, size and state.  The guest disk arrives in pieces, one call at a time, from 0 to its end
 * without a gap; each piece is a list of runs in ascending order.  A piece begins and ends at a multiple of
 * IMG_STREAM_PIECE (IMG_STREAM_CODED_PIECE if clusters are compressed), or of the cluster size if that is larger, or at
 * the end of the disk.
 */
enum { IMG_STREAM_PIECE = 512 << 10, IMG_STREAM_CODED_PIECE = 1 << 20 };

/*
 * Whole units of the guest disk: write_unit, or clusters if they are compressed; the end of the disk may cut the last.
 */
struct img_run {
    uint64_t offset, length;
    enum img_extent_kind kind;      /* CODED: one cluster */
    const void *bytes;              /* DATA: length bytes, CODED: coded_length bytes; NULL while planning */
    size_t coded_length;
};

/* Where to write: each call appends.  Returns a negative errno on failure. */
struct img_sink;
/* The bytes must stay valid until the callback returns, or until img_sink_flush. */
int img_sink_write(struct img_sink *sink, const void *bytes, uint64_t length);
int img_sink_flush(struct img_sink *sink);
int img_sink_zeroes(struct img_sink *sink, uint64_t length);
/* Write zeroes up to a later position; -EIO if it is an earlier one. */
int img_sink_advance(struct img_sink *sink, uint64_t position);
uint64_t img_sink_position(const struct img_sink *sink);

struct img_stream_ops {
    size_t state_size;              /* zeroed before open */
    const char *only;               /* the option that makes such an image ("subformat=x"); NULL: none needed */
    /* Check the options (create_size bytes, valid until close) and set size, limits.cluster, limits.write_unit, coded_only.
     * `compress`: clusters will be compressed.  close is called after an error, too. */
    int (*open)(struct img *image, const void *create_options, bool compress, struct img_error *err);
    /* The coming pieces, without their bytes; called only if set, before anything is written. */
    int (*plan)(struct img *image, const struct img_run *runs, size_t count);
    /* begin writes what precedes the guest's bytes, put a piece, end what follows them.  put: -ESTALE if a piece does
     * not match the plan.  Bytes that were planned as data may arrive as zeroes. */
    int (*begin)(struct img *image, struct img_sink *sink);
    int (*put)(struct img *image, const struct img_run *runs, size_t count, struct img_sink *sink);
    int (*end)(struct img *image, struct img_sink *sink);
    void (*close)(struct img *image);
};

/* An image that is the bytes of its disk and then a trailer, which says what it is; as it comes through a pipe. */
struct img_trailer {
    size_t length;                  /* of the trailer; at most 512 */
    uint64_t excess;                /* the disk is at most so much shorter than what lies before the trailer */
    /* Can an image that begins with these 512 bytes be of this kind? */
    bool (*fits)(const uint8_t *head);
    /* The size of the disk; `before`: where the trailer lies. */
    int (*judge)(const uint8_t *trailer, uint64_t before, uint64_t *size, struct img_error *err);
};

/* Returns -EINVAL, with the error message for an inconsistent bitmap. */
int img_bitmap_unusable(const char *name, struct img_error *err);

/* Increased with every change of what drivers see of libimg: of a structure, a function, or the meaning of one. */
enum { IMG_DRIVER_ABI = 7 };

struct img_tls_ops;

struct img_driver {
    /* First in every version, since a module is checked before it is trusted (module.c).  IMG_ROW sets both. */
    uint32_t abi, size;

    /* The row of the driver, which the build keeps if the code is left out: see IMG_ROW. */
    const char *name;
    enum img_kind kind;
    const char *alias;              /* what people also call it, but what is not taken for its name: "vhd" of vpc;
                                     * blanks separate several; NULL: nothing */
    const char *prefix;             /* PROTOCOL, FILTER: "nbd" of nbd:... ; blanks separate several; NULL: none */
    const char *folder_file;        /* FORMAT: an image may be a folder; then this file in it is opened, and all files
                                     * that it names must lie in the folder.  NULL: never */
    const struct img_mark *marks;   /* how to recognise an image of a FORMAT, what an ADAPTER unpacks; NULL: never */
    bool password_in_name;          /* PROTOCOL: "PREFIX://user%password@...": messages hide it */
    const char *secret_in_name;     /* PROTOCOL: "key" of "PREFIX:...:key=SECRET:..."; messages hide it.  NULL: none */
    int precedence;                 /* if the marks of two formats match, the higher one wins; ties are arbitrary */

    unsigned traits;
    size_t state_size;
    const struct img_option *options;
    size_t create_size;             /* size of the structure for IMG_AT_CREATE options */
    size_t open_size;               /* size of the structure for IMG_AT_OPEN options */

    /* PROTOCOL of plain names: from 0 (no) to 100, how sure is it that the name belongs to it? */
    int (*probe)(const char *name);

    /* FORMAT: its name alone says that `file` is such an image; do the bytes say otherwise?  False: it is probed again
     * without the name.  NULL: the name is enough. */
    bool (*claims)(struct img *file);

    /* For a FORMAT, image->file is open.  Takes the options that it knows out of `options`.  `parsed` is the
     * structure of open_size bytes with the table's IMG_AT_OPEN options; it and its strings are valid until open
     * returns.  After an error open has freed what it allocated: close is not called. */
    int (*open)(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err);
    /* Opening is split for formats with children: set backing_name, backing_format and open data_file in open;
     * backing.c opens the backing file afterwards. */
    int (*close)(struct img *image);  /* writes cached metadata; frees */
    const char *unflushed;            /* error message for a failed close, NULL: "Could not close image" */
    /* PROTOCOL: take the locks for `perm` and `shared`; open does not.  Called after open, and again if a probed format
     * needs more permissions than probing did.  -EAGAIN: other users conflict.  NULL: the storage has no locks. */
    int (*lock)(struct img *image, struct img_error *err);
    /* PROTOCOL: where `name` is a folder that has the regular file `inside`, *found: the name of that; caller frees.
     * Else it stays NULL.  0 or -ENOMEM.  A protocol that has it also keeps to `within`. */
    int (*in_folder)(const char *name, const char *inside, char **found);
    /* PROTOCOL: the file descriptor that has the bytes.  NULL: there is none. */
    int (*descriptor)(const struct img *image);
    int (*create)(const struct img_create *request, struct img_error *err);
    /* PROTOCOL: what create would say if nothing of this name can be made.  Touches nothing; 0 if in doubt, or NULL. */
    int (*check_name)(const char *name, struct img_error *err);
    const struct img_stream_ops *stream;    /* FORMAT: can be written in order; NULL: it cannot */

    const struct img_trailer *trailer;      /* FORMAT: NULL: it has none */

    /* PROTOCOL, FILTER, ADAPTER, and formats that do not map to host offsets.  flags: IMG_WRITE_FUA, only with the
     * trait IMG_WRITES_FUA, or for a FILTER, which passes it on. */
    int (*pread)(struct img *image, void *buffer, uint64_t offset, size_t length);
    int (*pwrite)(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);

    /* PROTOCOL, opened with IMG_AS_STREAM: give all bytes of the file to `take`, in order, which returns 0 or a negative
     * errno that ends it.  Returns 0 or a negative errno.  An open without that flag fails with -ESPIPE if this is the
     * only way.  NULL: the protocol has no such files. */
    int (*pour)(struct img *image, int (*take)(void *context, const void *bytes, size_t length), void *context);

    /* Ranges; flags are IMG_ZERO_...  -ENOTSUP: zeroes cannot be made without writing them, so libimg writes them.
     * FORMAT: zero gets whole units of limits.write_unit (or clusters), discard whole clusters; the end of the disk may
     * cut the last. */
    int (*zero)(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
    int (*discard)(struct img *image, uint64_t offset, uint64_t length);
    /* Write cached metadata, in order; libimg then flushes image->file and the other nodes below.  PROTOCOL: put all
     * writes on stable storage. */
    int (*flush)(struct img *image);

    /* PROTOCOL: let the kernel or the server copy `length` bytes between two nodes of this driver; with `share` only
     * share blocks, and move no bytes.  Returns a negative errno if it cannot: libimg then copies the bytes, and a
     * partial copy is harmless.  -ENOTSUP: do not try again.  May be NULL. */
    int (*copy_range)(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                      bool share);

    /* FORMAT: where are the bytes?  *extent begins at `offset` and is 1 to `length` bytes long: libimg calls again
     * for the rest.  PROTOCOL: DATA or ZERO, host_valid, host = offset, file = itself; NULL: all is data. */
    int (*map)(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
    /* PROTOCOL, ADAPTER, instead of map, if an answer takes a round trip: up to `count` extents in a row, the first
     * at `offset`, without gaps.  Returns their number, at least 1. */
    int (*map_list)(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count);
    int (*reserve)(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
    int (*publish)(struct img *image, struct img_reservation *at);
    /* Writing the bytes failed.  NULL: the space is leaked, or stays with its unit. */
    void (*cancel)(struct img *image, struct img_reservation *at);

    /* Compressed clusters.  encode returns the coded length, or -ENOSPC if it does not fit (`capacity` is less than a
     * cluster, and libimg then writes the cluster uncompressed; img_coded_bound if coded_only is set).  decode fills
     * all of `plain` (one cluster). */
    int64_t (*encode)(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
    int (*decode)(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);
    /* Reserve space for `coded_length` coded bytes of the cluster at `offset`; publish is called as usual. */
    int (*reserve_coded)(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);

    int (*resize)(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);
    const char *cannot_grow;    /* PROTOCOL: its length is fixed, and this is what a format is told that needs more; what
                                 * it does not need at the end stays.  NULL: it becomes as long as a format wants */
    /* Change options of an existing image: `options` is create_size bytes, in which the given IMG_AT_AMEND options are
     * set.  NULL: no option of the format can be changed. */
    int (*amend)(struct img *image, const void *options, const struct img_amend *how, struct img_error *err);
    int (*check)(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);
    int (*info)(struct img *image, struct img_doc *data, struct img_error *err);  /* fill the "data" object */
    const char *info_type;                               /* its "type", NULL: the driver's name */
    int64_t (*allocated)(struct img *image);             /* PROTOCOL: bytes allocated on the storage */
    /* PROTOCOL, ADAPTER: the exact length, since sizes are rounded up to sectors.  `now`: ask for it, since others may make
     * the storage longer; otherwise it is at least this long.  NULL: the size, or the length of the node below. */
    uint64_t (*length)(struct img *image, bool now);
    /* FORMAT: look at what the tables refer to, if they are cheap to read, and call img_has_bytes for it.  NULL: reads
     * find what is missing. */
    int (*look_for_missing)(struct img *image);
    bool (*zero_initialised)(struct img *image);         /* does a fresh image read as zeroes? */

    /* Store another backing name and format (NULL: none), and update backing_name and backing_format.  Earlier writes
     * must be durable first.  The backing node does not change.  -ENOSPC: no room in the header. */
    int (*change_backing)(struct img *image, const char *name, const char *format);
    /* Deallocate all guest clusters: the whole disk then reads from the backing file. */
    int (*make_empty)(struct img *image);
    /* Of differencing disks (image->has_parent): is `candidate`, an image of this driver that was opened without its
     * own parent, the disk that the image was made on?  Else *err says what is different. */
    int (*check_parent)(struct img *image, struct img *candidate, struct img_error *err);
    /* The parent has no name, only an identifier: try files beside the image that end with this, as ".vdi".  NULL: do
     * not. */
    const char *parent_suffix;
    /* NULL, or why the parent must not be written to through a differencing disk (commit). */
    const char *parent_fixed;

    /* The backing file cannot be opened by its stored name, and `candidate` beside the image has the last part of that:
     * is it the one that the image was made on?  NULL: none is looked for. */
    bool (*is_backing)(const struct img *image, const struct img *candidate);
    /* Bytes are missing because of backing_changed: tell why, once.  Thread-safe.  NULL: -EINVAL says it all. */
    void (*backing_refused)(struct img *image);
    /* *whole: a file called `part` has raw bytes that may be a part of an image of this format: the one to open; caller
     * frees.  NULL: no. */
    int (*whole_name)(const char *part, char **whole);

    bool (*has_bitmaps)(const struct img *image);        /* can the image have persistent bitmaps?  NULL: never */
    const struct img_bitmap_ops *bitmaps;                /* NULL: none */
    /*
     * FORMAT: see img_measure; `create_options` is the structure of create_size bytes, `size` the size of the source.
     */
    int (*measure)(const void *create_options, struct img *source, uint64_t size, struct img_measure *result,
                   struct img_error *err);
    int (*snapshots)(struct img *image, struct img_snapshot **list, struct img_error *err);
    int (*snapshot_load)(struct img *image, const char *id, const char *name, struct img_error *err);
    /* As img_snapshot_create, _apply, _delete; the image is writable.  apply sets image->size. */
    int (*snapshot_create)(struct img *image, struct img_snapshot *what, struct img_error *err);
    int (*snapshot_apply)(struct img *image, const char *id_or_name, struct img_error *err);
    int (*snapshot_delete)(struct img *image, const char *id, const char *name, struct img_error *err);

    /* FILTER.  Its pread, pwrite, zero, discard and flush, if present, run concurrently without a lock and pass the
     * request on to image->file themselves (except flush: libimg flushes the nodes below).  map may only inject
     * errors; the answer is always that of the node below.
     * ADAPTER.  Like a FILTER, but the node is a storage: without map all of it is data, without zero libimg writes
     * zeroes through pwrite, and no copy offload bypasses it.
     * child: the name of the node below, NULL: "file".  (FORMAT: always NULL.)
     * parse_name: add the options that "prefix:..." or a plain name means to `options`; NULL: the name is the
     * child's.  PROTOCOLs with a prefix may have it too.  `name` is what the user gave: with -f it may lack the
     * prefix.
     * plain_name: *name gets a name that opens the node with all its options, or NULL (then it gets a json: name);
     * caller frees.  0 or -ENOMEM.
     * event: the metadata code of a format above has reached this event. */
    const char *child;
    const char *second_child;       /* the name of the node in data_file, NULL: "data-file" */
    int (*parse_name)(const char *name, struct img_doc *options, struct img_error *err);
    int (*plain_name)(const struct img *image, char **name);
    void (*event)(struct img *image, enum img_event event);

    /* Options that change what the guest sees, shown in a json: name; "x." means all that begin with it. */
    const char *const *strong_options;

    const struct img_tls_ops *tls;  /* SERVICE "tls": see net/tls-ops.h */

    const char *lacks;              /* IMG_RECOGNISED_ONLY, by the build: the library that it needs, or NULL */
};

/*
 * The definition of a driver begins with its row, in lines that hold nothing else:
 *
 *     const struct img_driver img_driver_NAME = {
 *         IMG_ROW(
 *             .name = "qed", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "QED\0"))
 *         ),
 *         .state_size = ...
 *
 * If the driver is left out, the build copies these lines into its table, so they may use only this header.  Its images
 * and names are then still recognised, and refused with "qed support is not built in".
 */
#define IMG_ROW(...) .abi = IMG_DRIVER_ABI, .size = sizeof(struct img_driver), __VA_ARGS__

/*
 * Put this in a line by itself in one file of drivers/NAME/: a dynamic build then makes the driver a module, because it
 * needs these pkg-config packages ("libcurl >= 7.60", several separated by blanks, "" for none), and loads it only when
 * it is used.  If the packages are not found, the driver is left out.
 */
#define IMG_MODULE(packages) _Static_assert(sizeof(packages), "")
/* Beside it, for libraries without a pkg-config file: a header, the newest function that is used, and what links them. */
#define IMG_LINKS(header, function, libraries) _Static_assert(sizeof(header) + sizeof(function) + sizeof(libraries), "")
/* The same for a driver whose work a library of libimg does, by its name in `make config`: without it the driver is left
 * out. */
#define IMG_NEEDS(library) _Static_assert(sizeof(library), "")
/* The same: the static file does not get the driver unless a configuration file asks for it, and `make config` says why. */
#define IMG_NOT_STATIC(why) _Static_assert(sizeof(why), "")

enum {
    IMG_CAN_BACK = 1, IMG_CAN_COMPRESS = 2,
    IMG_RECOGNISED_ONLY = 4,        /* a row without code: not built in */
    IMG_PASS_THROUGH = 8,           /* raw: guest bytes are the bytes below (shift by an offset) */
    IMG_COMPRESSES = 16,            /* FILTER: compresses what is written through it */
    IMG_READS_CONCURRENTLY = 32,    /* FORMAT: pread needs no libimg lock */
    IMG_WRITES_FUA = 64,            /* pwrite honours IMG_WRITE_FUA; otherwise libimg flushes */
    IMG_IN_MODULE = 1 << 16,        /* a row that stands for a driver not yet loaded */
    IMG_MAP_UNTOLD = 128,           /* FORMAT: report all of it as data to users, as qemu-img does (img_map_told) */
    IMG_READS_FORWARD = 256,        /* FORMAT: open and map need only what lies before the data, so an image may be read
                                     * forward (see `forward` in struct img) */
    IMG_SHORT_TAIL = 512,           /* FORMAT: a file may end inside its last cluster, whose rest is zero */
    IMG_GROWS = 1024                /* FORMAT: resize costs next to nothing, so a disk may grow while it is written */
};

/* A flag of open, beside those of img.h. */
enum { IMG_AS_STREAM = 1 << 9 };    /* the node is only for `pour` */

/* All linked drivers, ended by NULL.  Generated by the build from the configuration. */
extern const struct img_driver *const img_drivers[];

/* ---- For all drivers ------------------------------------------------------- */

/* Record that a write has extended the node to `end`, unless it is longer already.  Thread-safe. */
void img_grew_to(struct img *image, uint64_t end);
/* 1: it was given options that only a json: name can tell (strong_options), other than `but` (NULL: any); 0; -ENOMEM. */
int img_has_strong_options(const struct img *image, const char *but);

/* Wait this many nanoseconds, for a storage that must.  -ECANCELED: the job is ending, and nobody needs the answer.
 * Thread-safe. */
int img_sleep(struct img *image, uint64_t nanoseconds);
/* The same for poll(): a descriptor that becomes readable when the job should end; -1: none. */
int img_stop_descriptor(struct img *image);

/* ---- For format drivers --------------------------------------------------- */

/* img_pread for data that may be cut short: bytes beyond the end of the node read as zeroes. */
int img_pread_padded(struct img *image, void *buffer, uint64_t offset, size_t length);
/* Is a table there that the image names?  -IMG_ETRUNCATED if the storage ends before it, or inside it where no writer ends.
 * If the image is open for writing, for a check or for its description only, what is not there is zeroes. */
int img_check_table(struct img *image, struct img *file, uint64_t offset, size_t length);
/* img_pread_padded for a part of a table, and perhaps more: at least its first byte must be there. */
int img_pread_table(struct img *image, struct img *file, void *bytes, uint64_t offset, size_t length);
/* Does `file`, below `image`, have these bytes, which the tables of the image refer to?  If not, that is noted for
 * img_read_error and img_check_whole. */
bool img_has_bytes(struct img *image, struct img *file, uint64_t start, uint64_t length);
/* img_pread of such bytes, for drivers that read by themselves: -IMG_ETRUNCATED. */
int img_pread_stored(struct img *image, struct img *file, void *buffer, uint64_t offset, size_t length);
/* See `length` of the vtable.  Thread-safe. */
uint64_t img_length(struct img *storage, bool now);
/* Create the protocol layer at `name`, `size` bytes long, with the options of `rest` that the protocol knows (they are
 * removed), and open it for writing (file NULL: do not open it).  An option left in rest is refused by name.  `shared`:
 * enum img_permission that others may have. */
int img_create_file(const char *name, uint64_t size, unsigned shared, struct img_doc *rest, struct img **file,
                    struct img_error *err);
/* For a format whose images become longer with what is written to them: -EINVAL if the storage of this name has a fixed
 * length.  Asked before it is touched. */
int img_check_can_grow(const char *format, const char *name, struct img_error *err);
/* Open a file that the image names (data file), if the gate allows it; a relative name is relative to the current
 * folder, as in qemu-img.  `options`: a nested object from the caller of open ("data-file"), which replaces the name;
 * or NULL. */
int img_open_child(struct img *parent, const char *role, const char *name, const struct img_doc *options,
                   struct img **child, struct img_error *err);
/* Open a file that the image names as the next of its `extents`, if the gate allows it.  The name is always a file
 * name, never a protocol, and is relative to the image.  `options` as for img_open_child, for "extents.N".  Returns
 * -EINVAL, or the error of opening. */
int img_open_extent(struct img *parent, const char *name, const struct img_doc *options, struct img_error *err);
/*
 * For a differencing disk: a name under which its parent may be found, as it is stored, best first.  Backslashes
 * separate folders, and drive letters mean nothing here.  It is always the name of a file, never a protocol.  What
 * cannot be a name is ignored.  The first name is for messages too.  0 or -ENOMEM.
 */
int img_add_parent_name(struct img *image, const char *name);
/* Open the parent of a new differencing disk, alone and for looking only; img_close.  `backing` and `format` (or NULL)
 * are what the user says of it; it has to be a file, and an image of the same driver. */
int img_open_parent(const struct img_create *request, const struct img_driver *driver, const char *backing,
                    const char *format, struct img **parent, struct img_error *err);
/* How a disk names that parent: relative to its own folder, as Windows writes it (".\\disks\\parent.vhd"), or else the
 * whole path.  Caller frees; NULL with *err set. */
char *img_parent_path(const char *backing, bool *relative, struct img_error *err);
/* Change the length of a PROTOCOL node.  preallocation: "off" "falloc" "full" or NULL.  It may be extended while others
 * write before its end. */
int img_resize_file(struct img *file, uint64_t size, const char *preallocation, struct img_error *err);
/* The same for raw, whose disk ends where the node ends: a node of a fixed length is then refused. */
int img_resize_exactly(struct img *file, uint64_t size, const char *preallocation, struct img_error *err);
/* Make the node at least this long by writing its last byte, which must belong to the caller alone.  Setting the length
 * instead could cut off concurrent writes further on. */
int img_lengthen_file(struct img *file, uint64_t end);
/*
 * For create of a PROTOCOL that opens what the name means: the open options of `driver` in the name.  img_named_free frees
 * both parts, also after an error.
 */
struct img_named {
    struct img_doc *rest;       /* what the table does not take */
    void *options;              /* open_size bytes */
};
int img_named_options(const struct img_driver *driver, const char *name, struct img_named *named, struct img_error *err);
void img_named_free(const struct img_driver *driver, struct img_named *named);
/* The map of an ADAPTER whose bytes are those of the node below from `start` on.  Where these lie is private to that node. */
int img_map_below(struct img *image, uint64_t start, uint64_t offset, uint64_t length, struct img_extent *extent);
/* For what cannot preallocate: 0 for "off" and NULL; -ENOTSUP, or -EINVAL if there is no such mode. */
int img_no_preallocation(const char *mode, struct img_error *err);
/* Close the file of a new image (NULL is fine).  `status`: the result of writing it, with its message in *err.  Returns
 * the first error. */
int img_close_file(struct img *file, int status, struct img_error *err);
/* Remove what is left of an image that could not be made: only a regular file, no device and no link.  NULL is fine. */
void img_remove_file(const char *name);
/* Put all writes to image->file on stable storage before what follows. */
int img_barrier(struct img *image);

#endif
