/* SPDX-License-Identifier: MIT */
/*
 * img.h - the public interface of libimg, and its manual.
 * copy.h (copies, rebase, commit), digest.h (digests of the content) and support.h (helpers for callers) belong to it.
 *
 * Conventions for all functions here, unless stated otherwise:
 *  - offsets, lengths and sizes are bytes, unsigned 64 bit;
 *  - a function that can fail returns 0 (or a count) on success and a negative
 *    errno value on failure; if it takes a `struct img_error *err`, it also
 *    sets *err exactly once on failure (err must not be NULL);
 *  - strings passed in are borrowed for the call; strings returned as
 *    `char *` belong to the caller (free()), as `const char *` to the object;
 *  - libimg never prints, never exits, and never aborts because of its input;
 *  - when memory runs out, a function fails with -ENOMEM, and one that returns
 *    a pointer returns NULL; what was half made is undone;
 *  - opening, closing, resizing and checking an image is for one thread at a
 *    time; img_pread, img_pwrite, img_zero, img_discard, img_flush and img_map
 *    may be called from any number of threads at once.  Requests for different
 *    bytes do not disturb each other, whatever the image is made of; of writes
 *    to the same bytes that overlap in time either may win.
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
 * program name and without a newline, `hint` NULL or a line to print after
 * it.  `advice`: NULL or lines, each with its newline, for people only: what to do about the error.
 * Initialise with IMG_ERROR_INIT.  The texts belong to the object.
 * Without memory for its text an error keeps its code, and `text` is a constant.
 */
struct img_error {
    int code;
    char *text;
    char *hint;
    char *advice;
};
#define IMG_ERROR_INIT { 0, NULL, NULL, NULL }

#define IMG_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set *err; returns -code, so that a caller can write `return img_error_set(...)`.
 * If *err is already set, the first text is kept (the root cause wins). */
int img_error_set(struct img_error *err, int code, const char *format, ...) IMG_PRINTF(3, 4);
/* The message for an errno value (of either sign), the same with every C library; valid until the
 * next call in this thread (text/strerror.c). */
