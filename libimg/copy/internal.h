/* SPDX-License-Identifier: MIT */
/* internal.h - shared by copy.c (cursor, workers, order), window.c (one window) and the other files of this room. */
#ifndef IMG_COPY_INTERNAL_H
#define IMG_COPY_INTERNAL_H

#include "copy.h"
#include "driver.h"
#include "io/io.h"
#include "io/sink.h"
#include "util/crew.h"
#include "util/stop.h"
#include "util/vector.h"
#include <pthread.h>
#include <stdatomic.h>

/* One window, or a longer range that needs no data. */
struct copy_window {
    uint64_t offset, length;
    uint64_t sequence;
    bool uniform;                  /* `first` covers all of it */
    bool streamed;                 /* the data is already in the worker's buffer */
    struct img_extent first;       /* the extent at its start from the cursor; length 0: unknown */
};

/* Part of a window. */
struct span {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE: do not write; ZERO; DATA: in the buffer, or not read yet: */
    struct img *from;              /* DATA at `host` of this storage; NULL: the data is in the buffer */
    uint64_t host;
};

struct spans {
    struct span *at;
    size_t count, capacity;
    bool failed;                   /* one is missing: out of memory */
};

/* One cluster of a window that is compressed. */
struct copy_cluster {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE, ZERO, DATA (does not shrink), CODED */
    const unsigned char *coded;
    size_t coded_length;
};

/* Part of a window whose place in the target is reserved. */
struct placed {
    struct img_reservation at;
    struct span span;              /* what to write there */
};

/* Lists that a worker needs for each window: they keep their memory from one window to the next. */
struct copy_lists {
    struct spans spans, next;      /* the parts of the window; scratch for the next step */
    IMG_VECTOR(struct placed) placed;
    IMG_VECTOR(struct img_run) runs;
    IMG_VECTOR(struct copy_cluster) clusters;
    bool failed;                   /* a run is missing: out of memory */
};

/* An image that is written in order: its state before and during writing (stream.c). */
struct img_stream {
    struct img *image;
    void *parsed;                  /* creation options */
};

/* What to do with a window: write it, or plan a stream, from its map only or from its data. */
enum copy_pass { COPY_WRITE, COPY_PLAN_BY_MAP, COPY_PLAN_BY_BYTES };

struct copy_worker {
    struct copy_job *job;
    unsigned char *buffer;         /* window_size bytes, aligned for O_DIRECT */
    unsigned char *coded;          /* compress: one window of coded clusters */
    unsigned char *other;          /* rebase: data of the new backing file */
    struct img_segment *segment;   /* tree digest: the current segment, and the digests of the window's segments */
    uint8_t *segment_digests;
    struct copy_lists lists;
    bool holds_turn, gave_turn;
};

/* Can the kernel copy between the storages?  A failure disables it for all workers. */
enum copy_offload { OFFLOAD_NONE, OFFLOAD_SHARE /* where blocks are shared */, OFFLOAD_COPY };

struct copy_job {
    const struct img_copy *what;
    enum copy_pass pass;
    struct img_sink *sink;         /* of what->stream, while it is written */
    struct img *image;             /* the target, or the image of the stream; NULL: raw bytes or nothing is written */
    uint64_t total;                /* bytes to copy; 0: the end of a stream is not known yet */
    uint64_t end;                  /* end of the guest range in the target; UINT64_MAX: the end of the stream */
    uint64_t window_size;          /* a power of two, a multiple of the target's cluster */
    uint64_t coded_size;           /* maximum size of the coded clusters of a window */
    uint64_t unit;                 /* granularity of zero detection */
    uint64_t write_unit;           /* allocation unit of the target; 1: bytes */
    bool ordered;                  /* windows are written, or get their places, in guest order */
    bool places;                   /* the target allocates separately from writing (img_place); not while it grows,
                                      because nobody may write to it then */

    uint32_t forward;              /* of the sources' limits: all windows are read in a row; 0: in any order */
    bool far;                      /* map of a source takes a round trip: do not call it under the cursor's lock if the
                                    * worker can call it */
    bool holes_come;               /* far: the last window had no data, so ask how far that continues; atomic */
    struct img_crew *crew;         /* runs the requests of one window in parallel; NULL: one after the other */
    struct img_stop *stop;         /* wakes waiters for a stream or a far storage after a failure; NULL: none */

    pthread_mutex_t cursor_lock;   /* position ... stream_end */
    uint64_t position, next_sequence;
    struct img_extent ahead;       /* the last mapped extent, may end beyond position */
    bool stream_end;

