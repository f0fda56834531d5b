/* SPDX-License-Identifier: MIT */
/*
 * img.h - the public interface of libimg; it is meant to be read as its manual.
 *
 * Conventions, true for every function here unless it says otherwise:
 *  - offsets, lengths and sizes are bytes, unsigned 64 bit;
 *  - a function that can fail returns 0 (or a count) on success and a negative
 *    errno value on failure; where it takes a `struct img_error *err` it has
 *    also set *err exactly once (err must not be NULL);
 *  - strings passed in are borrowed for the call; strings handed out as
 *    `char *` belong to the caller (free()), as `const char *` to the object;
 *  - libimg never prints, never exits, and never aborts because of its input;
 *  - opening, closing, resizing and checking an image is for one thread at a
 *    time; img_pread, img_pwrite, img_zero, img_map may be called from any
 *    number of threads at once as long as no two of them touch the same
 *    allocation unit (cluster) with at least one being a write.
 */
#ifndef IMG_H
#define IMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct img;
struct img_doc;
struct img_driver;

/* ---- Errors (error.c) ------------------------------------------------- */

/*
 * One error: `code` is a positive errno value, `text` the message without the
 * program's name and without a newline, `hint` NULL or a line that is printed
 * after it as it stands.  Start from IMG_ERROR_INIT.  The texts belong to the object.
 */
struct img_error {
    int code;
    char *text;
    char *hint;
};
#define IMG_ERROR_INIT { 0, NULL, NULL }

#define IMG_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set *err; returns -code, so that a caller can write `return img_error_set(...)`.
 * If *err is set already the first text stays (the root cause wins). */
int img_error_set(struct img_error *err, int code, const char *format, ...) IMG_PRINTF(3, 4);
/* The words for an errno value (of either sign), the same with every C library; valid until the
 * thread asks again (text/strerror.c). */
