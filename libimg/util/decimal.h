/* SPDX-License-Identifier: MIT */
/* Decimal numbers, for callers with so many of them that printf is too slow. */
#ifndef IMG_UTIL_DECIMAL_H
#define IMG_UTIL_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { IMG_DECIMAL_LENGTH = 20 };       /* length of the longest number */

/* Write the digits to `to`, without a NUL; returns their number. */
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
