/* SPDX-License-Identifier: MIT */
/* equal.c - whether two buffers hold the same.  A C library may compare a byte at a time (musl does). */
#include "img.h"
#include <string.h>

enum { STEP = 64 };

static uint64_t word_difference(const unsigned char *a, const unsigned char *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}

static uint64_t step_difference(const unsigned char *a, const unsigned char *b)
{
    return word_difference(a, b) | word_difference(a + 8, b + 8) | word_difference(a + 16, b + 16) |
           word_difference(a + 24, b + 24) | word_difference(a + 32, b + 32) | word_difference(a + 40, b + 40) |
           word_difference(a + 48, b + 48) | word_difference(a + 56, b + 56);
}

bool img_is_equal(const void *first, const void *second, size_t length)
{
    const unsigned char *a = first, *b = second;

    for (; length >= STEP; length -= STEP, a += STEP, b += STEP)
        if (step_difference(a, b))
            return false;
    for (; length > 0; length--)
        if (*a++ != *b++)
            return false;
    return true;
}