const char *img_strerror(int code);
/* The same as img_error_set with ": img_strerror(code)" behind the text. */
int img_error_errno(struct img_error *err, int code, const char *format, ...) IMG_PRINTF(3, 4);
/* Put text in front of the one that is set ("Could not open 'x': "); returns -err->code. */
int img_error_prefix(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* Set the hint line (replaces an earlier one). */
void img_error_hint(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* Free the texts and make *err empty again. */
void img_error_clear(struct img_error *err);

/*
 * What is worth saying without being an error goes to the process-wide notice
 * handler.  WARNING: printed by the applet as "NAME: warning: TEXT"; NOTE: the
 * line as it is; FAULT: as "NAME: TEXT"; HINT: as it is and without the end of a line, where
 * qemu-img leaves that out.  All on standard error.  Default handler: drops them.
 * Set it before threads start; the handler may be called from any thread.
 */
enum img_notice { IMG_WARNING, IMG_NOTE, IMG_FAULT, IMG_HINT };
typedef void img_notice_fn(enum img_notice kind, const char *text);
void img_set_notice(img_notice_fn *handler);
void img_notice(enum img_notice kind, const char *format, ...) IMG_PRINTF(2, 3);
/* The text as it is; it may be many lines, for a caller that has very many of them. */
void img_notice_text(enum img_notice kind, const char *text);

/* ---- Sizes (size.c) --------------------------------------------------- */

/*
 * Parse a size as qemu-img does: decimal (with a fraction when a suffix
 * follows) or 0x hex, then one optional suffix b k K M G T P E (powers of
 * 1024; 'b' or none is `default_suffix`, itself one of those letters).
 * Whole string must be used.  -EINVAL: not a size; -ERANGE: over 2^64-1.
 */
int img_parse_size(const char *text, char default_suffix, uint64_t *size);
/* "1.5 GiB", as info prints it.  buf of 32 bytes is always enough. Returns buf. */
char *img_human_size(char *buf, size_t capacity, uint64_t size);

/* ---- Documents (document.c, json.c) ----------------------------------- */

/*
 * An ordered tree of values: what is printed as JSON or as human text, what a
 * json: name parses to, and how open options travel (an object with nested
 * objects; values strings or typed).  An element added to a container belongs
 * to that container.  Not thread-safe.  Allocation failure ends the process
 * through img_out_of_memory(), so constructors never return NULL.
 */
enum img_doc_type { IMG_DOC_NULL, IMG_DOC_BOOL, IMG_DOC_INT, IMG_DOC_UINT, IMG_DOC_DOUBLE,
                    IMG_DOC_STRING, IMG_DOC_ARRAY, IMG_DOC_OBJECT };

struct img_doc *img_doc_null(void);
struct img_doc *img_doc_bool(bool value);
struct img_doc *img_doc_int(int64_t value);
struct img_doc *img_doc_uint(uint64_t value);
struct img_doc *img_doc_double(double value);
struct img_doc *img_doc_string(const char *value);      /* copies */
struct img_doc *img_doc_array(void);
struct img_doc *img_doc_object(void);
struct img_doc *img_doc_copy(const struct img_doc *doc);  /* deep; NULL gives NULL */
void img_doc_free(struct img_doc *doc);                  /* deep; NULL is fine */

enum img_doc_type img_doc_type(const struct img_doc *doc);
bool img_doc_get_bool(const struct img_doc *doc);
int64_t img_doc_get_int(const struct img_doc *doc);     /* of INT or UINT */
uint64_t img_doc_get_uint(const struct img_doc *doc);   /* of INT or UINT */
double img_doc_get_double(const struct img_doc *doc);
const char *img_doc_get_string(const struct img_doc *doc);
bool img_doc_equal(const struct img_doc *a, const struct img_doc *b);  /* objects: any key order */

/* Arrays and objects: number of members, member by position and its key. */
size_t img_doc_count(const struct img_doc *doc);
struct img_doc *img_doc_at(const struct img_doc *doc, size_t index);
const char *img_doc_key_at(const struct img_doc *object, size_t index);
void img_doc_append(struct img_doc *array, struct img_doc *value);

/* Object members.  put replaces a value in its place; take removes and hands
 * the value to the caller; get and take return NULL when there is none. */
void img_doc_put(struct img_doc *object, const char *key, struct img_doc *value);
struct img_doc *img_doc_get(const struct img_doc *object, const char *key);
struct img_doc *img_doc_take(struct img_doc *object, const char *key);
void img_doc_remove(struct img_doc *object, const char *key);
/* Shorthands for img_doc_put(object, key, img_doc_...(value)). */
void img_doc_put_string(struct img_doc *object, const char *key, const char *value);
void img_doc_put_bool(struct img_doc *object, const char *key, bool value);
void img_doc_put_uint(struct img_doc *object, const char *key, uint64_t value);
/* The string member `key`, or NULL (also when it is not a string). */
const char *img_doc_string_at(const struct img_doc *object, const char *key);

/* Print as JSON, `indent` spaces a level (4 is qemu-img's), no newline at the
 * end; indent < 0: on one line, as in json: names.  Strings that are no valid UTF-8
 * come out with U+FFFD in place of each bad byte.  The string form belongs to the caller. */
char *img_doc_json(const struct img_doc *doc, int indent);
/* Parse JSON text; single-quoted strings are accepted as qemu-img accepts them.
 * Depth and size are bounded.  NULL with *err set on failure. */
struct img_doc *img_doc_parse(const char *text, struct img_error *err);
/* Like img_doc_parse, but the text must be an object; nested objects may also be
 * written with dotted keys ("file.filename"), which are folded into them. */
struct img_doc *img_doc_parse_options(const char *json, struct img_error *err);

/* ---- Option tables (option.c, option-table.c) -------------------------- */

enum img_option_type { IMG_OPT_STRING, IMG_OPT_BOOL, IMG_OPT_NUMBER, IMG_OPT_SIZE };
/* RUN beside CREATE: not kept in the image, see img_create_run_options. */
enum { IMG_AT_OPEN = 1, IMG_AT_CREATE = 2, IMG_AT_AMEND = 4, IMG_AT_MEASURE = 8, IMG_AT_RUN = 16 };

/*
 * One option of a driver; tables end with a NULL name and stand in the order
 * in which "Formatting ..." prints them.  `offset` is where a parsed value
 * goes in the structure handed to img_options_read: STRING char * (owned,
 * NULL when not given), BOOL int8_t (-1 when not given), NUMBER and SIZE
 * int64_t (-1 when not given; what is negative or above INT64_MAX arrives as
 * INT64_MAX).  `standard` is the default as text, or NULL.
 */
struct img_option {
    const char *name, *help;
    enum img_option_type type;
    const char *standard;
    uint64_t min, max;                 /* both 0: no bound; the driver may check more */
    const char *const *choices;        /* NULL-ended, or NULL */
    unsigned when;                     /* IMG_AT_... */
    size_t offset;
};

/*
 * Parse "key=value,key=value" (",," stands for one comma; a bare `key` is
 * key=on, `nokey` too as qemu-img reads it; `implied` names the key of a first
 * value without one, or NULL) into an object with dotted keys nested.  Where both
 * "a" and "a.b" are given, "a" is a plain member and "a.b" a flat one beside it.
 * NULL with *err set on failure; qemu-img prints that text without "Could not open".
 */
struct img_doc *img_options_parse(const char *text, const char *implied, struct img_error *err);
/* The same for -o: keys stay flat (as `encrypt.format`) and later ones replace earlier ones. */
int img_options_add(struct img_doc *into, const char *text, struct img_error *err);
/* A flat copy: members of nested objects and arrays under dotted keys ("file.filename", "children.0"). */
struct img_doc *img_options_flatten(const struct img_doc *options);
/* What is said of the value of a size that img_parse_size refused with `code`; returns that. */
int img_options_bad_size(const char *name, const char *text, int code, struct img_error *err);
/* "help" or "?" asked for anywhere in an -o text. */
bool img_options_want_help(const char *text);
/*
 * Read the options of `table` whose `when` matches out of `options` into the
 * structure at `into`, and remove them from `options`; what remains there the
 * table does not know.  Sets unset values, then defaults (except for IMG_AT_AMEND).  The
 * char * members belong to the caller (img_options_release with the same `when`), none on failure.
 */
int img_options_read(const struct img_option *table, unsigned when, struct img_doc *options,
                     void *into, struct img_error *err);
void img_options_release(const struct img_option *table, unsigned when, void *from);
/*
 * The same facts from several tables at once, as a rule those of the format and
 * of the protocol below it; of entries with one name the first counts.  A NULL table is empty.
 *  check: every flat option is known ("Invalid parameter 'x'") and of its type.
 *  help: the lines of `-o help` behind the heading, each with its newline, sorted.
 *  describe: the end of the line "Formatting 'x', fmt=y ", defaults filled in; "" when there is nothing.
 */
int img_options_check(const struct img_option *const *tables, size_t count, unsigned when,
                      const struct img_doc *options, struct img_error *err);
char *img_options_help(const struct img_option *const *tables, size_t count, unsigned when);
char *img_options_describe(const struct img_option *const *tables, size_t count, const struct img_doc *options);

/* ---- Drivers ----------------------------------------------------------- */

/* A filter shows the bytes of the node below and has a hand in how they are asked for (blkdebug, compress). */
enum img_kind { IMG_FORMAT, IMG_PROTOCOL, IMG_FILTER };

/* The driver of that name, also one that is recognised but not built in; NULL: unknown. */
const struct img_driver *img_driver_find(const char *name);
/* Walk all drivers, in the order in which they are linked; NULL after the last. */
const struct img_driver *img_driver_next(const struct img_driver *previous);
const char *img_driver_name(const struct img_driver *driver);
enum img_kind img_driver_kind(const struct img_driver *driver);
/* False for one that is only recognised ("vmdk support is not built in"). */
bool img_driver_usable(const struct img_driver *driver);
bool img_driver_can_create(const struct img_driver *driver);
bool img_driver_can_resize(const struct img_driver *driver);
bool img_driver_can_back(const struct img_driver *driver);     /* images may have a backing file */
bool img_driver_can_compress(const struct img_driver *driver);
bool img_driver_can_bitmap(const struct img_driver *driver);   /* images may hold persistent bitmaps */
bool img_driver_can_stream(const struct img_driver *driver);   /* see img_stream_open; raw is streamed without it */
const struct img_option *img_driver_options(const struct img_driver *driver);

/* ---- Opening (chain.c, probe.c, gate.c) -------------------------------- */

enum img_cache { IMG_CACHE_WRITEBACK, IMG_CACHE_NONE, IMG_CACHE_WRITETHROUGH,
                 IMG_CACHE_DIRECTSYNC, IMG_CACHE_UNSAFE,
                 IMG_CACHE_DIRECT_UNSAFE /* without a name: cache.direct and cache.no-flush together */ };
/* By its name (none writeback writethrough directsync unsafe off): 0 or -EINVAL. */
int img_cache_parse(const char *name, enum img_cache *mode);

enum {
    IMG_RDWR       = 1 << 0,   /* open for writing */
    IMG_SHARE      = 1 << 1,   /* -U: share everything with other users of the image */
    IMG_NO_BACKING = 1 << 2,   /* leave the backing file closed */
    IMG_RESIZE     = 1 << 3,   /* the caller will change the size */
    IMG_CHECK      = 1 << 4,   /* opened to be checked: tolerate what a check can repair */
    IMG_NO_IO      = 1 << 5,   /* metadata only: a missing key or data file is no error */
    IMG_NO_WRITERS = 1 << 8    /* nobody else may write to it meanwhile (the source of convert) */
};

/*
 * The gate: whether a file that an image names (not the user) may be opened.
 * The default policy lets everything through, as qemu-img does.
 */
enum img_gate { IMG_GATE_OPEN, IMG_GATE_NO_BACKING, IMG_GATE_CLOSED };

struct img_open {
    const char *format;        /* NULL: probe */
    unsigned flags;
    enum img_cache cache;
    enum img_gate gate;
    bool image_opts;           /* `name` is key=value,... instead of a file name */
};

/*
 * Open an image by a file name, by "json:{...}", by "proto:..." or (image_opts) by
 * key=value text.  The error text is the one that qemu-img prints ("Could not open 'x': ...").
 * *image must be given to img_close.
 */
int img_open(struct img **image, const char *name, const struct img_open *how, struct img_error *err);
/* The same from an options object, which is borrowed. `name` may be NULL. */
int img_open_options(struct img **image, const char *name, const struct img_doc *options,
                     const struct img_open *how, struct img_error *err);
/* Flush and close with everything below.  The image is gone in every case; the
 * returned error tells whether all of it reached the storage. NULL is fine. */
int img_close(struct img *image, struct img_error *err);

const struct img_driver *img_driver_of(const struct img *image);
/* Name as qemu-img reports it: the plain one, or json:{...} when a plain one would lose options. */
const char *img_filename(const struct img *image);
uint64_t img_size(const struct img *image);
bool img_read_only(const struct img *image);
bool img_probed(const struct img *image);            /* format was guessed, not given */
bool img_encrypted(const struct img *image);
bool img_dirty(const struct img *image);             /* was not closed cleanly; info shows it */
bool img_has_details(const struct img *image);       /* false: nothing is known but the size (null-co) */
uint32_t img_cluster_size(const struct img *image);  /* 0: none */
/* The smallest unit that a write allocates (cluster or subcluster), a power of two; 1: bytes. */
uint32_t img_write_unit(const struct img *image);
/* Allocated bytes of the image on its storage with its data file (not the
 * backing file); -ENOTSUP where the storage cannot tell. */
int64_t img_allocated(struct img *image);
struct img *img_backing(const struct img *image);    /* NULL: none, or not opened */
struct img *img_file(const struct img *image);       /* protocol or inner node; NULL: none */
struct img *img_data_file(const struct img *image);  /* external data file; NULL: none */
/* The nodes right below by name, in the order "backing", "data-file", "extents.1", "extents.0", "file" ("image" of
 * blkdebug), as far as there are any: the one at `index`, *name belongs to the node; NULL behind the last. */
struct img *img_child_at(const struct img *image, size_t index, const char **name);
/* The image itself, or what lies below the filters that stand in front of it. */
struct img *img_behind_filters(const struct img *image);
/* Backing name and format as the image stores them ("" when it has none / names none). */
const char *img_backing_name(const struct img *image);
const char *img_backing_format(const struct img *image);
/* The backing name made absolute relative to the image, as `info` prints it; caller frees. NULL with *err set. */
char *img_backing_full_name(const struct img *image, struct img_error *err);
/* A name that leads somewhere else from another folder: no "/" and no "proto:" in front. */
bool img_name_is_relative(const char *name);
/* `name` as an image of the name `beside` would find it: relative ones start at its directory.  Caller frees. */
char *img_name_beside(const char *beside, const char *name);
/* True while every byte of a fresh image reads as zeroes without being written. */
bool img_zero_initialised(struct img *image);

/* ---- Backing chains (backing.c, commit.c, rebase.c, info.c) ------------------------------- */

/*
 * Close the backing file of `overlay` and open it again the same way, now with IMG_RDWR and, if `resize`, to change
 * its size.  Nothing else may be going on in the chain.  On failure the overlay is left without one.
 */
int img_reopen_backing(struct img *overlay, bool resize, struct img_error *err);
/* The image of the chain over the backing file that `name` names: as an image of the chain stores it, or relative to
 * that image.  NULL: there is none. */
struct img *img_find_overlay(struct img *image, const char *name);
/*
 * Write another backing file into the image: its name and format as they are to be stored, both NULL for none.  What
 * was written before is on the storage first.  The backing file that is open stays open.  Negative errno: -ENOTSUP
 * the format has none, -EINVAL it cannot be stored, -ENOSPC no room in the header.
 */
int img_change_backing(struct img *image, const char *name, const char *format);
/* Is this image (the file that it is in) one of the chain? */
bool img_in_chain(struct img *chain, const struct img *image);
/* Free all that the image itself holds of the guest disk, so that its backing file shows. */
int img_make_empty(struct img *image, struct img_error *err);

/* ---- What is where (map.c) ---------------------------------------------- */

enum img_extent_kind {
    IMG_HOLE,      /* this image says nothing: the backing file shows, or zeroes */
    IMG_ZERO,      /* reads as zeroes, said by this image */
    IMG_DATA,      /* bytes at `host` of `file` */
    IMG_CODED      /* coded bytes at `host` of `file`, to be passed through decode */
};

struct img_extent {
    uint64_t offset, length;    /* the guest range that the answer covers */
    enum img_extent_kind kind;
    bool host_valid;            /* `file` and `host` are set (a ZERO may have them too) */
    bool recurse;               /* the storage below may know of holes inside this DATA */
    struct img *file;           /* node that holds the bytes */
    uint64_t host, host_length; /* host_length: CODED only */
    unsigned depth;             /* img_map_chain: layers below the image asked; 0 is itself */
    struct img *layer;          /* img_map_chain: the image of the chain that answered */
    bool stale;                 /* img_map_chain: from below an image with a changed backing file; reading it is -EINVAL */
    struct img *via;            /* not NULL: `file` and `host` are for showing only, the bytes are to be read from this
                                   node, at the guest's offset (a filter lies between) */
};

/*
 * What `image` itself says about the range from `offset`: *extent covers a
 * non-empty prefix of [offset, offset+length), as long as is cheap to tell.
 * offset+length must be within img_size.
 */
int img_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
/*
 * The same through the backing chain down to (not including) `base`, NULL for
 * all of it, and down into the storage for holes of DATA with `recurse`: then the kind becomes
 * ZERO with host_valid.  A HOLE answer means: no layer above base has it (reads as zeroes if base is NULL).
 * Behind the end of a shorter backing file the kind is HOLE too, at the depth of the layer above that file, as in qemu-img.
 */
int img_map_chain(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                  struct img_extent *extent);
/*
 * What map and measure say of the whole chain: as img_map_chain, but formats whose tables
 * qemu-img does not look at (vhdx) are data from end to end.  Not to read by.
 */
int img_map_told(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* ---- Bytes (io.c) --------------------------------------------------------- */

int img_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int img_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length);
/* Write one whole cluster (or the short one at the end) in compressed form; where the
 * data do not shrink, as plain data.  -ENOTSUP where the format has no compression. */
int img_pwrite_compressed(struct img *image, const void *buffer, uint64_t offset, size_t length);

enum { IMG_ZERO_MAY_UNMAP = 1, IMG_ZERO_NO_FALLBACK = 2 /* -ENOTSUP rather than writing zeroes */ };
int img_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int img_discard(struct img *image, uint64_t offset, uint64_t length);
int img_flush(struct img *image);
/* Read the bytes behind an extent that img_map_chain answered, [offset, offset+length) inside it. */
int img_read_extent(const struct img_extent *extent, void *buffer, uint64_t offset, size_t length);

/* ---- Secrets (secret.c) --------------------------------------------------- */

/*
 * What --object secret defines.  `data` or `file` has the bytes, plain or as base64; with `key_id`, the id of another
 * secret of 32 bytes, they are encrypted with AES-256-CBC and PKCS#7 padding, `iv` being 16 bytes as base64.
 */
struct img_secret {
    const char *id;
    const char *data, *file;        /* one of them */
    bool base64;
    const char *key_id, *iv;        /* both or neither; an iv alone is ignored */
};
/* Read, decode and decrypt it now and keep it for the rest of the process.  -EEXIST: the id is taken. */
int img_secret_add(const struct img_secret *definition, struct img_error *err);
/* The bytes of a secret, *length of them with a NUL behind them; they belong to the registry. NULL with *err set. */
const unsigned char *img_secret_find(const char *id, size_t *length, struct img_error *err);

/* ---- Throttle groups (throttle.c) ------------------------------------------ */

/* Limits of one kind: a second's worth of bytes or requests; 0: none. `max`: allowed for `length` seconds. */
struct img_throttle_limit { uint64_t average, max, length; };
enum { IMG_THROTTLE_BPS_TOTAL, IMG_THROTTLE_BPS_READ, IMG_THROTTLE_BPS_WRITE,
       IMG_THROTTLE_IOPS_TOTAL, IMG_THROTTLE_IOPS_READ, IMG_THROTTLE_IOPS_WRITE, IMG_THROTTLE_LIMITS };
struct img_throttle {
    struct img_throttle_limit limits[IMG_THROTTLE_LIMITS];
    uint64_t iops_size;             /* a request counts once for each so many bytes; 0: once */
};
/* Check the limits and keep them under that id, for driver=throttle to find. -EINVAL with qemu-img's words. */
int img_throttle_add(const char *id, const struct img_throttle *limits, struct img_error *err);

/* ---- Tracing (trace.c) -------------------------------------------------------- */

/* Switch the events on that `pattern` matches ("*" for any run of characters), off with "-" in front.  False: it has no
 * "*" and names none.  Before threads start. */
bool img_trace_enable(const char *pattern);
/* Where the lines go; standard error unless told otherwise.  The stream is borrowed. */
void img_trace_to(FILE *stream);
/* Name of event `index`, NULL behind the last. */
const char *img_trace_name(size_t index);

/* ---- Benchmarks (bench.c) -------------------------------------------------- */

struct img_bench {
    bool write;
    uint64_t count;              /* requests in all */
    unsigned depth;              /* in flight at a time; at most 256, and 1 GiB of buffers */
    uint64_t request;            /* bytes each */
    uint64_t start, step;        /* the offset of the first, the way to the next; it starts anew modulo img_size */
    uint8_t pattern;             /* what is written */
    uint64_t flush_every;        /* flush whenever a multiple of this many is left to start; 0: never */
    bool drain;                  /* a flush waits for those in flight, and new ones for the flush */
};
/*
 * Do the requests from threads, each with one request in flight; blocks until all are done or one has failed.
 * Writes into one cluster exclude each other.  -EIO for one that ends behind the image.
 */
int img_bench(struct img *image, const struct img_bench *what);
/* The storage below is opened around the page cache. */
bool img_direct(const struct img *image);

/* ---- Looking at bytes (zero.c, equal.c) ------------------------------------ */

bool img_is_equal(const void *first, const void *second, size_t length);
bool img_is_zero(const void *buffer, size_t length);
/* Length of the run at the start of buffer whose units are all zero or all not
 * zero; *zero tells which.  `unit` bytes each, the last may be short. */
size_t img_zero_run(const void *buffer, size_t length, size_t unit, bool *zero);
/* How many bytes are zero before the first that is not. */
size_t img_leading_zeroes(const void *buffer, size_t length);

/* ---- Creating (create.c) -------------------------------------------------- */

/*
 * Create an image of `driver` at `name` from flat `options` (as img_options_add
 * makes them; borrowed).  Nothing is left to open.  An existing target is only touched after all options
 * have been found good.
 */
int img_create(const struct img_driver *driver, const char *name, const struct img_doc *options,
               struct img_error *err);
/* What img_create would refuse without a look at the target (unknown protocol, unknown or bad options):
 * for a word to the user between the two. */
int img_create_check(const struct img_driver *driver, const char *name, const struct img_doc *options,
                     struct img_error *err);

/*
 * An image that is written strictly forward, into a pipe, by img_copy: `options` as for img_create ("size" among them),
 * judged now.  Only where img_driver_can_stream.
 */
struct img_stream;
int img_stream_open(struct img_stream **stream, const struct img_driver *driver, const struct img_doc *options,
                    bool compress, struct img_error *err);
void img_stream_close(struct img_stream *stream);
/* "raw, qcow2": the formats that can be written so, in words.  Caller frees. */
char *img_stream_formats(void);

/*
 * Those of the flat creation `options` that no image keeps, because they are about how what is written now
 * is written: whoever writes into the new image hands them to img_open_options.  Caller frees; NULL: there are none.
 */
struct img_doc *img_create_run_options(const struct img_driver *driver, const struct img_doc *options);

/*
 * The text of `-o help`.  With a `name`: "Supported options:" of the format and of the protocol that
 * serves that name; without: "Supported FMT options:" of the format alone.  Caller frees.
 */
char *img_create_help(const struct img_driver *driver, const char *name, struct img_error *err);

/*
 * Change the guest-visible size. `preallocation`: "off", "metadata", "falloc", "full", or NULL for off.
 * No other call on the image may run at the same time.  -ENOTSUP where the format cannot.
 */
int img_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* ---- Other options for an image that stands (amend.c) ----------------------- */

struct img_amend {
    bool force;                /* also what may make an encrypted image unreadable */
    /* Of the steps that take long, in turn; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};
/*
 * Give an image opened for writing the flat `options` (as img_options_add makes them; borrowed).  All are looked
 * at before the first is applied; then they are applied one after the other, each as a whole or not at all also
 * for whoever looks after a crash, and what was applied before an error stays.  The texts are qemu-img's.
 * -ENOTSUP: the format cannot; -EINVAL: one of the options cannot be given to this image.  For one thread at a time,
 * like resizing.
 */
int img_amend(struct img *image, const struct img_doc *options, const struct img_amend *how, struct img_error *err);
/* "Amend options for 'FMT':" and their lines; caller frees.  NULL with *err set where there are none. */
char *img_amend_help(const struct img_driver *driver, struct img_error *err);

/* ---- Looking at it (info.c, check by driver) ------------------------------- */

/* The driver's format-specific object, {"type": ..., "data": {...}}, or NULL. Caller frees. */
struct img_doc *img_format_specific(struct img *image, struct img_error *err);

struct img_snapshot {
    char *id, *name;
    uint64_t vm_state_size, disk_size;
    uint64_t date_sec; uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount; bool has_icount;
};
/* The internal snapshots; *list belongs to the caller (img_snapshots_free). Count, or a negative errno (0 when the format has none). */
int img_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err);
void img_snapshots_free(struct img_snapshot *list, size_t count);
/* From now on show (read-only) the content of the snapshot with that id or, failing that, name;
 * either may be NULL.  -ENOENT when there is none. */
int img_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err);

/* ---- Changing snapshots (snapshot.c) ------------------------------------------ */

/*
 * The image is open for writing (IMG_RDWR) and for one thread; raw over a format with snapshots means those of that
 * format.  Each change is visible as a whole or not at all, also after a crash.  Errors: -ENOTSUP where the format (or
 * this image) has none; err->text is what qemu-img says behind "Could not ... snapshot 'x': " for apply and delete,
 * while for create it says img_strerror() of the result only.
 */
/* Keep the disk as it is now.  `what` gives name (cut at 255 bytes), date, clock, icount and vm_state_size; its id is
 * NULL and becomes the new one (the caller frees it); disk_size is not read. */
int img_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err);
/* Make the disk what it was, its size included, in the snapshot with that id or, failing that, that name.  -ENOENT. */
int img_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err);
/* Delete the first snapshot with that id and that name; NULL: any.  -ENOENT.  Another error may leave clusters leaked. */
int img_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err);

