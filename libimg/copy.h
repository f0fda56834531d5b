/* SPDX-License-Identifier: MIT */
/*
 * copy.h - the worker engine behind convert (and later dd, rebase, commit, digest).
 *
 * The guest range is cut into windows.  A worker takes the next window under a
 * short lock, then maps, reads, looks for zeroes and encodes alone; it writes
 * when the windows before it are written, unless order does not matter.
 */
#ifndef IMG_COPY_H
#define IMG_COPY_H

#include "img.h"

/* Called by one thread at a time; `done` of `total` bytes, total 0: not known. */
typedef void img_progress_fn(void *context, uint64_t done, uint64_t total);

/* What failed, for the wording of the message. */
enum img_copy_stage { IMG_COPY_MAPPING, IMG_COPY_READING, IMG_COPY_WRITING, IMG_COPY_GROWING, IMG_COPY_STARTING };

struct img_copy_fault {
    enum img_copy_stage stage;
    uint64_t offset;               /* guest offset in the target */
};

#define IMG_COPY_MAX_WORKERS 16

struct img_copy {
    struct img *const *sources;    /* concatenated; */
    size_t source_count;
    int source_fd;                 /* or, with source_count 0, a stream read to its end */
    struct img *target;            /* or NULL: */
    int target_fd;                 /* a stream that gets every byte in order */

    bool top_layer_only;           /* what a source takes from its backing file stays a hole of the target, whose
                                      own backing file shows there */
    bool target_is_zero;           /* the target reads as zeroes where nothing is written */
    uint64_t target_backing_size;  /* top_layer_only: length of the target's backing file; holes behind it read as zeroes */
    bool grow_target;              /* resize the target as a stream turns out longer */
    bool compress;
    bool salvage;                  /* what can't be read becomes zeroes */
    void (*salvaged)(void *context, uint64_t offset, int error);  /* told of each; may be NULL */
    bool offload;                  /* -C: let the kernel copy data between the storages where it can */
    bool in_order;                 /* write windows in guest order; the output is then the same every time */
    unsigned workers;              /* at least 1; cut at IMG_COPY_MAX_WORKERS */
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

#endif
