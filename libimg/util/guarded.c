/* SPDX-License-Identifier: MIT */
/* guarded.c - memory for secrets (see guarded.h). */
#include "guarded.h"
#include "wipe.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t whole_pages(size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return length > SIZE_MAX - page ? SIZE_MAX : length ? (length + page - 1) / page * page : page;
}

void *img_guarded_new(size_t length)
{
    size_t whole = whole_pages(length);
    void *at = whole < SIZE_MAX ? aligned_alloc((size_t)sysconf(_SC_PAGESIZE), whole) : NULL;

    if (!at)
        return NULL;
    /* (a kernel that does not know it dumps them) */
    madvise(at, whole, MADV_DONTDUMP);
    memset(at, 0, whole);
    return at;
}

void img_guarded_free(void *at, size_t length)
{
    if (!at)
        return;
    img_wipe(at, length);
    madvise(at, whole_pages(length), MADV_DODUMP);
    free(at);
}
