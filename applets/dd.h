/* SPDX-License-Identifier: MIT */
/* dd.h - shared by the files of img-dd. */
#ifndef DD_H
#define DD_H

#include "applet.h"

struct dd {
    struct app *app;
    const char *input_format, *output_format;
    bool share, image_opts, no_create;

    /* Operands */
    const char *input, *output;             /* NULL: standard input, standard output */
    uint64_t block, count, skip, seek;      /* count, skip and seek in blocks */
    uint64_t output_size;                   /* of osize=, bytes */
    bool has_count, has_output_size;
    bool keep, sparse, sync;                /* conv=notrunc, sparse, fsync */
    bool direct_input, direct_output;
    bool progress;

    /* What is to be done, in bytes */
    bool from_stream, to_stream;
    int source_fd, target_fd;               /* -1: an image */
    struct img *source, *target;
    struct img_stream *stream;              /* in place of target: an image that is written in order */
    uint64_t from, length, to;              /* length: of a stream the most that is read, UINT64_MAX: all of it */
    bool created, fixed;                    /* the target is new; it keeps the size that it has */
};

/* dd-operands.c: read app->operands; false after a message. */
bool dd_parse_operands(struct dd *dd);

/* dd-stream.c ----------------------------------------------------------------------- */

/* Pass over that many bytes.  1, or 0 when the stream ended before; a negative errno. */
int dd_skip_stream(int fd, uint64_t length);
/* Takes a byte to see: 1 at the end of the stream, else 0 or a negative errno. */
int dd_at_end(int fd);

/* dd-target.c: the image that is written, created or opened, and long enough; -1 after a message. */
int dd_prepare_target(struct dd *dd);
/* The same for one that goes to standard output: its options are judged. */
int dd_prepare_stream(struct dd *dd);

#endif