const char *img_strerror(int code);
/* Like img_error_set, with ": img_strerror(code)" after the text. */
int img_error_errno(struct img_error *err, int code, const char *format, ...) IMG_PRINTF(3, 4);
/* Out of memory: img_error_errno without an allocation; returns -ENOMEM. */
int img_error_memory(struct img_error *err);
/* Put text in front of the current text ("Could not open 'x': "); returns -err->code. */
int img_error_prefix(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* Set the hint line (replaces an earlier one). */
void img_error_hint(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* Add a line of advice, which programs that read standard error must not get.  Dropped when memory runs out. */
void img_error_advise(struct img_error *err, const char *format, ...) IMG_PRINTF(2, 3);
/* Free the texts and reset *err. */
void img_error_clear(struct img_error *err);

/*
 * Messages that are not errors go to the process-wide notice handler.  The
 * applet prints them on standard error: WARNING as "NAME: warning: TEXT", NOTE
 * as a line of its own, FAULT as "NAME: TEXT", HINT as it is: without a newline
 * where qemu-img omits it, or with those that it has, ADVICE as "hint: TEXT" for people only, never to programs that read
 * standard error.  The default handler drops them.
 * Set the handler before threads start; it may be called from any thread.
 */
enum img_notice { IMG_WARNING, IMG_NOTE, IMG_FAULT, IMG_HINT, IMG_ADVICE };
typedef void img_notice_fn(enum img_notice kind, const char *text);
void img_set_notice(img_notice_fn *handler);
void img_notice(enum img_notice kind, const char *format, ...) IMG_PRINTF(2, 3);
/* Put a star in the place of each password in a text, in names "iscsi://user%password@..." and in options of drivers with such
 * names: the text gets shorter. */
void img_hide_passwords(char *text);
/* Pass on a ready text.  Of kind HINT it may have many lines, for callers with very many messages. */
void img_notice_text(enum img_notice kind, const char *text);

/*
 * Advice that costs something to find out (a look at other processes, at the content of a file) is only sought after
 * img_seek_advice(true), which an applet calls before threads start.
 */
void img_seek_advice(bool wanted);
bool img_advice_wanted(void);

/* ---- Misspelt words (guess.c) ------------------------------------------- */

/* Start with { .word = ... }, try all known words, and take the best. */
struct img_guess {
    const char *word, *best;
    unsigned far;
    bool tied;
};
/* Is `word` nearly the word `spelt`, or its beginning?  Then `meant` is what to say, which may be another word.  Both are
 * borrowed. */
void img_guess_try(struct img_guess *guess, const char *spelt, const char *meant);
/* NULL: none is near, or two are equally near. */
const char *img_guess_best(const struct img_guess *guess);

/* ---- Sizes (size.c) --------------------------------------------------- */

/*
 * Parse a size as qemu-img does: decimal (with a fraction when a suffix
 * follows) or 0x hex, then one optional suffix b k K M G T P E (powers of
 * 1024; 'b' or none is `default_suffix`, itself one of those letters).
 * The whole string must match.  -EINVAL: not a size; -ERANGE: over 2^64-1.
 */
int img_parse_size(const char *text, char default_suffix, uint64_t *size);
/* "1.5 GiB", as info prints it.  buf of 32 bytes is always enough. Returns buf. */
char *img_human_size(char *buf, size_t capacity, uint64_t size);
/* "1610612736 bytes (1.5 GiB)", for advice.  buf of 64 bytes is always enough.  Returns buf. */
char *img_size_words(char *buf, size_t capacity, uint64_t size);
/* Advice for a text that img_parse_size did not take: how sizes are written. */
void img_size_advise(const char *text, struct img_error *err);
/* Advice for a disk that is too large: the `most` bytes that it may have. */
void img_limit_advise(uint64_t most, struct img_error *err);

/* ---- Documents (document.c, json.c) ----------------------------------- */

/*
 * An ordered tree of values.  It is used for JSON and human output, for parsed
 * json: names, and for open options (an object with nested objects; values are
 * strings or typed).  An element added to a container belongs to that
 * container.  Not thread-safe.
 *
 * Without memory a constructor returns NULL.  Adding NULL, or adding to NULL, is allowed: the value is freed, and the
 * container is broken from then on.  So a caller may build all of a document and ask img_doc_broken once.  Functions that
 * take a document refuse a broken one with -ENOMEM; img_doc_json returns NULL for it.
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
struct img_doc *img_doc_copy(const struct img_doc *doc);  /* deep; NULL gives NULL; of a broken one it is broken */
bool img_doc_broken(const struct img_doc *doc);         /* deep; NULL is broken too */
void img_doc_break(struct img_doc *container);          /* a value could not be made; NULL is fine */
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

/* Object members.  put replaces a value in place; take removes the value and gives
 * it to the caller; get and take return NULL if there is none. */
void img_doc_put(struct img_doc *object, const char *key, struct img_doc *value);
struct img_doc *img_doc_get(const struct img_doc *object, const char *key);
struct img_doc *img_doc_take(struct img_doc *object, const char *key);
void img_doc_remove(struct img_doc *object, const char *key);
/* Shorthands for img_doc_put(object, key, img_doc_...(value)). */
void img_doc_put_string(struct img_doc *object, const char *key, const char *value);
void img_doc_put_bool(struct img_doc *object, const char *key, bool value);
void img_doc_put_uint(struct img_doc *object, const char *key, uint64_t value);
/* The string member `key`, or NULL (also if it is not a string). */
const char *img_doc_string_at(const struct img_doc *object, const char *key);

/* Print as JSON with `indent` spaces per level (qemu-img uses 4) and no newline at the
 * end; indent < 0: on one line, as in json: names.  In strings, each byte that is not
 * valid UTF-8 becomes U+FFFD.  The result belongs to the caller; NULL: out of memory. */
char *img_doc_json(const struct img_doc *doc, int indent);
/* Parse JSON text; single-quoted strings are accepted as qemu-img accepts them.
 * Depth and size are bounded.  NULL with *err set on failure. */
struct img_doc *img_doc_parse(const char *text, struct img_error *err);
/* Like img_doc_parse, but the text must be an object; nested objects may also be
 * written with dotted keys ("file.filename"), which are folded into them. */
struct img_doc *img_doc_parse_options(const char *json, struct img_error *err);

/* ---- Option tables (option.c, option-table.c) -------------------------- */

enum img_option_type { IMG_OPT_STRING, IMG_OPT_BOOL, IMG_OPT_NUMBER, IMG_OPT_SIZE, IMG_OPT_BOOL_WORD };
/* RUN together with CREATE: not stored in the image, see img_create_run_options. */
enum { IMG_AT_OPEN = 1, IMG_AT_CREATE = 2, IMG_AT_AMEND = 4, IMG_AT_MEASURE = 8, IMG_AT_RUN = 16 };
/* Beside IMG_AT_CREATE: no qemu-img has this option for this format. */
enum { IMG_OURS = 32 };

/*
 * One option of a driver.  A table ends with a NULL name and has the order in
 * which "Formatting ..." prints the options.  `offset` is the place of the parsed
 * value in the structure passed to img_options_read: STRING char * (owned,
 * NULL if not given), BOOL_WORD the same (a flag, as the word that was given),
 * BOOL int8_t (-1 if not given), NUMBER and SIZE int64_t
 * (-1 if not given; negative values and values above INT64_MAX become
 * INT64_MAX).  `standard` is the default as text, or NULL.
 */
struct img_option {
    const char *name, *help;
    enum img_option_type type;
    const char *standard;
    unsigned when;                     /* IMG_AT_... */
    size_t offset;
    const char *choices;               /* the words that it takes, with blanks between, to complete; NULL: any */
};

/*
 * Parse "key=value,key=value" (",," stands for one comma; a bare `key` is
 * key=on, `nokey` too as qemu-img reads it; `implied` names the key of a first
 * value without one, or NULL) into an object with dotted keys nested.  If both
 * "a" and "a.b" are given, "a" is a plain member and "a.b" a member with this dotted key.
 * NULL with *err set on failure; qemu-img prints that text without "Could not open".
 */
struct img_doc *img_options_parse(const char *text, const char *implied, struct img_error *err);
/* The same for -o: keys stay flat (as `encrypt.format`) and later ones replace earlier ones. */
int img_options_add(struct img_doc *into, const char *text, struct img_error *err);
/* A flat copy: members of nested objects and arrays under dotted keys ("file.filename", "children.0"). */
struct img_doc *img_options_flatten(const struct img_doc *options);
/* Set the error for a size that img_parse_size refused with `code`; returns `code`. */
int img_options_bad_size(const char *name, const char *text, int code, struct img_error *err);
/* The value of a flat flag: on, yes, true, y or off, no, false, n.  -EINVAL and *err: another text; *value stays. */
int img_option_bool(const char *name, const char *text, bool *value, struct img_error *err);
/* *text: a plain value as the text that means the same on a command line; NULL for null and containers.  Caller frees. */
int img_options_text(const struct img_doc *value, char **text);
/* Remove a member; *text is its value in that way, NULL: it is not there.  Caller frees.  -ENOMEM. */
int img_options_take_text(struct img_doc *options, const char *key, char **text, struct img_error *err);
/* Does an -o text contain "help" or "?"? */
bool img_options_want_help(const char *text);
/*
 * Read the options of `table` whose `when` matches from `options` into the
 * structure at `into`, and remove them from `options`; unknown options remain.
 * Options that are not given get their defaults (except with IMG_AT_AMEND).  The
 * char * members belong to the caller (img_options_release with the same `when`); on failure there are none.
 */
int img_options_read(const struct img_option *table, unsigned when, struct img_doc *options,
                     void *into, struct img_error *err);
void img_options_release(const struct img_option *table, unsigned when, void *from);
/* A copy to read from; empty if `options` is NULL.  Caller frees; out of memory: NULL or broken. */
struct img_doc *img_options_copy(const struct img_doc *options);
/* Read into a new structure of `size` bytes, which img_options_free frees.  NULL with *err set on failure, also where
 * `options` is NULL or broken. */
void *img_options_new(const struct img_option *table, unsigned when, size_t size, struct img_doc *options,
                      struct img_error *err);
void img_options_free(const struct img_option *table, unsigned when, void *parsed);
/*
 * Functions over several tables, usually those of a format and of the protocol
 * below it; if several entries have the same name, the first counts.  A NULL table is empty.
 *  check: every flat option is known ("Invalid parameter 'x'") and has the right type.
 *  help: the lines of `-o help` after the heading, sorted, each with a newline.
 *  describe: the end of the line "Formatting 'x', fmt=y " with defaults filled in; "" if empty.
 */
int img_options_check(const struct img_option *const *tables, size_t count, unsigned when,
                      const struct img_doc *options, struct img_error *err);
char *img_options_help(const struct img_option *const *tables, size_t count, unsigned when);
char *img_options_describe(const struct img_option *const *tables, size_t count, const struct img_doc *options);

/* ---- Drivers ----------------------------------------------------------- */

/*
 * A filter shows the bytes of the node below and controls the requests for them (blkdebug, compress).  An adapter
 * turns a storage into another one: with different bytes (a cipher), or at another speed (delay).  A service is no
 * driver of images: it has what libimg itself needs of a library (tls), and no function here finds or lists it.
 */
enum img_kind { IMG_FORMAT, IMG_PROTOCOL, IMG_FILTER, IMG_ADAPTER, IMG_SERVICE };

/* The driver with this name, even if it is only recognised and not built in; NULL: unknown. */
const struct img_driver *img_driver_find(const char *name);
/* Add advice to an error about this unknown name: the driver that was meant; `to_create`: one that makes images. */
void img_driver_advise(const char *name, bool to_create, struct img_error *err);
/* The format of a plain disk, also the default format of new images. */
#define IMG_PLAIN_FORMAT "raw"
/* The protocol that serves a name, "proto:rest" or a path; NULL: there is none. */
const struct img_driver *img_driver_for_name(const char *name);
/* Walk all drivers for their names, kinds and whether they are usable; NULL after the last. */
const struct img_driver *img_driver_next(const struct img_driver *previous);
const char *img_driver_name(const struct img_driver *driver);
enum img_kind img_driver_kind(const struct img_driver *driver);
/* False if the driver is only recognised ("vmdk support is not built in"). */
bool img_driver_usable(const struct img_driver *driver);
/* 0, or why it cannot be used. */
int img_driver_need(const struct img_driver *driver, struct img_error *err);
/* Its images are the bytes of the disk and nothing else. */
bool img_driver_is_plain(const struct img_driver *driver);
bool img_driver_can_create(const struct img_driver *driver);
bool img_driver_grows(const struct img_driver *driver);         /* while it is written, at next to no cost */
bool img_driver_can_back(const struct img_driver *driver);     /* new images may have a backing file */
bool img_driver_can_compress(const struct img_driver *driver);
bool img_driver_can_bitmap(const struct img_driver *driver);   /* images may hold persistent bitmaps */
bool img_driver_can_stream(const struct img_driver *driver);   /* see img_stream_open; raw is streamed without it */
const struct img_option *img_driver_options(const struct img_driver *driver);

/* ---- Opening (chain.c, probe.c, gate.c) -------------------------------- */

enum img_cache { IMG_CACHE_WRITEBACK, IMG_CACHE_NONE, IMG_CACHE_WRITETHROUGH,
                 IMG_CACHE_DIRECTSYNC, IMG_CACHE_UNSAFE,
                 IMG_CACHE_DIRECT_UNSAFE /* has no name: cache.direct and cache.no-flush together */ };
/* Parse a name (none writeback writethrough directsync unsafe off): 0 or -EINVAL. */
int img_cache_parse(const char *name, enum img_cache *mode);
/* These names, one after the other; NULL after the last. */
const char *img_cache_name(size_t index);

enum {
    IMG_RDWR       = 1 << 0,   /* open for writing */
    IMG_SHARE      = 1 << 1,   /* -U: share everything with other users of the image */
    IMG_NO_BACKING = 1 << 2,   /* do not open the backing file */
    IMG_RESIZE     = 1 << 3,   /* the caller will change the size */
    IMG_CHECK      = 1 << 4,   /* open for a check: tolerate what a check can repair */
    IMG_NO_IO      = 1 << 5,   /* metadata only: a missing key or data file is not an error */
    IMG_NO_WRITERS = 1 << 8    /* no other process may write (the source of convert) */
};

/*
 * The gate: whether a file may be opened that an image names (not the user).
 * The default is to open everything, as qemu-img does.
 */
enum img_gate { IMG_GATE_OPEN, IMG_GATE_NO_BACKING, IMG_GATE_CLOSED };

/*
 * If no format is given, compressed files and archives are looked into, and the image inside is opened.  Off: they are
 * raw disks, as for qemu-img.  Set it before anything is opened.
 */
void img_set_unwrapping(bool on);

struct img_open {
    const char *format;        /* NULL: probe */
    unsigned flags;
    enum img_cache cache;
    enum img_gate gate;
    bool image_opts;           /* `name` is a list key=value,..., not a file name */
};

/*
 * Open an image by a file name, by "json:{...}", by "proto:..." or (image_opts) by
 * key=value text.  The error text is that of qemu-img ("Could not open 'x': ...").
 * Close *image with img_close.
 */
int img_open(struct img **image, const char *name, const struct img_open *how, struct img_error *err);
/* Open from an options object, which is borrowed. `name` may be NULL. */
int img_open_options(struct img **image, const char *name, const struct img_doc *options,
                     const struct img_open *how, struct img_error *err);
/* Flush and close the image and all nodes below.  The image is closed in any case; an
 * error means that not everything reached the storage. NULL is allowed. */
int img_close(struct img *image, struct img_error *err);

/* ---- Descriptors and pipes (forward.c, intake.c, pour.c) ---------------------------------- */

/*
 * Open the image that an open descriptor holds: a regular file or a device.  The descriptor is borrowed until the image
 * is closed, and its position does not change.  `name` is for messages; the files that the image names are looked up
 * from the folder of this name.
 */
int img_open_descriptor(struct img **image, int fd, const char *name, const struct img_open *how,
                        struct img_error *err);

/*
 * An intake reads a descriptor from its position on, once: a pipe, a socket.  The descriptor is borrowed.  `name` as
 * above.  For one thread at a time, except reads of the image.
 */
struct img_intake;
struct img_intake *img_intake_new(int fd, const char *name);      /* NULL: out of memory */
void img_intake_free(struct img_intake *intake);                  /* NULL is fine; its image must be closed */
/*
 * Some storages give a file only as a whole, in order: a web server without ranges.  img_open fails there with -ESPIPE;
 * this opens the storage of the image as an intake.  *format: that of the image, as options or how->format give it, ""
 * if none is given; caller frees, also after an error.  NULL, with or without a message: it cannot.
 */
struct img_intake *img_intake_open(const char *name, const struct img_open *how, char **format, struct img_error *err);
/* The next bytes, from the first on.  Returns the length read, which is less than `length` only at the end, or a
 * negative errno. */
int64_t img_intake_read(struct img_intake *intake, void *buffer, uint64_t length);
/* Leave out so many bytes: 1, 0 if the input is shorter, or a negative errno.  In a file this takes no time. */
int img_intake_skip(struct img_intake *intake, uint64_t length);
/* Find the format by the first bytes, which stay to be read; as img_open does it.  Before any other call. */
const struct img_driver *img_intake_probe(struct img_intake *intake, struct img_error *err);
/*
 * Open the image that comes, to be read in the order of its disk, in one pass, with bounded memory.  Its limits.forward
 * is set, unless it is so short that it is kept whole.  -ESPIPE without a message: the format, or this image, needs
 * another order.  Then nothing is lost: all of it can be read with img_intake_read.
 */
int img_intake_image(struct img_intake *intake, struct img **image, const struct img_open *how, struct img_error *err);
/*
 * Is it an image of this format that is the bytes of its disk and then a trailer?  Then img_intake_read gives only the
 * bytes of the disk from now on, and fails with -EINVAL at the end if that does not fit.
 */
bool img_intake_take_trailer(struct img_intake *intake, const char *format);
/* Read what is left, for a writer that must not be told that nobody reads. */
void img_intake_drain(struct img_intake *intake);

const struct img_driver *img_driver_of(const struct img *image);
/* Name as qemu-img shows it: the plain name, or json:{...} if a plain name would lose options. */
const char *img_filename(const struct img *image);
uint64_t img_size(const struct img *image);
bool img_read_only(const struct img *image);
bool img_probed(const struct img *image);            /* the format was probed, not given */
bool img_unwrapped(const struct img *image);         /* it was found in a compressed file or an archive */

/*
 * A file that no format claims is opened as raw, as by qemu-img.  Its first and last bytes may tell that it is something
 * else all the same: an archive, a backup ...  Then an IMG_ADVICE says so.
 */
struct img_content {
    const char *name;            /* "gzip" */
    const char *what;            /* "data compressed with gzip" */
    const char *advice;          /* what to do: "decompress it first" */
};
/* NULL: nothing of that kind, or the format was given. */
const struct img_content *img_content(const struct img *image);
/* From now on such a file is refused.  For all images of the process; set it before threads start. */
void img_set_strict_format(bool on);

bool img_encrypted(const struct img *image);
bool img_dirty(const struct img *image);             /* was not closed cleanly; shown by info */
bool img_has_details(const struct img *image);       /* false: only the size is known (null-co) */
uint32_t img_cluster_size(const struct img *image);  /* 0: none */
/* The smallest unit that a write allocates (cluster or subcluster), a power of two; 1: bytes. */
uint32_t img_write_unit(const struct img *image);
/* Allocated bytes of the image on its storage, including its data file (but not the backing file); -ENOTSUP if the
 * storage cannot say. */
int64_t img_allocated(struct img *image);
struct img *img_backing(const struct img *image);    /* NULL: none, or not opened */
struct img *img_file(const struct img *image);       /* protocol or inner node; NULL: none */
struct img *img_data_file(const struct img *image);  /* external data file; NULL: none */
/* The child at `index`, in the order "backing", "data-file", "extents.1", "extents.0", "file" ("image" of blkdebug),
 * without those that do not exist; the node owns *name.  NULL after the last. */
struct img *img_child_at(const struct img *image, size_t index, const char **name);
/* The image itself, or the node below its filters. */
struct img *img_behind_filters(const struct img *image);
/* Backing name and format as stored in the image ("" if there are none). */
const char *img_backing_name(const struct img *image);
const char *img_backing_format(const struct img *image);
/* The backing name resolved relative to the image, as `info` prints it; caller frees. NULL with *err set. */
char *img_backing_full_name(const struct img *image, struct img_error *err);
/* The same, or, if nothing can be opened there, where the backing file was found instead, as opening the image with its
 * chain does.  For an image that was opened without it. */
char *img_locate_backing(struct img *image, struct img_error *err);
/* Is the name relative to a directory: no "/" and no "proto:" in front? */
bool img_name_is_relative(const char *name);
/* `name` resolved relative to the directory of `beside`.  Caller frees. */
char *img_name_beside(const char *beside, const char *name);
/* True if every byte of a new image reads as zeroes without being written. */
bool img_zero_initialised(struct img *image);

/* ---- Backing chains (backing.c, commit.c, rebase.c, info.c) ------------------------------- */

/*
 * Close the backing file of `overlay` and open it again the same way, now with IMG_RDWR and, if `resize`, to change
 * its size.  No other call on the chain may run.  On failure the overlay has no backing file.
 */
int img_reopen_backing(struct img *overlay, bool resize, struct img_error *err);
/* The image of the chain whose backing file is `name`: as this image stores the name, or relative to this image.
 * NULL: there is none. */
struct img *img_find_overlay(struct img *image, const char *name);
/* Advice for a name that was not found: those of the backing files, as they are stored. */
void img_chain_advise(struct img *image, struct img_error *err);
/*
 * Store another backing file in the image: the name and format to store, both NULL for none.  Earlier writes are
 * flushed first.  The open backing file stays open.  -ENOTSUP: the format has no backing files; -EINVAL: it cannot be
 * stored; -ENOSPC: no space in the header.
 */
int img_change_backing(struct img *image, const char *name, const char *format);
/* Is this image (the file that it is in) one of the chain? */
bool img_in_chain(struct img *chain, const struct img *image);
/* Free all guest data that the image itself holds, so that it reads like its backing file. */
int img_make_empty(struct img *image, struct img_error *err);

/* ---- Mapping (map.c) ----------------------------------------------------- */

enum img_extent_kind {
    IMG_HOLE,      /* not allocated in this image: reads from the backing file, or as zeroes */
    IMG_ZERO,      /* this image marks the range as zero */
    IMG_DATA,      /* bytes at `host` of `file` */
    IMG_CODED      /* coded bytes at `host` of `file`, to be decoded by the driver */
};

struct img_extent {
    uint64_t offset, length;    /* the guest range that this extent covers */
    enum img_extent_kind kind;
    bool host_valid;            /* `file` and `host` are set (a ZERO may have them too) */
    bool recurse;               /* the storage below may have holes inside this DATA */
    bool raw;                   /* DATA: these are plain bytes, so the file may end inside a sector */
    bool missing;               /* img_map_chain: DATA behind the end of `file`, which reads fail for */
    /* What a server says, for showing only: */
    bool stored;                /* ZERO: it keeps bytes for this */
    bool absent;                /* DATA: it keeps none, but does not say what is read there */
    bool marked_zero;           /* DATA: it says zeroes, in a context that does not speak of the content */
    struct img *file;           /* node that holds the data */
    uint64_t host, host_length; /* host_length: CODED only */
    unsigned depth;             /* img_map_chain: layers below the image; 0 is the image itself */
    struct img *layer;          /* img_map_chain: the image of the chain that answered */
    struct img *stale;          /* img_map_chain: it is below this image, whose backing file was changed; reads fail
                                   with -EINVAL.  NULL: it is good */
    struct img *via;            /* not NULL: `file` and `host` are for display only; read from this node at the
                                   guest offset (there is a filter in between) */
};
/*
 * What an extent of img_map_told is shown as.  Data: the image itself marks the range as data, even if it is a hole in
 * the storage; raw has no marks of its own, so a hole in the storage is a hole.  A range may be both, or neither.
 */
bool img_extent_shows_data(const struct img_extent *extent);
bool img_extent_shows_zero(const struct img_extent *extent);
/* Drop the part before `offset`, which lies inside the extent. */
static inline void img_extent_skip(struct img_extent *extent, uint64_t offset)
{
    uint64_t gone = offset - extent->offset;

    extent->offset = offset;
    extent->length -= gone;
    extent->host += gone;
}

/*
 * Map a range of `image` itself, without its backing file: *extent covers a
 * non-empty prefix of [offset, offset+length), as long as is cheap to find out.
 * offset+length must be within img_size.
 */
int img_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
/*
 * Map a range of the backing chain down to `base` (not included; NULL: the whole chain).  For DATA with
 * `recurse` the storage is asked for holes, which become ZERO with host_valid.  HOLE means that no layer above
 * base allocates the range (it reads as zeroes if base is NULL).  Beyond the end of a shorter backing file the
 * kind is HOLE too, at the depth of the layer above that file, as in qemu-img.
 */
int img_map_chain(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                  struct img_extent *extent);
/*
 * Like img_map_chain for the whole chain, but as map and measure report it: formats whose tables qemu-img
 * does not read (vhdx) are all data.  Do not use it for reading.
 */
int img_map_told(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* ---- Data (io.c) ---------------------------------------------------------- */

int img_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int img_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length);
/* How something is written: */
enum {
    IMG_ZERO_MAY_UNMAP = 1,     /* zeroes may be made by freeing the storage */
    IMG_ZERO_NO_FALLBACK = 2,   /* -ENOTSUP rather than writing zeroes */
    IMG_WRITE_FUA = 4           /* it is on the storage when the call returns, as after a flush */
};
/* flags: IMG_WRITE_FUA */
int img_pwrite_flags(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);
/* Write one whole cluster (or the short one at the end) in compressed form; where the
 * data do not shrink, as plain data.  -ENOTSUP where the format has no compression. */
int img_pwrite_compressed(struct img *image, const void *buffer, uint64_t offset, size_t length);

int img_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int img_discard(struct img *image, uint64_t offset, uint64_t length);
/*
 * All writes that were answered before the call are on the storage when it returns, whatever is written meanwhile.
 * A storage that failed to flush once has perhaps lost what it had: every later flush of it fails in the same way.
 */
int img_flush(struct img *image);
/* Read [offset, offset+length), which lies inside an extent returned by img_map_chain. */
int img_read_extent(const struct img_extent *extent, void *buffer, uint64_t offset, size_t length);

/*
 * Truncated images (missing.c): reading data that must lie behind the end of a file fails with this code.
 */
#define IMG_ETRUNCATED ENODATA
/*
 * Codes of libimg's own, beyond those of any kernel: a codec is needed that is not built in.  img_strerror names it.
 */
enum { IMG_ENOZLIB = 5000, IMG_ENOZSTD, IMG_ENOBZIP2, IMG_ENOXZ };
/* Is it one of these, of either sign? */
static inline bool img_lacks_codec(int code)
{
    int positive = code < 0 ? -code : code;

    return positive >= IMG_ENOZLIB && positive <= IMG_ENOXZ;
}
/* img_strerror(code) for a failed read of `image` (NULL: unknown), but "image is truncated: needs N bytes, has M" if it is
 * that.  Valid until the next call in this thread. */
const char *img_read_error(struct img *image, int code);
/* Is all there that the tables of the image and of its backing chain refer to, as far as that is cheap to know?
 * -IMG_ETRUNCATED with *err set. */
int img_check_whole(struct img *image, struct img_error *err);

/* ---- Objects (object/registry.c) ------------------------------------------ */

/*
 * What --object defines is kept by its id, in one list for all kinds and for the process, until img_objects_free.  Any
 * thread may add and find.
 */
/* 0, or -EEXIST with qemu-img's words: the id is taken. */
int img_object_check_new(const char *id, struct img_error *err);
/* Take the id for an object that no image looks for.  -EEXIST. */
int img_object_add(const char *id, struct img_error *err);
/* Forget all objects, and wipe the memory of secrets.  No image that uses one of them may be open. */
void img_objects_free(void);

/* ---- Secrets (object/secret.c) -------------------------------------------- */

/*
 * The definition of --object secret.  `data` or `file` provides the bytes, plain or in base64.  If `key_id` is given
 * (the id of another secret, of 32 bytes), they are encrypted with AES-256-CBC and PKCS#7 padding; `iv` is 16 bytes in
 * base64.
 */
struct img_secret {
    const char *id;
    const char *data, *file;        /* one of them */
    bool base64;
    const char *key_id, *iv;        /* both or neither; an iv alone is ignored */
};
/* Read, decode and decrypt the secret now and keep it.  -EEXIST: the id is in use; -EFBIG: a file over 64 MiB. */
int img_secret_add(const struct img_secret *definition, struct img_error *err);
/* The *length bytes of a secret, followed by a NUL; they belong to the list.  NULL with *err set. */
const unsigned char *img_secret_find(const char *id, size_t *length, struct img_error *err);

/* ---- Throttle groups (throttle.c) ------------------------------------------ */

/* One limit: bytes or requests per second; 0: none. `max`: allowed for `length` seconds. */
struct img_throttle_limit { uint64_t average, max, length; };
enum { IMG_THROTTLE_BPS_TOTAL, IMG_THROTTLE_BPS_READ, IMG_THROTTLE_BPS_WRITE,
       IMG_THROTTLE_IOPS_TOTAL, IMG_THROTTLE_IOPS_READ, IMG_THROTTLE_IOPS_WRITE, IMG_THROTTLE_LIMITS };
struct img_throttle {
    struct img_throttle_limit limits[IMG_THROTTLE_LIMITS];
    uint64_t iops_size;             /* a request counts once per this many bytes; 0: once */
};
/* Check the limits and register them under this id for driver=throttle. -EINVAL, -EEXIST with qemu-img's message. */
int img_throttle_add(const char *id, const struct img_throttle *limits, struct img_error *err);

/* ---- Tracing (trace.c) -------------------------------------------------------- */

/* Enable the events that `pattern` matches ("*" matches any characters), or disable them if it starts with "-".  False:
 * it has no "*" and is not the name of an event.  Call it before threads start. */
bool img_trace_enable(const char *pattern);
/* The stream to print events to; default: standard error.  The stream is borrowed. */
void img_trace_to(FILE *stream);
/* Name of event `index`, NULL after the last. */
const char *img_trace_name(size_t index);

/* ---- Benchmarks (bench.c) -------------------------------------------------- */

struct img_bench {
    bool write;
    uint64_t count;              /* number of requests */
    unsigned depth;              /* requests in flight; at most 256, and 1 GiB of buffers */
    uint64_t request;            /* bytes each */
    uint64_t start, step;        /* offset of the first, distance to the next; modulo img_size */
    uint8_t pattern;             /* the byte to write */
    uint64_t flush_every;        /* flush whenever a multiple of this many has yet to start; 0: never */
    bool drain;                  /* a flush waits for requests in flight, and new requests for the flush */
};
/*
 * Do the requests from threads, each with one request in flight; blocks until all are done or one has failed.  -EIO
 * for one that ends beyond the image.
 */
int img_bench(struct img *image, const struct img_bench *what);
/* Does the storage below bypass the page cache? */
bool img_direct(const struct img *image);

/* ---- Looking at bytes (zero.c, equal.c) ------------------------------------ */

bool img_is_equal(const void *first, const void *second, size_t length);
bool img_is_zero(const void *buffer, size_t length);
/* Length of the run of units at the start of buffer that are all zero, or all not
 * zero; *zero says which.  A unit has `unit` bytes; the last may be short. */
size_t img_zero_run(const void *buffer, size_t length, size_t unit, bool *zero);
/* How many bytes are zero before the first that is not. */
size_t img_leading_zeroes(const void *buffer, size_t length);

/* ---- What must not be overwritten (node/protect.c, graph/protect.c) ------------ */

/*
 * From now on, until img_protect_end, no image is created over the files and devices of `image` and its chain; whatever
 * their names are, and also over a loop device, a partition and the like that shares bytes with one.  The image may be
 * closed before.  -ENOMEM.
 */
int img_protect(struct img *image);
/* The same for an open file: standard input. */
int img_protect_descriptor(int fd, const char *name);
/* Would a write to this open image change something protected?  -EINVAL with *err: yes. */
int img_check_protected(struct img *image, struct img_error *err);
/* The same for an open file, with its name for the message.  A PROTOCOL asks before it drops old content. */
int img_may_overwrite(int fd, const char *name, struct img_error *err);
void img_protect_end(void);

/* ---- Creating (create.c) -------------------------------------------------- */

/*
 * Create an image of `driver` at `name` from flat `options` (as made by
 * img_options_add; borrowed), and close it.  An existing target is only touched after all options
 * have been checked.
 */
int img_create(const struct img_driver *driver, const char *name, const struct img_doc *options,
               struct img_error *err);
/* The same under a temporary name: the image will be renamed to `called`, in the same folder. */
int img_create_as(const struct img_driver *driver, const char *name, const char *called, const struct img_doc *options,
                  struct img_error *err);
/* Check what img_create can refuse without opening the target (unknown protocol, unknown or bad options), so that
 * the caller can print a message before img_create. */
int img_create_check(const struct img_driver *driver, const char *name, const struct img_doc *options,
                     struct img_error *err);

/*
 * Does the storage of this name make the new image of `driver` from its backing file (a clone)?  Only an image that is the
 * bytes of its disk can be made so.
 */
bool img_create_clones(const struct img_driver *driver, const char *name);

/*
 * May a file of this name be made?  Otherwise what creating it would say; nothing is touched.  Asked before the options of
 * a format are checked: a place where nothing can be is the first thing to complain of.
 */
int img_check_target(const char *name, struct img_error *err);

/*
 * Can a file of this name be created?  An existing one must not be in use, nor be protected.  For who touches other
 * files before.
 */
int img_check_new_file(const char *name, struct img_error *err);

/* ---- Files that were created (node/created.c) -------------------------------- */

/* From now on, regular files that are created, or overwritten as new ones, are remembered. */
void img_created_watch(void);
/* A PROTOCOL, or who else makes a file, adds it before its content is dropped.  -ENOMEM. */
int img_created_add(int fd, const char *name);
unsigned img_created_count(void);
/* Remove those that are still there under their names.  Safe in a signal handler.  Returns 0 or the last error. */
int img_created_remove(void);
/* Remember none, and no more. */
void img_created_forget(void);

/*
 * An image that img_copy writes strictly in order, into a pipe.  `options` are those of img_create (with "size") and
 * are checked now.  Only if img_driver_can_stream.
 */
struct img_stream;
int img_stream_open(struct img_stream **stream, const struct img_driver *driver, const struct img_doc *options,
                    bool compress, struct img_error *err);
void img_stream_close(struct img_stream *stream);
/* The formats that can be written in order, as text: "raw, qcow2".  Caller frees. */
char *img_stream_formats(void);

/*
 * The flat creation `options` that are not stored in the image, because they control how data is written now.
 * Pass them to img_open_options to write to the new image.  Caller frees *run; NULL: there are none.  -ENOMEM.
 */
int img_create_run_options(const struct img_driver *driver, const struct img_doc *options, struct img_doc **run);

/*
 * The text of `-o help`.  With a `name`: "Supported options:" of the format and of the protocol for
 * that name; without: "Supported FMT options:" of the format only.  Caller frees.
 */
char *img_create_help(const struct img_driver *driver, const char *name, struct img_error *err);

/*
 * Change the guest-visible size. `preallocation`: "off", "metadata", "falloc", "full", or NULL for off.
 * No other call on the image may run at the same time.  -ENOTSUP if the format cannot be resized.
 */
int img_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* ---- Changing options of an existing image (amend.c) ------------------------ */

struct img_amend {
    bool force;                /* allow changes that may make an encrypted image unreadable */
    /* Progress of the slow steps, one after the other; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};
/*
 * Change the flat `options` (as made by img_options_add; borrowed) of an image that is open for writing.  All are
 * checked before the first is applied.  Then they are applied one after the other, each atomically, even if the
 * process crashes.  If one fails, the changes before it stay.  The messages are those of qemu-img.
 * -ENOTSUP: not supported by the format; -EINVAL: not possible for this image.  For one thread at a time, like
 * resizing.
 */
int img_amend(struct img *image, const struct img_doc *options, const struct img_amend *how, struct img_error *err);
/* "Amend options for 'FMT':" and one line per option; caller frees.  NULL with *err set if there are none. */
char *img_amend_help(const struct img_driver *driver, struct img_error *err);

/* ---- Information and checks (info.c, check by driver) ---------------------- */

/* The driver's format-specific object, {"type": ..., "data": {...}}, or NULL. Caller frees. */
struct img_doc *img_format_specific(struct img *image, struct img_error *err);

struct img_snapshot {
    char *id, *name;
    uint64_t vm_state_size, disk_size;
    uint64_t date_sec; uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount; bool has_icount;
};
/* The internal snapshots; *list belongs to the caller (img_snapshots_free). Returns the count (0 if the format has no
 * snapshots), or a negative errno. */
int img_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err);
/* Advice for a snapshot that was not found: the names of those that there are. */
void img_snapshots_advise(struct img *image, struct img_error *err);
void img_snapshots_free(struct img_snapshot *list, size_t count);
/* Make the image show (read-only) the content of the snapshot with this id or, if there is none, this name;
 * either may be NULL.  -ENOENT: not found. */
int img_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err);

/* ---- Changing snapshots (snapshot.c) ------------------------------------------ */

/*
 * The image must be open for writing (IMG_RDWR) and used by one thread; raw over a format with snapshots acts on
 * those of that format.  Each change is atomic, even if the process crashes.  -ENOTSUP: the format (or this image) has
 * no snapshots.  For apply and delete, err->text is what qemu-img prints after "Could not ... snapshot 'x': "; for
 * create, qemu-img prints only img_strerror() of the result.
 */
/* Create a snapshot of the current disk.  `what` provides name (cut to 255 bytes), date, clock, icount and
 * vm_state_size; its id is NULL and is set to the new id (the caller frees it); disk_size is not read. */
int img_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err);
/* Restore the disk, including its size, from the snapshot with this id or, if there is none, this name.  -ENOENT. */
int img_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err);
/* Delete the first snapshot with this id and this name; NULL: any.  -ENOENT.  Other errors may leak clusters. */
int img_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err);

