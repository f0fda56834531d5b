/* SPDX-License-Identifier: MIT */
/* equal.c - whether two buffers hold the same.  glibc compares with the widest registers of the CPU, musl a byte at a
 * time: elsewhere than with glibc the comparison is our own. */
#include "img.h"
#include <string.h>

#ifdef __GLIBC__
bool img_is_equal(const void *first, const void *second, size_t length)
{
    return memcmp(first, second, length) == 0;
}
#else

typedef uint64_t vector __attribute__((vector_size(16)));
enum { VECTOR = sizeof(vector), STEP = 4 * VECTOR };

static vector difference(const unsigned char *a, const unsigned char *b)
{
    vector x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}

static bool step_differs(const unsigned char *a, const unsigned char *b)
{
    vector all = (difference(a, b) | difference(a + VECTOR, b + VECTOR)) |
                 (difference(a + 2 * VECTOR, b + 2 * VECTOR) | difference(a + 3 * VECTOR, b + 3 * VECTOR));

    return (all[0] | all[1]) != 0;
}

bool img_is_equal(const void *first, const void *second, size_t length)
{
    const unsigned char *a = first, *b = second;

    for (; length >= STEP; length -= STEP, a += STEP, b += STEP)
        if (step_differs(a, b))
            return false;
    for (; length > 0; length--)
        if (*a++ != *b++)
            return false;
    return true;
}
#endif
