/* SPDX-License-Identifier: MIT */
/*
 * unpacked.h - for adapters that decompress a storage (gzip, xz, zstd, bzip2).
 *
 * The content consists of segments: each can be decoded without those before it, from its start on.  The driver finds
 * them when it is opened.  A decoder that has reached some place goes on from there, so reading forward decodes once.
 * A thread that needs what another one is decoding works ahead meanwhile, in a later segment, if it finds one.  Content
 * is kept in at most 32 MiB, whatever the segments are.
 */
#ifndef IMG_UNPACKED_H
#define IMG_UNPACKED_H

#include "driver.h"

/* ---- Segments ---------------------------------------------------------------- */

struct img_segment {
    uint64_t plain;             /* where its content begins */
    uint64_t coded;             /* where it begins in the storage, as the driver counts */
    void *state;                /* what a decoder needs to begin here, or NULL; freed with the list */
};

struct img_segments {
    struct img_segment *at;
    size_t count, capacity;
    /* If a decoder can go on from one segment to the next: the least content of one, and the most segments.  When there
     * would be more, every second one is joined to the one before, and the least content is doubled. */
    uint64_t spacing;
    size_t most;
};

/* Would a segment that begins here be kept? */
bool img_segments_want(const struct img_segments *list, uint64_t plain);
/* Add the next one, in ascending order; the first begins at 0.  Takes `state`, also where it is not wanted or the call
 * fails.  -ENOMEM; -EFBIG: there are too many that cannot be joined. */
int img_segments_add(struct img_segments *list, uint64_t plain, uint64_t coded, void *state);
void img_segments_free(struct img_segments *list);

/* ---- Coded bytes, in order ------------------------------------------------------- */

enum { IMG_INPUT = 128 << 10 };

struct img_input {
    struct img *file;
    uint64_t next;              /* where the bytes after those in the buffer are */
    const unsigned char *bytes; /* what is not used yet */
    size_t left;
    unsigned char *buffer;
};

/* Go on at `offset`.  -ENOMEM. */
int img_input_start(struct img_input *input, struct img *file, uint64_t offset);
/* Have at least `least` bytes, which are not more than half of the buffer, and more if there are none.  1: they are
 * there; 0: the storage ends before; or a negative errno. */
int img_input_need(struct img_input *input, size_t least);
void img_input_skip(struct img_input *input, size_t used);
/* Where the next byte is in the storage. */
uint64_t img_input_at(const struct img_input *input);
void img_input_end(struct img_input *input);

/* Does the storage have nothing more from here on?  Its length is counted in sectors, so the last one may end with
 * zeroes that are not in the file.  1, 0 or a negative errno. */
int img_input_is_end(struct img *file, uint64_t offset);

/* ---- Content ------------------------------------------------------------------- */

struct img_unpacking {
    /* Begin to decode a segment with `length` bytes of content.  *decoder is NULL, or one that has decoded another. */
    int (*start)(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length);
    /* Decode the next `length` bytes, at least one, all within the segment.  With its last bytes the decoder checks
     * that the coded form ends, too. */
    int (*run)(struct img *image, void *decoder, void *buffer, size_t length);
    void (*end)(void *decoder); /* free it; NULL is fine */
    unsigned decoders;          /* the most at a time; 0: as many as are useful */
};

struct img_unpacked;
/* Takes the segments, also if it fails; image->size is set.  Requests of the image become unbounded.  NULL: no
 * memory. */
struct img_unpacked *img_unpacked_new(struct img *image, const struct img_unpacking *how,
                                      struct img_segments *segments);
/* Any number of threads at once.  0 or a negative errno. */
int img_unpacked_read(struct img_unpacked *unpacked, void *buffer, uint64_t offset, size_t length);
void img_unpacked_free(struct img_unpacked *unpacked);          /* NULL is fine */

/* The length of the content. */
uint64_t img_unpacked_length(struct img *image, bool now);
/* The option of a name "PREFIX:NAME": the storage below.  For parse_name of such an adapter. */
int img_unpacked_parse_name(const char *prefix, const char *name, struct img_doc *options);
/* Its plain name: "PREFIX:NAME", or that of the storage below if the adapter was found by the content. */
int img_unpacked_plain_name(const struct img *image, char **name);

#endif