enum { IMG_REPAIR_LEAKS = 1, IMG_REPAIR_ERRORS = 2 };
struct img_check {
    uint64_t corruptions, leaks, check_errors;
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset;
    bool has_clusters;           /* the next four members are set */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
};
/* Check, and repair as given by `repair`.  Each finding is an IMG_NOTE in qemu-img's words.
 * -ENOTSUP: the format does not support checks. */
int img_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* Can the image store persistent bitmaps? */
bool img_has_bitmaps(const struct img *image);

/* ---- Persistent bitmaps (bitmap.c) ------------------------------------------ */

/*
 * An image may store bitmaps that record which parts of the guest disk were written; one bit covers
 * `granularity` bytes (a power of two).  These functions are for one thread at a time, like resizing.  Changes
 * reach the storage when the image is closed; if the process dies before, the bitmap is inconsistent, never wrong.
 */
struct img_bitmap {
    char *name;
    uint64_t granularity;
    bool enabled;                /* records writes */
    bool inconsistent;           /* was left in use, its bits are meaningless: it can only be removed */
};
/* The bitmaps in stored order; *list belongs to the caller (img_bitmaps_free), NULL if there are none.  Returns their
 * number; 0 if the format has no bitmaps; -ENOMEM. */
int img_bitmaps(struct img *image, struct img_bitmap **list);
void img_bitmaps_free(struct img_bitmap *list, size_t count);

