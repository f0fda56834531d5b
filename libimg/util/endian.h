/* SPDX-License-Identifier: MIT */
/* Numbers in a given byte order, at any alignment. */
#ifndef IMG_UTIL_ENDIAN_H
#define IMG_UTIL_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IMG_BE16(x) __builtin_bswap16(x)
#define IMG_BE32(x) __builtin_bswap32(x)
#define IMG_BE64(x) __builtin_bswap64(x)
#define IMG_LE16(x) ((uint16_t)(x))
#define IMG_LE32(x) ((uint32_t)(x))
#define IMG_LE64(x) ((uint64_t)(x))
#else
#define IMG_BE16(x) ((uint16_t)(x))
#define IMG_BE32(x) ((uint32_t)(x))
#define IMG_BE64(x) ((uint64_t)(x))
#define IMG_LE16(x) __builtin_bswap16(x)
#define IMG_LE32(x) __builtin_bswap32(x)
#define IMG_LE64(x) __builtin_bswap64(x)
#endif

#define IMG_ENDIAN_PAIR(order, bits, convert) \
    static inline uint##bits##_t img_get_##order##bits(const void *from) \
    { \
        uint##bits##_t raw; \
        memcpy(&raw, from, sizeof raw); \
        return convert(raw); \
    } \
    static inline void img_put_##order##bits(void *to, uint##bits##_t value) \
    { \
        uint##bits##_t raw = convert(value); \
        memcpy(to, &raw, sizeof raw); \
    }

IMG_ENDIAN_PAIR(be, 16, IMG_BE16)
IMG_ENDIAN_PAIR(be, 32, IMG_BE32)
IMG_ENDIAN_PAIR(be, 64, IMG_BE64)
IMG_ENDIAN_PAIR(le, 16, IMG_LE16)
IMG_ENDIAN_PAIR(le, 32, IMG_LE32)
IMG_ENDIAN_PAIR(le, 64, IMG_LE64)

#endif
