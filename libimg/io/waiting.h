/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - format drivers read tables without holding the lock of their image.
 *
 * A table may be far away, and only a request that needs it should wait for it.  So map and reserve may release
 * image->lock while a table is read, if they have changed nothing yet.  The state may have changed when the table
 * arrives, so the call returns IMG_LOOK_AGAIN, libimg repeats it, and it finds the table in memory.
 *
 * Two sides must agree.  libimg arms a call with patience (it is 0 in zero, discard, publish and flush, and where only
 * one thread runs).  The driver asks for the table by a function that says so.  Each wait uses up some patience.
 * Without patience tables are read under the lock, so every call ends, however little memory the tables have.
 *
 * A table that is being read has a slot, marked with a struct img_loading.  Other threads that want it wait.  A thread
 * that may not wait takes the slot and reads the table itself; the first reader then sees that its result was dropped.
 */
#ifndef IMG_WAITING_H
#define IMG_WAITING_H

#include "driver.h"

/* Not an errno. */
enum { IMG_LOOK_AGAIN = -4096 };
/* A map continues where it stopped, however many tables it needs; a reserve starts over. */
enum { IMG_MAP_PATIENCE = 2048, IMG_RESERVE_PATIENCE = 32 };

/* A table that is being read, owned by the thread that reads it. */
struct img_loading {
    uint8_t *bytes;
    bool dropped;                   /* its slot was taken */
};

static inline bool img_may_wait(const struct img *image)
{
    return image->patience > 0;
}

/* Release image->lock in an armed call, and take it again.  In between, this call arms no other thread. */
unsigned img_step_out(struct img *image);
void img_step_in(struct img *image, unsigned left);

/* img_pread_padded from `file`, with image->lock released, in an armed call. */
int img_read_aside(struct img *image, struct img *file, void *bytes, uint64_t offset, size_t length);
/* Wait until some table of the image has arrived.  Always returns IMG_LOOK_AGAIN. */
int img_wait_for_table(struct img *image);
/* A table has arrived, or failed: wake the waiters. */
void img_table_arrived(struct img *image);

#endif