enum { IMG_BITMAP_MAX_NAME = 1023 };
/*
 * Create a bitmap with no bit set.  `granularity` 0: the cluster size, but at least 4 KiB and at most 64 KiB.
 * -EEXIST: the name is in use; -ENOTSUP: the image cannot store bitmaps.
 */
int img_bitmap_add(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err);
/* The only action on an inconsistent bitmap.  -ENOENT, here and below: there is no bitmap with this name. */
int img_bitmap_remove(struct img *image, const char *name, struct img_error *err);
int img_bitmap_clear(struct img *image, const char *name, struct img_error *err);
int img_bitmap_enable(struct img *image, const char *name, bool enabled, struct img_error *err);
/*
 * Set in `name` all bits that are set in `source_name` of `source` (which may be the same image, and is only read),
 * rounded outwards to the coarser granularity.  -EINVAL: the disk sizes differ.
 */
int img_bitmap_merge(struct img *image, const char *name, struct img *source, const char *source_name,
                     struct img_error *err);

/* ---- Measuring (measure.c) ---------------------------------------------------- */

struct img_measure {
    uint64_t required;           /* largest file size that a copy of the source needs */
    uint64_t fully_allocated;    /* file size after the whole disk was written */
    bool has_bitmaps;            /* both sides support persistent bitmaps: `bitmaps` is set */
    uint64_t bitmaps;            /* additional bytes for copying the bitmaps of the source */
};
/* Check these flat creation options like img_create_check, but without a target name. */
int img_measure_check(const struct img_driver *driver, const struct img_doc *options, struct img_error *err);
/*
 * The space that a new image of `driver` with these options needs: for a copy of
 * `source`, or (NULL) for an empty disk of `size` bytes.  Reads the map of the source, but no data.  The options are
 * borrowed; NULL: none.  -ENOTSUP: not supported by the format.
 */
