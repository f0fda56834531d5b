/* SPDX-License-Identifier: MIT */
/*
 * request.h - the one way to a driver that has bytes: a storage, a filter.
 *
 * Callers ask for any range from any memory.  The driver is asked within the limits of its node: offsets and lengths
 * are multiples of request_alignment, buffers of memory_alignment, and no request is longer than max_transfer
 * (max_write_zeroes, max_discard).  A block of which only a part is written is read, merged and written back under a lock
 * on that block.  Any thread.  0 or a negative errno.
 */
#ifndef IMG_REQUEST_H
#define IMG_REQUEST_H

#include "node/node.h"

/* Bytes of the node, wherever they end: behind the end of a storage there are zeroes. */
int img_request_read(struct img *image, void *buffer, uint64_t offset, size_t length);
/* flags: IMG_WRITE_FUA */
int img_request_write(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);
/* flags: IMG_ZERO_...  -ENOTSUP where zeroes cannot be made without writing them, also with some of it done. */
int img_request_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
/* Advice: what is no whole block stays. */
int img_request_discard(struct img *image, uint64_t offset, uint64_t length);
/* What is where, in whole blocks. */
int img_request_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

#endif
