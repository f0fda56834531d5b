/* SPDX-License-Identifier: MIT */
/* Reading and writing an open file at its current position.  Pipes transfer data in pieces, and may be
 * non-blocking. */
#ifndef IMG_UTIL_FD_H
#define IMG_UTIL_FD_H

#include <stdint.h>

/* Returns the length read, less than `length` only at the end of the file, or a negative errno. */
int64_t img_read_all(int fd, void *bytes, uint64_t length);
/* Write everything.  Returns 0 or a negative errno. */
int img_write_all(int fd, const void *bytes, uint64_t length);

#endif
