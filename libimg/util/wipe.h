/* SPDX-License-Identifier: MIT */
/* wipe.h - memory that is not to be found by who gets it next. */
#ifndef IMG_WIPE_H
#define IMG_WIPE_H

#include <stddef.h>

/* Zeroes that the compiler does not leave out, though nobody reads them. */
static inline void img_wipe(void *at, size_t length)
{
    for (volatile unsigned char *byte = at; length > 0; length--)
        *byte++ = 0;
}

#endif
