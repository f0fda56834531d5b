/* SPDX-License-Identifier: MIT */
/*
 * A typed vector: IMG_VECTOR(struct thing) list = {0}; if (!IMG_VECTOR_PUSH(&list, value)) return -ENOMEM;
 * list.at[i], list.count; free(list.at).  For lists whose size is already bounded;
 * check a count from a disk before the first push.  A list that could not grow is as it was.
 */
#ifndef IMG_UTIL_VECTOR_H
#define IMG_UTIL_VECTOR_H

#include "strbuf.h"

#define IMG_VECTOR(type) struct { type *at; size_t count, capacity; }

/* Twice as much room, or what there was. */
static inline void *img_vector_grown(void *at, size_t *capacity, size_t size)
{
    size_t more = *capacity ? *capacity * 2 : 8;
    void *grown = img_realloc(at, more * size);

    if (grown)
        *capacity = more;
    return grown ? grown : at;
}

__attribute__((warn_unused_result))
static inline bool img_vector_pushed(bool pushed)
{
    return pushed;
}

/* False: out of memory. */
#define IMG_VECTOR_PUSH(vector, ...) img_vector_pushed( \
    ((vector)->count < (vector)->capacity || \
     ((vector)->at = img_vector_grown((vector)->at, &(vector)->capacity, sizeof *(vector)->at), \
      (vector)->count < (vector)->capacity)) && \
    ((vector)->at[(vector)->count++] = (__VA_ARGS__), true))

#endif
