/* SPDX-License-Identifier: MIT */
/* convert.h - shared by the files of img-convert: the request, and the steps in execution order. */
#ifndef CONVERT_H
#define CONVERT_H

#include "digest.h"
#include "source.h"
#include "../libimg/copy.h"

struct convert {
    struct app *app;
    const char *source_format, *target_format, *backing, *backing_format, *snapshot;
    struct img_doc *create_options;    /* flat; NULL: none given */
    bool want_help, source_opts, target_opts, no_create, target_is_zero, compress, share, offload, salvage,
         out_of_order, progress, sparse_given, bitmaps, skip_broken, format_given;
    uint64_t sparse, rate;
    unsigned workers;
    struct digest_choice digest;       /* hash NULL: none requested */
    uint8_t digest_result[IMG_HASH_MAX];
    const char *source_cache_name, *target_cache_name;
    enum img_cache source_cache, target_cache;

    char **sources;
    size_t source_count;
    const char *target_name;
    bool piped;                        /* a source comes through a pipe */
    bool from_stream, to_stream;       /* from_stream: raw bytes whose length is not known */
    bool keep_partial, atomic;
    char *final_name, *temporary_name;  /* --atomic: the file that is replaced; the target until it is complete */
    bool raw_stream;                   /* to_stream, in raw format */

    const struct img_driver *driver;   /* of the target */
    struct app_source *opened;         /* the sources, */
    struct img **images;               /* and their images */
    uint64_t total;
    struct img *target;
    struct img_stream *stream;         /* instead of a target: an image that is written in order */
    uint64_t backing_size;             /* of the target's backing file */
};

/* convert-source.c ------------------------------------------------------------ */

/* Open all sources, add up their lengths, and load the snapshot of -l. Returns 0, or -1 after a message. */
int convert_open_sources(struct convert *r);
/* Close them; returns the exit code. */
int convert_close_sources(struct convert *r, int status);

/* convert-target.c ------------------------------------------------------------ */

/* Find the driver of -O, which must be able to create images. */
int convert_find_driver(struct convert *r);
/* Find the driver of a new target and check its options, without touching anything.  Returns 0, or -1 after a
 * message. */
int convert_judge_target(struct convert *r);
/* Print why the new target cannot be made, and clear *err. */
void convert_report_target(const struct convert *r, struct img_error *err);
/* Then create the target unless -n, and open it; nothing is written to a stream yet. */
int convert_open_target(struct convert *r);

/* convert-atomic.c ------------------------------------------------------------ */

/* --atomic: choose the temporary name.  Returns 0, or -1 after a message. */
int convert_atomic_start(struct convert *r);
/* The target is complete and closed: give it its name. */
int convert_atomic_end(const struct convert *r);

/* convert-bitmaps.c ----------------------------------------------------------- */

/* --bitmaps: check that they can be copied, before the target is touched.  Returns 0, or -1 after a message. */
int convert_check_bitmaps(struct convert *r);
/* Copy them after the disk; returns the exit code. */
int convert_copy_bitmaps(struct convert *r);

/* convert-copy.c -------------------------------------------------------------- */

/* Copy; returns the exit code.  Fills digest_result. */
int convert_copy(struct convert *r);
/* Print the digest on standard output, or on standard error if standard output is the target. */
void convert_print_digest(const struct convert *r);

#endif
