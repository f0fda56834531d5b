/* SPDX-License-Identifier: MIT */
/* random.h - random bytes of the kernel, good enough for keys. */
#ifndef IMG_RANDOM_H
#define IMG_RANDOM_H

#include <stddef.h>

/* 0, or -EIO: there are none, and nothing else would be good enough. */
int img_random(void *to, size_t length);

#endif
