/* SPDX-License-Identifier: MIT */
/* io.h - reading and writing nodes, for this room and the rooms above it. */
#ifndef IMG_IO_H
#define IMG_IO_H

#include "node/node.h"

/* io.c -------------------------------------------------------------------- */

/* Writes within one unit of the guest disk exclude each other; 1: there are no units. */
uint64_t img_lock_unit(const struct img *image);
/*
 * Keep other threads from reading and writing the units that a range touches.  Until the units are released, this
 * thread may write only with the "held" calls below.
 */
void img_hold_units(struct img *image, struct img_range *range, uint64_t offset, uint64_t length);
void img_release_units(struct img *image, struct img_range *range);
int img_pwrite_held(struct img *image, const void *bytes, uint64_t offset, size_t length);
int img_zero_held(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
/*
 * Let a storage copy to another one of its kind.  With `share`, only share blocks, and move no bytes.  Returns a
 * negative errno if it cannot; a partial copy is harmless then.  -ENOTSUP: do not try again.
 */
int img_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                   bool share);
/* A storage has been changed, perhaps only in part: the next flush must cover that. */
void img_written(struct img *image);
/* May this range be written, zeroed or discarded?  Returns 0 or a negative errno. */
int img_check_writable(const struct img *image, uint64_t offset, uint64_t length);
/* Publish a reservation; if writing its bytes failed with `error`, cancel it and return `error`.  The caller holds
 * image->lock. */
int img_settle(struct img *image, struct img_reservation *at, int error);

/*
 * A write in two steps, for images where img_places.  img_place reserves space for a prefix of the range, of at->length
 * bytes.  img_fill writes the bytes (NULL: they are already there) and publishes them; given an error, it cancels the
 * reservation and returns the error.  Hold the units across both calls.
 */
bool img_places(const struct img *image);
int img_place(struct img *image, uint64_t offset, size_t length, struct img_reservation *at);
int img_fill(struct img *image, struct img_reservation *at, const void *buffer, int error);

/* coded.c: a compressed cluster, encoded ahead of its turn. */
struct coded_cluster { uint64_t offset; const unsigned char *bytes; size_t length; };
/* coded.c: largest size of a coded cluster. */
size_t img_coded_bound(const struct img *image);
int64_t img_encode_cluster(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
int img_pwrite_coded(struct img *image, const struct coded_cluster *clusters, size_t count);

/* missing.c ----------------------------------------------------------------- */

/* How many bytes of the DATA from `offset` on are in the storage, or may be read as zeroes behind its end. */
uint64_t img_extent_there(const struct img_extent *extent, uint64_t offset, uint64_t length);
/* The same for the coded bytes of a whole CODED extent. */
uint64_t img_coded_there(const struct img_extent *extent);
/* Note that the bytes of an extent are missing.  Returns -IMG_ETRUNCATED. */
int img_extent_lacks(const struct img_extent *extent);

/* map.c ------------------------------------------------------------------- */

/* Go down the chain to the first layer that has an answer, like img_map_chain, but without asking the storage. */
int img_find_layer(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                   struct img_extent *extent);

/* decoded.c --------------------------------------------------------------- */

struct img_decoded *img_decoded_new(void);
void img_decoded_free(struct img_decoded *cache);
/* Read `length` bytes at guest `offset` through the CODED `extent` of `image`. */
int img_decoded_read(struct img *image, const struct img_extent *extent, void *buffer, uint64_t offset, size_t length);
/* The guest range is being written: its decoded bytes are stale. */
void img_decoded_forget(struct img *image, uint64_t offset, uint64_t length);

#endif
