/* SPDX-License-Identifier: MIT */
/*
 * request.h - the only way to a driver with bytes (a storage or a filter).
 *
 * Callers pass any range and any memory.  The driver gets requests within the limits of its node: offsets and lengths
 * are multiples of request_alignment, buffers are aligned to memory_alignment, and no request is longer than
 * max_transfer (max_write_zeroes, max_discard).  A partly written block is read, merged and written back under a lock
 * on that block.  Thread-safe.  The functions return 0 or a negative errno.
 */
#ifndef IMG_REQUEST_H
#define IMG_REQUEST_H

#include "node/node.h"

/* Read bytes of the node; beyond the end of a storage they are zero. */
int img_request_read(struct img *image, void *buffer, uint64_t offset, size_t length);
/* flags: IMG_WRITE_FUA */
int img_request_write(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);
/*
 * flags: IMG_ZERO_...  Returns -ENOTSUP if zeroes cannot be made without writing them, perhaps after a part was done.
 */
int img_request_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
/* Advisory: partial blocks are kept. */
int img_request_discard(struct img *image, uint64_t offset, uint64_t length);
/* Map whole blocks. */
int img_request_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

#endif
