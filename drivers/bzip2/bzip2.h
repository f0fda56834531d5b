/* SPDX-License-Identifier: MIT */
/* bzip2.h - the blocks of a bzip2 file (scan.c), and their decoder (bzip2.c). */
#ifndef IMG_BZIP2_H
#define IMG_BZIP2_H

#include "../../libimg/driver.h"
#include "../../libimg/io/unpacked.h"
#include <bzlib.h>

/* Decodes blocks from any bit of the file on. */
struct bunzip {
    bz_stream stream;
    bool alive, ended;              /* the stream is initialised; it has come to its end */
    bool whole;                     /* it began with a header, and others may follow */
    unsigned shift;                 /* the first bits of a byte that belong to the byte before */
    uint64_t left;                  /* content of the segment that is still to come */
    struct img_input input;
    char *shifted;                  /* the coded bytes that are fed, if there is a shift */
    size_t shifted_left;
};

/* Begin at a bit of the file: at the mark of a block, or at the header of a stream. */
int bzip2_start(struct bunzip *in, struct img *file, uint64_t bit);
/* Feed bytes and decode; *coded and *got: how much there is, and how much it was.  0; -EIO; -ENOMEM. */
int bzip2_feed(struct bunzip *in, const void *bytes, size_t *coded, void *to, size_t *got);
void bzip2_end(struct bunzip *in);

/* Find the segments: each begins with a block or a stream. */
int bzip2_scan(struct img *file, struct img_segments *list, uint64_t *size, struct img_error *err);

#endif
