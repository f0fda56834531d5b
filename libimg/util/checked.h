/* SPDX-License-Identifier: MIT */
/* Arithmetic on numbers from a disk; true: the result fits. */
#ifndef IMG_UTIL_CHECKED_H
#define IMG_UTIL_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool img_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool img_mul(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* Is [offset, offset+length) within [0, limit)? */
static inline bool img_within(uint64_t offset, uint64_t length, uint64_t limit)
{
    return offset <= limit && length <= limit - offset;
}

/* `unit` is a power of two. */
static inline uint64_t img_align_down(uint64_t value, uint64_t unit)
{
    return value & ~(unit - 1);
}

/* Round up to a multiple of a power of two; saturates at the largest multiple. */
static inline uint64_t img_align_up(uint64_t value, uint64_t unit)
{
    uint64_t sum;
    return img_add(value, unit - 1, &sum) ? sum & ~(unit - 1) : ~(unit - 1);
}

static inline bool img_aligned(uint64_t value, uint64_t unit)
{
    return (value & (unit - 1)) == 0;
}

static inline uint64_t img_div_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

static inline bool img_power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

static inline uint64_t img_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t img_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
