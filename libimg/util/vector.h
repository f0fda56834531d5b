/* SPDX-License-Identifier: MIT */
/*
 * A typed vector: IMG_VECTOR(struct thing) list = {0}; IMG_VECTOR_PUSH(&list, value);
 * list.at[i], list.count; free(list.at).  For lists whose size is already bounded;
 * check a count from a disk before the first push.
 */
#ifndef IMG_UTIL_VECTOR_H
#define IMG_UTIL_VECTOR_H

#include "strbuf.h"

#define IMG_VECTOR(type) struct { type *at; size_t count, capacity; }

#define IMG_VECTOR_PUSH(vector, ...) do { \
    if ((vector)->count == (vector)->capacity) { \
        (vector)->capacity = (vector)->capacity ? (vector)->capacity * 2 : 8; \
        (vector)->at = img_xrealloc((vector)->at, (vector)->capacity * sizeof *(vector)->at); \
    } \
    (vector)->at[(vector)->count++] = (__VA_ARGS__); \
} while (0)

#endif
