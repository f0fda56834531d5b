/* SPDX-License-Identifier: MIT */
/* hex.h - hexadecimal digits.  Thread-safe. */
#ifndef IMG_HEX_H
#define IMG_HEX_H

/* The value of a digit of either case; -1: it is none. */
static inline int img_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
