/* SPDX-License-Identifier: MIT */
/*
 * Temporary memory for a call on the data path.
 *
 * A C library may map a large buffer for each malloc() and unmap it for each free() (musl does): that costs a page
 * fault for each page of each cluster, and threads block each other.  So each thread keeps its released buffers for
 * reuse.  They are freed when the thread ends.
 */
#ifndef IMG_UTIL_SCRATCH_H
#define IMG_UTIL_SCRATCH_H

#include <stddef.h>

/* Suitable for O_DIRECT. */
enum { IMG_SCRATCH_ALIGNMENT = 4096 };

/* Get `size` bytes with undefined content, or NULL if there is no memory.  The same thread must release them. */
void *img_scratch_get(size_t size);
void *img_scratch_get_zeroed(size_t size);
/* Release, in any order; NULL is allowed. */
void img_scratch_put(void *bytes);

static inline void img_cleanup_scratch(void *pointer)
{
    img_scratch_put(*(void **)pointer);
}

/* CLEANUP_SCRATCH char *p = img_scratch_get(n); is released when p goes out of scope. */
#define CLEANUP_SCRATCH __attribute__((cleanup(img_cleanup_scratch)))

#endif