int img_measure(const struct img_driver *driver, const struct img_doc *options, struct img *source, uint64_t size,
                struct img_measure *result, struct img_error *err);

/*
 * What a node can be asked for: filled by its driver when it is opened, on top of what the node below can do.  Bytes;
 * units and alignments are powers of two; 0: no bound, or none of that kind.
 */
struct img_limits {
    /* Of requests to the driver.  libimg aligns and splits what callers ask for, so these are no bounds for them. */
    uint32_t request_alignment;     /* of offset and length; at least 1 */
    uint32_t memory_alignment;      /* of buffers; 1 to 4096 */
    uint64_t opt_transfer, max_transfer, max_hw_transfer;
    uint64_t max_write_zeroes, write_zeroes_alignment;
    uint64_t max_discard, discard_alignment;
    int max_iov, max_hw_iov;        /* pieces of memory in one request; for showing only, a request here has one */
    uint64_t min_mem_alignment, opt_mem_alignment;      /* of memory, as `info --limits` shows them */

    /* How a format allocates. */
    uint32_t cluster;               /* unit of allocation, compression and discard */
    uint32_t write_unit;            /* the least that a write allocates (a subcluster); 0: a cluster */
    uint32_t lock_unit;             /* two writes into one of these wait for each other; 0: a cluster, 1: none do */

    /* Useful number of requests in flight.  Requests of a storage with round trips overlap. */
    uint32_t requests;              /* at a time, beyond the number of processors; 0: that is enough */
    uint32_t piece;                 /* bytes of a request that is worth its round trip; 0: what suits the processor */
    bool round_trip;                /* map takes a round trip: cache its answers */
    /* Not 0: the image can only be read forward, once (see img_intake_image): this many windows of 1 MiB of it, in a
     * row, may be read at the same time. */
    uint32_t forward;
};
/* The limits of an open image, as they stand. */
const struct img_limits *img_limits(const struct img *image);
/* What the storages of a chain are like together: the maximum of each. */
struct img_reach {
    uint32_t requests, piece;
    bool round_trip;
    uint32_t forward;               /* but of this the least that is not 0 */
};
/* Widen *reach by an image and its backing chain; NULL is none. */
void img_reach_add(struct img_reach *reach, const struct img *image);

#endif