enum { IMG_REPAIR_LEAKS = 1, IMG_REPAIR_ERRORS = 2 };
struct img_check {
    uint64_t corruptions, leaks, check_errors;
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset;
    bool has_clusters;           /* the four below are known */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
};
/* Check, and repair what `repair` asks for.  Each finding goes out as an IMG_NOTE, as qemu-img words it.
 * -ENOTSUP: the format has no check. */
int img_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* Can the image hold persistent bitmaps at all? */
bool img_has_bitmaps(const struct img *image);

/* ---- Persistent bitmaps (bitmap.c) ------------------------------------------ */

/*
 * An image may store bitmaps that tell which parts of the guest disk were written to; one bit stands for
 * `granularity` bytes (a power of two).  All of these are for one thread at a time, like resizing.  What they change
 * is on the storage when the image is closed; a process that dies before leaves the bitmap inconsistent, never wrong.
 */
struct img_bitmap {
    char *name;
    uint64_t granularity;
    bool enabled;                /* follows what is written */
    bool inconsistent;           /* was left in use, its bits mean nothing: it can only be removed */
};
/* The bitmaps in the order in which they are stored; *list belongs to the caller (img_bitmaps_free), NULL when there
 * are none.  How many; 0 where the format has none. */
size_t img_bitmaps(struct img *image, struct img_bitmap **list);
void img_bitmaps_free(struct img_bitmap *list, size_t count);

