/* SPDX-License-Identifier: MIT */
/*
 * A preloaded library that refuses memory: the allocation number NO_MEMORY_AT of the process (1 is the first), with
 * NO_MEMORY_FROM=1 all from that one on.  NO_MEMORY_COUNT: a file that gets the number of allocations.
 * The C library's own strdup, fopen and so on call the functions below too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static unsigned long asked, refused;
static bool from;

__attribute__((constructor))
static void prepare(void)
{
    const char *at = getenv("NO_MEMORY_AT");

    asked = 0;
    from = getenv("NO_MEMORY_FROM") != NULL;
    refused = at ? strtoul(at, NULL, 10) : 0;
}

__attribute__((destructor))
static void tell(void)
{
    const char *name = getenv("NO_MEMORY_COUNT");
    int fd = name ? open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;

    if (fd >= 0)
        dprintf(fd, "%lu\n", asked);
}

static bool refuse(void)
{
    unsigned long number = __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);

    if (!refused || !(from ? number >= refused : number == refused))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return refuse() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return refuse() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *found = refuse() ? NULL : __libc_memalign(alignment, size);

    if (found)
        *memory = found;
    return found ? 0 : ENOMEM;
}
