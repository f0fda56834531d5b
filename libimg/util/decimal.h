/* SPDX-License-Identifier: MIT */
/* Decimal numbers, for callers with so many of them that printf is too slow. */
#ifndef IMG_UTIL_DECIMAL_H
#define IMG_UTIL_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum { IMG_DECIMAL_LENGTH = 20 };       /* length of the longest number */

/* Write the digits to `to`, without a NUL; returns their number. */
static inline size_t img_put_decimal(char *to, uint64_t value)
{
    size_t length = 1;

    for (uint64_t rest = value; rest >= 10; rest /= 10)
        length++;
    for (size_t at = length; at > 0; value /= 10)
        to[--at] = (char)('0' + value % 10);
    return length;
}

#endif
