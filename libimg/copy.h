/* SPDX-License-Identifier: MIT */
/*
 * copy.h - the worker engine behind convert, dd, rebase, commit and digest.
 *
 * The guest range is cut into windows.  A worker takes the next window under a
 * short lock, then maps, reads, looks for zeroes and encodes alone; it writes
 * when the windows before it are written, unless order does not matter.
 */
#ifndef IMG_COPY_H
#define IMG_COPY_H

#include "img.h"

struct img_digest;

/* Called by one thread at a time; `done` of `total` bytes, total 0: not known. */
typedef void img_progress_fn(void *context, uint64_t done, uint64_t total);

/* What failed, for the wording of the message. */
enum img_copy_stage { IMG_COPY_MAPPING, IMG_COPY_READING, IMG_COPY_WRITING, IMG_COPY_GROWING, IMG_COPY_STARTING,
                      IMG_COPY_COMPARING /* reading what the target will show */,
                      IMG_COPY_CHANGED /* the source is not what it was when the target was planned */ };

struct img_copy_fault {
    enum img_copy_stage stage;
    uint64_t offset;               /* guest offset in the target */
};

/* As many can be asked for. */
#define IMG_COPY_MAX_WORKERS 16

/*
 * An image that is given another backing file: source and target are the same
 * image, still over its old one.  Written is what the image does not hold itself and what reads otherwise
 * in the new backing file.
 */
struct img_copy_rebase {
    struct img *shown;             /* the new backing file; NULL: zeroes */
    struct img *old_shared, *new_shared;    /* the first image that both chains have, in each of them; NULL: none */
};

struct img_copy {
    struct img *const *sources;    /* concatenated; */
    size_t source_count;
    int source_fd;                 /* or, with source_count 0, a stream read to its end */
    struct img *target;            /* or NULL: */
    int target_fd;                 /* a stream that gets every byte in order; */
    struct img_stream *stream;     /* or an image of this kind, whose size is that of the source in whole sectors */

    /* A part: [source_offset, +length) of the sources, which must have that much, goes to target_offset of the
     * target.  length 0: to the end.  A stream is read from where it stands, source_offset 0, and may end before. */
    uint64_t source_offset, length, target_offset;
    bool exact;                    /* a stream's bytes as they are; otherwise it counts in whole sectors, as raw does */

    bool top_layer_only;           /* what a source takes from its backing file stays a hole of the target, whose
                                      own backing file shows there */
    struct img *base;              /* of the backing chain of the one source: what it and those below it hold is left
                                      alone; NULL: the whole chain counts */
    const struct img_copy_rebase *rebase;   /* NULL: no rebase */
    bool keep_data;                /* data stay data: no looking for zeroes in them */
    bool target_is_zero;           /* the target reads as zeroes where nothing is written */
    uint64_t target_backing_size;  /* top_layer_only: length of the target's backing file; behind it holes read as
                                      zeroes */
    bool grow_target;              /* resize the target as a stream turns out longer */
    bool compress;
    bool salvage;                  /* what can't be read becomes zeroes */
    void (*salvaged)(void *context, uint64_t offset, int error);  /* told of each; may be NULL */
    bool offload;                  /* -C: let the kernel copy data between the storages where it can */
    struct img_digest *digest;     /* of all that the guest reads, whole sectors (digest.h); not with offload, nor of a
                                      part of a source; NULL: none.  With no target and a target_fd below 0 nothing else is
                                      done */
    bool in_order;                 /* write windows in guest order; the output is then the same every time */
    unsigned workers;              /* cut at IMG_COPY_MAX_WORKERS; 0: a number that suits the processors and the storages */
    uint64_t sparse;               /* zero runs of this many bytes become holes; 0: write everything */
    uint64_t rate;                 /* bytes a second that are written; 0: no limit */
    img_progress_fn *progress;     /* may be NULL */
    void *context;
};

/*
 * Copy all of it; blocks until done.  On failure returns the negative errno
 * and fills *fault.  The target is not flushed.  *copied (may be NULL) is the length of what was read.
 */
int img_copy(const struct img_copy *what, uint64_t *copied, struct img_copy_fault *fault);

/* ---- Changes of a backing chain (rebase.c, commit.c) --------------------------- */

struct img_rebase {
    struct img *backing;           /* the new backing file, open for reading; NULL: none */
    bool compress;
    unsigned workers;              /* as of img_copy */
    img_progress_fn *progress;     /* may be NULL */
    void *context;
};
/*
 * Write into `image`, open for writing over its old backing file, all that the
 * new one would show otherwise, and flush it.  The image names its old backing file until
 * img_change_backing.  On failure the negative errno, with *fault set; its guest content stays as it was.
 */
int img_rebase(struct img *image, const struct img_rebase *how, struct img_copy_fault *fault);

struct img_commit {
    struct img *base;              /* of the backing chain of the image, open for writing (img_reopen_backing) */
    uint64_t rate;                 /* bytes a second; 0: no limit */
    unsigned workers;              /* as of img_copy */
    img_progress_fn *progress;     /* may be NULL */
    void *context;
};
/*
 * Write into `base` what `image` and the images between the two hold, and flush it.  A base
 * that is smaller than the image grows first.  The image itself is not changed (see img_make_empty).  0 or a negative
 * errno.
 */
int img_commit(struct img *image, const struct img_commit *how);

#endif
