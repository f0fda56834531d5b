/* SPDX-License-Identifier: MIT */
/* copy-internal.h - shared by copy.c (cursor, workers, order), copy-window.c (one window) and the other copy-*.c. */
#ifndef IMG_COPY_INTERNAL_H
#define IMG_COPY_INTERNAL_H

#include "copy.h"
#include "driver.h"
#include "io/io.h"
#include "io/sink.h"
#include "util/vector.h"
#include <pthread.h>
#include <stdatomic.h>

/* One window, or a longer range that needs no data. */
struct copy_window {
    uint64_t offset, length;
    uint64_t sequence;
    bool uniform;                  /* all of it is `first` */
    bool streamed;                 /* the bytes are in the worker's buffer already */
    struct img_extent first;       /* what the cursor knows of its start; length 0: nothing */
};

/* Part of a window. */
struct span {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE: leave alone; ZERO; DATA: bytes in the buffer, or */
    struct img *from;              /* DATA that was not read: it lies at `host` of this storage; NULL: it was */
    uint64_t host;
};

struct spans {
    struct span *at;
    size_t count, capacity;
};

/* One cluster of a window that is compressed. */
struct copy_cluster {
    uint64_t offset, length;
    enum img_extent_kind kind;     /* HOLE, ZERO, DATA (does not shrink), CODED */
    const unsigned char *coded;
    size_t coded_length;
};

/* Part of a window that has its place in the target. */
struct placed {
    struct img_reservation at;
    struct span span;              /* what goes there */
};

/* Lists that a worker needs for each window: they keep their memory from one window to the next. */
struct copy_lists {
    struct spans spans, next;      /* what the window is made of, and what a step makes of that */
    IMG_VECTOR(struct placed) placed;
    IMG_VECTOR(struct img_run) runs;
    IMG_VECTOR(struct copy_cluster) clusters;
};

/* An image that is written in order: what there is of it before, and while, it is written (stream.c). */
struct img_stream {
    struct img image;
    void *parsed;                  /* creation options */
};

/* What becomes of a window: it is written; or, for a stream, planned: by its map alone, or by its bytes. */
enum copy_pass { COPY_WRITE, COPY_PLAN_BY_MAP, COPY_PLAN_BY_BYTES };

struct copy_worker {
    struct copy_job *job;
    unsigned char *buffer;         /* window_size bytes, aligned for O_DIRECT */
    unsigned char *coded;          /* compress: one window of coded clusters */
    unsigned char *other;          /* rebase: what the target will show */
    struct img_segment *segment;   /* tree digest: the segment in work, and digests of those of the window */
    uint8_t *segment_digests;
    struct copy_lists lists;
    bool holds_turn, gave_turn;
};

/* Do the storages copy among themselves?  A failure ends that for all workers. */
enum copy_offload { OFFLOAD_NONE, OFFLOAD_SHARE /* where blocks are shared */, OFFLOAD_COPY };

struct copy_job {
    const struct img_copy *what;
    enum copy_pass pass;
    struct img_sink *sink;         /* of what->stream, while it is written */
    struct img *image;             /* the target, or that of the stream; NULL: bytes or nothing are written */
    uint64_t total;                /* bytes to copy; 0 while a stream's end is unknown */
    uint64_t end;                  /* of the guest range in the target; UINT64_MAX: the end of the stream */
    uint64_t window_size;          /* a power of two, a multiple of the target's cluster */
    uint64_t coded_size;           /* bytes that the clusters of a window may take once they are coded */
    uint64_t unit;                 /* granularity of zero detection */
    uint64_t write_unit;           /* what the target allocates at once; 1: bytes */
    bool ordered;                  /* windows are written, or given their places, in guest order */
    bool places;                   /* the target gives out places apart from writing (img_place); not while it grows:
                                      nobody may write to it then */

    pthread_mutex_t cursor_lock;   /* position ... stream_end */
    uint64_t position, next_sequence;
    struct img_extent ahead;       /* the last map answer, may reach beyond position */
    bool stream_end;

    pthread_mutex_t turn_lock;     /* turn, done, written, fault, error */
    pthread_cond_t turn_changed;
    uint64_t turn, done, written;
    uint64_t digest_turn;          /* the window that is hashed next */
    struct timespec started;
    struct img_copy_fault fault;
    int error;
    atomic_int offload;            /* enum copy_offload */
};

