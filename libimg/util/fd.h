/* SPDX-License-Identifier: MIT */
/* Reading and writing an open file at its current position.  Pipes transfer data in pieces, and may be
 * non-blocking. */
#ifndef IMG_UTIL_FD_H
#define IMG_UTIL_FD_H

#include <stdint.h>

struct img_stop;

/* The length read: less than `length` only where the file ends.  A negative errno: -ECANCELED when `stop` (NULL: nobody)
 * was asked while the bytes did not come. */
int64_t img_read_all(int fd, void *bytes, uint64_t length, const struct img_stop *stop);
/* All of it.  0 or a negative errno. */
int img_write_all(int fd, const void *bytes, uint64_t length);

#endif
