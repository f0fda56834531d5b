/* SPDX-License-Identifier: MIT */
/* Numbers in decimal, where there are so many of them that printf is felt. */
#ifndef IMG_UTIL_DECIMAL_H
#define IMG_UTIL_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { IMG_DECIMAL_LENGTH = 20 };       /* bytes that the longest takes */

/* The digits at `to`, without a NUL; how many. */
static inline size_t img_put_decimal(char *to, uint64_t value)
{
    char digits[IMG_DECIMAL_LENGTH];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
    } while ((value /= 10) != 0);
    memcpy(to, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

#endif
