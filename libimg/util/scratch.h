/* SPDX-License-Identifier: MIT */
/*
 * Memory for the time of a call, on the way of the bytes.
 *
 * A C library may map a large buffer anew for each malloc() and unmap it for each free() (musl does): a page fault
 * for each page of each cluster, and threads that stop each other.  So each thread keeps the buffers that
 * it has given back, and takes them again.  They are freed when the thread ends.
 */
#ifndef IMG_UTIL_SCRATCH_H
#define IMG_UTIL_SCRATCH_H

#include <stddef.h>

/* Fit for O_DIRECT. */
enum { IMG_SCRATCH_ALIGNMENT = 4096 };

/* `size` bytes with any content, or NULL where there is no memory.  The same thread gives them back. */
void *img_scratch_get(size_t size);
void *img_scratch_get_zeroed(size_t size);
/* Give back, in any order; NULL is allowed. */
void img_scratch_put(void *bytes);

static inline void img_cleanup_scratch(void *pointer)
{
    img_scratch_put(*(void **)pointer);
}

/* CLEANUP_SCRATCH char *p = img_scratch_get(n); is given back when p goes out of scope. */
#define CLEANUP_SCRATCH __attribute__((cleanup(img_cleanup_scratch)))

#endif
