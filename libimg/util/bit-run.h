/* SPDX-License-Identifier: MIT */
/* Runs of equal bits, in bitmaps of sectors. */
#ifndef IMG_UTIL_BIT_RUN_H
#define IMG_UTIL_BIT_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* Is bit `index` set?  `high_first`: bit 0 is the highest of the first byte; else the lowest. */
static inline bool img_bit_get(const uint8_t *bits, uint64_t index, bool high_first)
{
    return bits[index / 8] >> (high_first ? 7 - index % 8 : index % 8) & 1;
}

/* How many bits from `from` on, which is before `end`, are the same as it? */
static inline uint64_t img_bit_run(const uint8_t *bits, uint64_t from, uint64_t end, bool high_first)
{
    bool first = img_bit_get(bits, from, high_first);
    uint8_t whole = first ? 0xff : 0;
    uint64_t at = from + 1;

    while (at < end) {
        if (at % 8 == 0 && at + 8 <= end && bits[at / 8] == whole)
            at += 8;
        else if (img_bit_get(bits, at, high_first) == first)
            at++;
        else
            break;
    }
    return at - from;
}

#endif
