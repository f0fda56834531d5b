/* SPDX-License-Identifier: MIT */
/* dd.h - shared by the files of img-dd. */
#ifndef DD_H
#define DD_H

#include "source.h"

struct dd {
    struct app *app;
    const char *input_format, *output_format;
    bool share, image_opts, no_create, keep_partial;

    /* Operands */
    const char *input, *output;             /* NULL: standard input, standard output */
    uint64_t block, count, skip, seek;      /* count, skip and seek in blocks */
    uint64_t output_size;                   /* of osize=, bytes */
    bool has_count, has_output_size;
    bool keep, sparse, sync;                /* conv=notrunc, sparse, fsync */
    bool direct_input, direct_output;
    bool progress;

    /* The request in bytes */
    bool piped;                             /* the input is standard input or a pipe */
    bool from_stream, to_stream;            /* from_stream: its bytes are read as they come */
    int target_fd;                          /* -1: an image */
    struct app_source opened;               /* the input, */
    struct img *source, *target;            /* and its image, NULL: it is a stream */
    struct img_stream *stream;              /* instead of target: an image that is written in order */
    uint64_t from, length, to;              /* length: for a stream the maximum to read, UINT64_MAX: all */
    bool all_skipped;                       /* by skip=, although count= is not 0 */
    bool created, fixed;                    /* the target is new; the target keeps its size */
};

/* dd-operands.c: read app->operands; false after a message. */
bool dd_parse_operands(struct dd *dd);
/* The name of operand `index`, NULL after the last; *words: what it takes, with blanks between, or NULL. */
const char *dd_operand(size_t index, const char **words);

/* dd-target.c: create or open the output image, and make it long enough; -1 after a message. */
int dd_prepare_target(struct dd *dd);
/* The same for an image on standard output: check its options. */
int dd_prepare_stream(struct dd *dd);

#endif
