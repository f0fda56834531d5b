/* SPDX-License-Identifier: MIT */
/*
 * copy.h - the worker engine behind convert, dd, rebase, commit and digest.
 *
 * The guest range is split into windows.  A worker takes the next window under a
 * short lock, then maps, reads, detects zeroes and encodes on its own; it writes
 * after the windows before it, unless order does not matter.
 */
#ifndef IMG_COPY_H
#define IMG_COPY_H

#include "img.h"

struct img_digest;

/* Called by one thread at a time; `done` of `total` bytes, total 0: unknown. */
typedef void img_progress_fn(void *context, uint64_t done, uint64_t total);

/* What failed, for the error message. */
enum img_copy_stage { IMG_COPY_MAPPING, IMG_COPY_READING, IMG_COPY_WRITING, IMG_COPY_GROWING, IMG_COPY_STARTING,
                      IMG_COPY_COMPARING /* reading the new backing file */,
                      IMG_COPY_CHANGED /* the source has changed since the target was planned */ };

struct img_copy_fault {
    enum img_copy_stage stage;
    uint64_t offset;               /* guest offset in the target */
};

/* As many can be asked for. */
#define IMG_COPY_MAX_WORKERS 16

/*
 * Rebasing: source and target are the same image, which still has its old
 * backing file.  Written are the ranges that the image does not allocate itself and that differ in the
 * new backing file.
 */
struct img_copy_rebase {
    struct img *shown;             /* the new backing file; NULL: zeroes */
    struct img *old_shared, *new_shared;    /* the first common image, in each chain; NULL: none */
};

struct img_copy {
    struct img *const *sources;    /* concatenated; */
    size_t source_count;
    struct img_intake *intake;     /* or, with source_count 0, a stream read to its end */
    struct img *target;            /* or NULL: */
    int target_fd;                 /* a stream that receives every byte in order; */
    struct img_stream *stream;     /* or an image of this kind, whose size is that of the source in whole sectors */

    /* A range: [source_offset, +length) of the sources, which must be that long, is copied to target_offset of the
     * target.  length 0: to the end.  A stream is read on, with source_offset 0, and may be shorter. */
    uint64_t source_offset, length, target_offset;
    bool exact;                    /* copy the exact length of a stream; otherwise pad it to whole sectors, like raw */

    bool top_layer_only;           /* ranges that a source reads from its backing file stay holes in the target, which
                                      reads its own backing file there */
    struct img *base;              /* an image in the backing chain of the only source: its data and the data of images
                                      below it is not copied; NULL: copy the whole chain */
    const struct img_copy_rebase *rebase;   /* NULL: no rebase */
    bool keep_data;                /* copy data as data, without detecting zeroes */
    bool target_is_zero;           /* the target reads as zeroes unless written */
    uint64_t target_backing_size;  /* top_layer_only: length of the target's backing file; beyond it holes read as
                                      zeroes */
    bool grow_target;              /* resize the target while a stream is read */
    bool compress;
    bool salvage;                  /* replace unreadable ranges by zeroes */
    /* Called for each sector of them: IMG_COPY_READING, or IMG_COPY_MAPPING if it is not known what is there (then it is
     * read all the same).  May be NULL. */
    void (*salvaged)(void *context, enum img_copy_stage stage, uint64_t offset, int error);
    bool offload;                  /* -C: let the kernel copy data between the storages if possible */
    struct img_digest *digest;     /* digest of everything that the guest reads, in whole sectors (digest.h); not with
                                      offload or a range of a source; NULL: none.  Without a target and with a
                                      negative target_fd only the digest is computed */
    bool in_order;                 /* write windows in guest order, so that the output is the same every time */
    unsigned workers;              /* cut at IMG_COPY_MAX_WORKERS; 0: choose by the processors and the storages */
    uint64_t sparse;               /* zero runs of this many bytes become holes; 0: write everything */
    uint64_t rate;                 /* bytes written per second; 0: no limit */
    img_progress_fn *progress;     /* may be NULL */
    void *context;
};

/*
 * Copy; blocks until done.  On failure returns a negative errno
 * and fills *fault.  The target is not flushed.  *copied (may be NULL) is the number of bytes read.
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
 * Copy all data that differs in the new backing file to `image`, which is open for
 * writing with its old backing file, and flush it.  The image keeps its old backing file until
 * img_change_backing.  On failure returns a negative errno and fills *fault; the guest content is unchanged.
 */
int img_rebase(struct img *image, const struct img_rebase *how, struct img_copy_fault *fault);

struct img_commit {
    struct img *base;              /* in the backing chain of the image, open for writing (img_reopen_backing) */
    uint64_t rate;                 /* bytes per second; 0: no limit */
    unsigned workers;              /* as in struct img_copy */
    img_progress_fn *progress;     /* may be NULL */
    void *context;
};
/*
 * Write the content of `image` and of the images between the two to `base`, and flush it.  A base
 * that is smaller than the image grows first.  The image itself does not change (see img_make_empty).  Returns 0 or a
 * negative errno.
 */
int img_commit(struct img *image, const struct img_commit *how);

#endif
