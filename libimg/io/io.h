/* SPDX-License-Identifier: MIT */
/* io.h - the bytes of nodes, as the rooms above this one and its own files see it. */
#ifndef IMG_IO_H
#define IMG_IO_H

#include "node/node.h"

/* io.c -------------------------------------------------------------------- */

/* What writes into one unit of the guest disk exclude each other; 1: bytes. */
uint64_t img_lock_unit(const struct img *image);
/*
 * Keep everybody else from writing into the units that a range touches, and from reading them.  Until they are released
 * the thread itself writes with the calls below that say "held", and with no other.
 */
void img_hold_units(struct img *image, struct img_range *range, uint64_t offset, uint64_t length);
void img_release_units(struct img *image, struct img_range *range);
int img_pwrite_held(struct img *image, const void *bytes, uint64_t offset, size_t length);
int img_zero_held(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
/*
 * Let a storage copy to another one of its kind; with `share` only by sharing blocks, which moves no bytes.  A negative
 * errno when it can't: then what it has done of it is harmless.  -ENOTSUP: it is not worth another try.
 */
int img_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                   bool share);
/* A storage has been changed, or perhaps a part of it: the next flush is to cover that. */
void img_written(struct img *image);
/* May that range be written, zeroed or discarded?  0 or a negative errno. */
int img_check_writable(const struct img *image, uint64_t offset, uint64_t length);
/* Link the bytes of a reservation in, or where they could not be written (`error`, which is returned then) give their
 * place back.  Under image->lock. */
int img_settle(struct img *image, struct img_reservation *at, int error);

/*
 * A write in two steps, for images where img_places.  img_place finds room for a prefix of the range
 * (at->length tells how much); img_fill puts the bytes there (NULL: they are there already) and links them in, or with
 * an error gives the place back and returns that.  The units are held from before the one until after the other.
 */
bool img_places(const struct img *image);
int img_place(struct img *image, uint64_t offset, size_t length, struct img_reservation *at);
int img_fill(struct img *image, struct img_reservation *at, const void *buffer, int error);

/* coded.c: compressed clusters that were encoded before their turn. */
struct coded_cluster { uint64_t offset; const unsigned char *bytes; size_t length; };
/* coded.c: the room that a coded cluster may take. */
size_t img_coded_bound(const struct img *image);
int64_t img_encode_cluster(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
int img_pwrite_coded(struct img *image, const struct coded_cluster *clusters, size_t count);

/* map.c ------------------------------------------------------------------- */

/* Down the chain to the first layer that has an answer, like img_map_chain without a look into the storage. */
int img_find_layer(struct img *image, struct img *base, uint64_t offset, uint64_t length,
                   struct img_extent *extent);

/* decoded.c --------------------------------------------------------------- */

struct img_decoded *img_decoded_new(void);
void img_decoded_free(struct img_decoded *cache);
/* Read `length` bytes from guest `offset` behind the CODED `extent` of `image`. */
int img_decoded_read(struct img *image, const struct img_extent *extent, void *buffer, uint64_t offset, size_t length);
/* The guest range is written to: what was decoded of it is stale. */
void img_decoded_forget(struct img *image, uint64_t offset, uint64_t length);

#endif