enum { IMG_BITMAP_MAX_NAME = 1023 };
/*
 * A new one with no bit set.  `granularity` 0: the cluster size, but 4 KiB to 64 KiB.  -EEXIST: there is one of
 * that name; -ENOTSUP: the image cannot hold any.
 */
int img_bitmap_add(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err);
/* The only thing that can be done with an inconsistent one.  -ENOENT, here and below: there is none of that name. */
int img_bitmap_remove(struct img *image, const char *name, struct img_error *err);
int img_bitmap_clear(struct img *image, const char *name, struct img_error *err);
int img_bitmap_enable(struct img *image, const char *name, bool enabled, struct img_error *err);
/*
 * Set in `name` what is set in `source_name` of `source` (which may be the same image, and is only read), rounded
 * outwards to the coarser granularity.  -EINVAL: the disks are of different size.
 */
int img_bitmap_merge(struct img *image, const char *name, struct img *source, const char *source_name,
                     struct img_error *err);

/* ---- Measuring (measure.c) ---------------------------------------------------- */

struct img_measure {
    uint64_t required;           /* bytes of the file that a copy of the source needs at most */
    uint64_t fully_allocated;    /* bytes of the file once all of the disk was written to */
    bool has_bitmaps;            /* both sides can hold persistent bitmaps: `bitmaps` is known */
    uint64_t bitmaps;            /* what copying those of the source needs besides */
};
/* Would these flat creation options be taken? As img_create_check, for a target of no particular name. */
int img_measure_check(const struct img_driver *driver, const struct img_doc *options, struct img_error *err);
/*
 * The room that a new image of `driver` with these options needs: for a copy of
 * `source`, or (NULL) for an empty disk of `size` bytes.  No data are read, only what is where.  The options are
 * borrowed, NULL is none.  -ENOTSUP: the format cannot tell.
 */
int img_measure(const struct img_driver *driver, const struct img_doc *options, struct img *source, uint64_t size,
                struct img_measure *result, struct img_error *err);

/* Limits of the node as `info --limits` shows them. 0 = not limited. */
struct img_limits {
    uint32_t request_alignment;
    uint64_t max_discard, discard_alignment, max_write_zeroes, write_zeroes_alignment;
    uint64_t opt_transfer, max_transfer, max_hw_transfer;
    uint64_t min_mem_alignment, opt_mem_alignment;
    int max_iov, max_hw_iov;
};
void img_limits(struct img *image, struct img_limits *limits);

#endif