/* Record a failure; the one at the lowest offset is kept, so that the same is told every time. Returns error. */
int copy_fail(struct copy_job *job, enum img_copy_stage stage, uint64_t offset, int error);
/* With turn_lock held: has one before this window failed?  Those before the failure go on. */
bool copy_cancelled(const struct copy_job *job, const struct copy_window *window);
/* Wait until the windows before this one are written (in order) or return at once; -ECANCELED after a failure
 * elsewhere. */
int copy_take_turn(struct copy_worker *worker, const struct copy_window *window);
/* Let the next window have its turn before this one is done. */
void copy_give_turn(struct copy_worker *worker, const struct copy_window *window);
/* The source that holds guest `offset`; *inside is the offset in it, *left the bytes from there to its end. */
struct img *copy_source_at(const struct copy_job *job, uint64_t offset, uint64_t *inside, uint64_t *left);
/* Map the concatenated source at `offset`, at most `length`; extent->offset is in target terms. */
int copy_map(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent);
/* Wait so that `written` more bytes keep to the rate. */
void copy_account(struct copy_job *job, uint64_t bytes);

/* copy-window.c: do one window: read, detect, encode, take the turn, write. */
int copy_do_window(struct copy_worker *worker, struct copy_window *window);
/* Its steps, for the other files.  Those that can fail record it (copy_fail), but for copy_read_source. */
/* An empty list for a step to fill, and let it take the place of the worker's spans. */
struct spans *copy_next_spans(struct copy_worker *worker);
void copy_replace_spans(struct copy_worker *worker);
void copy_add_span(struct spans *spans, uint64_t offset, uint64_t length, enum img_extent_kind kind);
int copy_read_source(struct copy_job *job, unsigned char *buffer, uint64_t offset, uint64_t length);
/* What [from, to) of the window has besides data goes into the buffer too: zeroes, and what shows in holes. */
int copy_complete(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                  uint64_t from, uint64_t to);
int copy_fail_writing(struct copy_job *job, uint64_t offset, int error);
int copy_write_zero(struct copy_job *job, uint64_t offset, uint64_t length);
int copy_write_data(struct copy_job *job, const void *bytes, uint64_t offset, uint64_t length);
/* In its turn, before the window is written: the target is to be as long as the stream. */
int copy_grow_target(struct copy_job *job, const struct copy_window *window);
/* copy-offload.c: whether the storages may copy among themselves in this job; */
enum copy_offload copy_choose_offload(const struct img_copy *what);
/* whether data at the start of this extent wait for that, unread: shortens the extent to whole units that the target
 * allocates, or to what comes before the first; */
bool copy_leaves_data(const struct copy_job *job, struct img_extent *extent);
/* let them copy: `length` bytes at `host` of `from`; */
bool copy_offload(struct copy_job *job, struct img *from, uint64_t host, struct img *to, uint64_t to_host,
                  uint64_t length);
/* and the bytes of a span into the buffer after all. */
int copy_fetch(struct copy_worker *worker, const struct copy_window *window, const struct span *span);
/* copy-rebase.c: what of the source's answer *extent at guest offset `inside` may have to be written: HOLE where the
 * target keeps reading the same.  Shortens the extent. */
int copy_settle_rebase(const struct copy_job *job, uint64_t inside, struct img_extent *extent);
/* Units of the window that the target will show anyway become holes. */
int copy_drop_shown(struct copy_worker *worker, const struct copy_window *window);
/* copy-place.c: write the spans of a window to an image, in its turn; where `places`, only the giving out of places. */
int copy_write_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* copy-stream.c: the whole copy into an image that is written in order; a window of it, in its turn. */
int copy_to_stream(const struct img_copy *what, uint64_t *copied, struct img_copy_fault *fault);
int copy_stream_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* copy.c: one pass over the source. */
int copy_run(const struct img_copy *what, enum copy_pass pass, struct img_sink *sink, uint64_t *copied,
             struct img_copy_fault *fault);
/* copy-compress.c: read what the clusters of a window lack, and encode them, into the worker's list. */
int copy_encode_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* The same way as any window's, from the spans on. */
int copy_compress_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans);
/* copy-digest.c: hash a window whose bytes are there, in its turn; what a worker needs for that.  Nothing is done
 * without a digest. */
int copy_digest_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans);
int copy_digest_prepare(struct copy_worker *worker);
void copy_digest_release(struct copy_worker *worker);

#endif
