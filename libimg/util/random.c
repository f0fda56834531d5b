/* SPDX-License-Identifier: MIT */
/* random.c - see random.h. */
#include "random.h"
#include <errno.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

enum { AT_ONCE = 256 };         /* the most that getentropy gives */

int img_random(void *to, size_t length)
{
    char *at = to;

    while (length > 0) {
        size_t part = length < AT_ONCE ? length : AT_ONCE;
        if (getentropy(at, part) < 0)
            return -EIO;
        at += part;
        length -= part;
    }
    return 0;
}
