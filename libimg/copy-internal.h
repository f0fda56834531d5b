/* SPDX-License-Identifier: MIT */
/* copy-internal.h - shared by copy.c (cursor, workers, order) and copy-window.c (one window). */
#ifndef IMG_COPY_INTERNAL_H
#define IMG_COPY_INTERNAL_H

#include "copy.h"
#include <pthread.h>

/* One window, or a longer range that needs no data. */
struct copy_window {
    uint64_t offset, length;
    uint64_t sequence;
    bool uniform;                  /* all of it is `first` */
    bool streamed;                 /* the bytes are in the worker's buffer already */
    struct img_extent first;       /* what the cursor knows of its start; length 0: nothing */
};

struct copy_worker {
    struct copy_job *job;
    pthread_t thread;
    unsigned char *buffer;         /* window_size bytes, aligned for O_DIRECT */
    unsigned char *coded;          /* compress: one window of coded clusters */
    bool holds_turn;
};

struct copy_job {
    const struct img_copy *what;
    uint64_t total;                /* 0 while a stream's end is unknown */
    uint64_t window_size;          /* a power of two, a multiple of the target's cluster */
    uint64_t unit;                 /* granularity of zero detection */
    uint64_t write_unit;           /* what the target allocates at once; 1: bytes */

    pthread_mutex_t cursor_lock;   /* position ... stream_end */
    uint64_t position, next_sequence;
    struct img_extent ahead;       /* the last map answer, may reach beyond position */
    bool stream_end;

    pthread_mutex_t turn_lock;     /* turn, done, written, fault, error */
    pthread_cond_t turn_changed;
    uint64_t turn, done, written;
    struct timespec started;
    struct img_copy_fault fault;
    int error;
    bool offload_failed;
};

/* Record the first failure; every later one is dropped. Returns error. */
int copy_fail(struct copy_job *job, enum img_copy_stage stage, uint64_t offset, int error);
/* Wait until the windows before this one are written (in order) or return at once; -ECANCELED after a failure elsewhere. */
int copy_take_turn(struct copy_worker *worker, const struct copy_window *window);
/* The source that holds guest `offset`; *inside is the offset in it, *left the bytes from there to its end. */
struct img *copy_source_at(const struct copy_job *job, uint64_t offset, uint64_t *inside, uint64_t *left);
/* Map the concatenated source at `offset`, at most `length`; extent->offset is in target terms. */
int copy_map(struct copy_job *job, uint64_t offset, uint64_t length, struct img_extent *extent);
/* Wait so that `written` more bytes keep to the rate. */
void copy_account(struct copy_job *job, uint64_t bytes);

/* Do one window: read, detect, encode, take the turn, write. */
int copy_do_window(struct copy_worker *worker, struct copy_window *window);
/* -C: move [offset, +length) with copy_file_range. 1: done; 0: do it by hand. */
int copy_offload(struct copy_job *job, const struct img_extent *extent);

/* coded.c: compressed clusters that were encoded before their turn. */
struct coded_cluster { uint64_t offset; const unsigned char *bytes; size_t length; };
int64_t img_encode_cluster(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
int img_pwrite_coded(struct img *image, const struct coded_cluster *clusters, size_t count);

#endif
