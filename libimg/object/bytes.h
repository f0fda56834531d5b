/* SPDX-License-Identifier: MIT */
/* bytes.h - bytes in memory that is wiped when it is freed, and a whole file read into it. */
#ifndef IMG_BYTES_H
#define IMG_BYTES_H

#include "img.h"

/* Initialise with { 0 }. */
struct img_bytes {
    unsigned char *at;              /* followed by a NUL; NULL: nothing was put in yet */
    size_t length, capacity;
};

void img_bytes_wipe(struct img_bytes *bytes);
/* Make room for `capacity` bytes and a NUL. */
int img_bytes_enlarge(struct img_bytes *bytes, size_t capacity, struct img_error *err);
/* Read a file of up to 64 MiB into empty bytes, in qemu-img's words if that fails ("Error reading file “x”: ..."); the
 * caller wipes them in any case. */
int img_bytes_read(struct img_bytes *bytes, const char *name, struct img_error *err);

#endif
