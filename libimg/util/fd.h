/* SPDX-License-Identifier: MIT */
/* Reading and writing an open file at its current position.  Pipes transfer data in pieces, and may be
 * non-blocking. */
#ifndef IMG_UTIL_FD_H
#define IMG_UTIL_FD_H

#include <stdint.h>

struct img_stop;

/* The open descriptor that a name means: "/dev/stdin", "/dev/fd/5", "/proc/self/fd/5".  -1: the name means none. */
int img_fd_of_name(const char *name);
/* Returns the length read, which is less than `length` only at end of file, or a negative errno: -ECANCELED if
 * `stop` (NULL: none) was requested while waiting. */
int64_t img_read_all(int fd, void *bytes, uint64_t length, const struct img_stop *stop);
/*
 * Wait until `events` (POLLIN, POLLOUT) are possible, at most until `deadline` (milliseconds of util/clock.h; 0: for
 * ever); fd -1: only wait.  -ETIMEDOUT, or -ECANCELED: the descriptor `stop` (-1: none) is readable.
 */
int img_fd_wait(int fd, short events, uint64_t deadline, int stop);
/* Write all of it.  Returns 0 or a negative errno. */
int img_write_all(int fd, const void *bytes, uint64_t length);
/* Bytes that this process may still write to the file system; -1: it does not say. */
int64_t img_free_space(int fd);

#endif
