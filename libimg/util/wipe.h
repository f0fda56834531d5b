/* SPDX-License-Identifier: MIT */
/* wipe.h - clears memory, so that its next user does not find the content. */
#ifndef IMG_WIPE_H
#define IMG_WIPE_H

#include <stddef.h>

/* Write zeroes that the compiler does not optimise away. */
static inline void img_wipe(void *at, size_t length)
{
    for (volatile unsigned char *byte = at; length > 0; length--)
        *byte++ = 0;
}

#endif
