/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - format drivers read tables without holding the lock of their image.
 *
 * A table may be far away, and only a request that needs it should wait for it.  So map and reserve may release
 * image->lock while a table is read, if they have changed nothing yet.  The state may have changed when the table
 * arrives, so the call returns IMG_LOOK_AGAIN, libimg repeats it, and it finds the table in memory.
 *
 * Two have to agree: libimg arms a call with patience (so it is 0 in zero, discard and publish, and where one
 * thread is alone), and the driver asks for the table by a function that says so.  Each wait takes some of the patience.
 * Without any left tables are read under the lock, so every call ends, however small the memory for tables is.
 *
 * The table that is being read has its place, marked with a struct img_loading.  Others that want it wait.  Who may
 * not wait takes the place away and reads for itself; the first reader sees that its result is not wanted any more.
 *
 * A flush is armed as well: it may release the lock while a storage is synced (img_barrier_aside).  Others change tables
 * meanwhile, so what is written behind such a barrier are copies of the tables as they were before it.
 */
#ifndef IMG_WAITING_H
#define IMG_WAITING_H

#include "driver.h"

/* Not an errno. */
enum { IMG_LOOK_AGAIN = -4096 };
/* A map goes on where it was, whatever the number of tables that it looks at; a reserve begins anew. */
enum { IMG_MAP_PATIENCE = 2048, IMG_RESERVE_PATIENCE = 32, IMG_FLUSH_PATIENCE = 1024 };

/* A table that is being read, owned by the thread that reads it. */
struct img_loading {
    uint8_t *bytes;
    bool dropped;                   /* its slot was taken */
};

static inline bool img_may_wait(const struct img *image)
{
    return image->patience > 0;
}

/* What must not be interrupted in an armed call: until img_rearm the lock is held throughout. */
static inline unsigned img_disarm(struct img *image)
{
    unsigned left = image->patience;

    image->patience = 0;
    return left;
}

static inline void img_rearm(struct img *image, unsigned left)
{
    image->patience = left;
}

/* Release image->lock in an armed call, and take it again.  In between, this call arms no other thread. */
unsigned img_step_out(struct img *image);
void img_step_in(struct img *image, unsigned left);

/* img_pread_table from `file`, with image->lock released, in an armed call. */
int img_read_aside(struct img *image, struct img *file, void *bytes, uint64_t offset, size_t length);
/* img_flush of `file`, and img_barrier, in an armed call with image->lock released. */
int img_flush_aside(struct img *image, struct img *file);
int img_barrier_aside(struct img *image);
/* Writes to a storage that have to be durable before something else is written: how many there were, and how many of
 * them are.  Count them in `made`. */
struct img_debt {
    uint64_t made, durable;
};
/* Make all that were made by now durable; nothing to do if they are.  Others may add to them while image->lock is
 * released. */
int img_settle_debt(struct img *image, struct img *file, struct img_debt *debt);
/* Until somebody else has done what only one may do at a time, in an armed call. */
void img_wait_turn(struct img *image);
/* Until some table of the image is there.  Always IMG_LOOK_AGAIN. */
int img_wait_for_table(struct img *image);
/* A table has arrived, or failed: wake the waiters. */
void img_table_arrived(struct img *image);

#endif