    pthread_mutex_t turn_lock;     /* turn, done, written, fault, error */
    pthread_cond_t turn_changed;
    uint64_t turn, done, written;
    uint64_t digest_turn;          /* next window to hash */
    struct timespec started;
    struct img_copy_fault fault;
    int error;
    atomic_int offload;            /* enum copy_offload */
};

/* Record a failure.  The one at the lowest offset is kept, so that the report is always the same. Returns error. */
int copy_fail(struct copy_job *job, enum img_copy_stage stage, uint64_t offset, int error);
/* With turn_lock held: has a window before this one failed?  Windows before the failure continue. */
bool copy_cancelled(const struct copy_job *job, const struct copy_window *window);
/* In order: wait until the windows before this one are written; otherwise return at once.  -ECANCELED after another
 * failure. */
int copy_take_turn(struct copy_worker *worker, const struct copy_window *window);
/* Pass the turn to the next window before this one is done. */
void copy_give_turn(struct copy_worker *worker, const struct copy_window *window);
/* The source that contains guest `offset`; *inside is the offset in it, *left the number of bytes to its end. */
struct img *copy_source_at(const struct copy_job *job, uint64_t offset, uint64_t *inside, uint64_t *left);
/* Map the concatenated source at `offset`, at most `length`; extent->offset is in target terms. */
int copy_map(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent);
/* Wait to keep the rate limit after `bytes` more bytes. */
void copy_account(struct copy_job *job, uint64_t bytes);

/* window.c: process one window: read, detect zeroes, encode, take the turn, write. */
int copy_do_window(struct copy_worker *worker, struct copy_window *window);
/* Its steps, for the other files.  Those that can fail record the error (copy_fail), except copy_read_source. */
/* Get an empty list for a step to fill; then let it replace the worker's spans. */
struct spans *copy_next_spans(struct copy_worker *worker);
void copy_replace_spans(struct copy_worker *worker);
void copy_add_span(struct spans *spans, uint64_t offset, uint64_t length, enum img_extent_kind kind);
int copy_read_source(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length);
/* Fill the ranges of [from, to) that are not data into the buffer, too: zeroes, and the content of holes. */
int copy_complete(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                  uint64_t from, uint64_t to);
int copy_fail_writing(struct copy_job *job, uint64_t offset, int error);
int copy_write_zero(struct copy_job *job, uint64_t offset, uint64_t length);
int copy_write_data(struct copy_job *job, const void *bytes, uint64_t offset, uint64_t length);
/* In its turn, before the window is written: grow the target to the length of the stream. */
int copy_grow_target(struct copy_job *job, const struct copy_window *window);
/* offload.c: can the kernel copy between the storages in this job? */
enum copy_offload copy_choose_offload(const struct img_copy *what);
/* Leave the data at the start of this extent unread, for offloading?  Shortens the extent to whole allocation units of
 * the target, or to the part before the first unit. */
bool copy_leaves_data(const struct copy_job *job, struct img_extent *extent);
/* Let the kernel copy `length` bytes at `host` of `from`. */
bool copy_offload(struct copy_job *job, struct img *from, uint64_t host, struct img *to, uint64_t to_host,
                  uint64_t length);
/* Read the data of a span after all. */
int copy_fetch(struct copy_worker *worker, const struct copy_window *window, const struct span *span);
/* rebase-pass.c: decide from the maps whether *extent of the source at guest offset `inside` may have to be written;
 * HOLE if the target keeps reading the same.  Shortens the extent. */
int copy_settle_rebase(const struct copy_job *job, uint64_t inside, struct img_extent *extent);
/* Units of the window that the target will read anyway become holes. */
int copy_drop_shown(struct copy_worker *worker, const struct copy_window *window);
/* place.c: write the spans of a window to an image, in its turn; if `places`, only allocation needs the turn. */
int copy_write_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* stream-pass.c: the whole copy to an image that is written in order; and one window of it, in its turn. */
int copy_to_stream(const struct img_copy *what, uint64_t *copied, struct img_copy_fault *fault);
int copy_stream_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* copy.c: one pass over the source. */
int copy_run(const struct img_copy *what, enum copy_pass pass, struct img_sink *sink, uint64_t *copied,
             struct img_copy_fault *fault);
/* compress.c: read what the clusters of a window lack, and encode them into the worker's list. */
int copy_encode_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* The same as for any window, starting from its spans. */
int copy_compress_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* digest-pass.c: hash a window after it was read, in its turn; allocate and free the state of a worker.  Without a
 * digest these do nothing. */
int copy_digest_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans);
int copy_digest_prepare(struct copy_worker *worker);
void copy_digest_release(struct copy_worker *worker);

#endif
