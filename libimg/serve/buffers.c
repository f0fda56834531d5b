/* SPDX-License-Identifier: MIT */
/* buffers.c - memory for payloads.  It is kept and used again, and bounded for each client. */
#include "internal.h"
#include "util/checked.h"
#include "util/cleanup.h"

#include <sys/mman.h>

enum { LEAST = 256 << 10, ALIGNMENT = 4096 };

void serve_buffers_open(struct serve_buffers *buffers)
{
    *buffers = (struct serve_buffers){ .total = 0 };
    pthread_mutex_init(&buffers->lock, NULL);
    pthread_cond_init(&buffers->returned, NULL);
}

static void drop(struct serve_buffers *buffers, unsigned index)
{
    struct serve_buffer *buffer = &buffers->free[index];

    munmap(buffer->bytes, buffer->capacity);
    buffers->total -= buffer->capacity;
    buffers->free_count--;
    memmove(buffer, buffer + 1, (buffers->free_count - index) * sizeof *buffer);
}

void serve_buffers_close(struct serve_buffers *buffers)
{
    while (buffers->free_count)
        drop(buffers, 0);
    pthread_cond_destroy(&buffers->returned);
    pthread_mutex_destroy(&buffers->lock);
}

static bool reuse(struct serve_buffers *buffers, size_t size, struct serve_buffer *buffer)
{
    for (unsigned i = buffers->free_count; i-- > 0; ) {
        if (buffers->free[i].capacity < size)
            continue;
        *buffer = buffers->free[i];
        buffers->free_count--;
        memmove(&buffers->free[i], &buffers->free[i + 1], (buffers->free_count - i) * sizeof *buffer);
        return true;
    }
    return false;
}

int serve_buffer_take(struct serve_buffers *buffers, size_t size, struct serve_buffer *buffer)
{
    LOCK_SCOPE(&buffers->lock);
    size_t capacity = LEAST;

    while (capacity < size)
        capacity *= 2;
    while (!reuse(buffers, size, buffer)) {
        if (buffers->total + capacity <= SERVE_MEMORY) {
            void *bytes = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (bytes == MAP_FAILED)
                return -ENOMEM;
            buffers->total += capacity;
            *buffer = (struct serve_buffer){ .bytes = bytes, .capacity = capacity };
            return 0;
        }
        if (buffers->free_count)
            drop(buffers, 0);
        else
            pthread_cond_wait(&buffers->returned, &buffers->lock);
    }
    return 0;
}

void serve_buffer_return(struct serve_buffers *buffers, struct serve_buffer *buffer)
{
    LOCK_SCOPE(&buffers->lock);

    if (!buffer->bytes)
        return;
    /* There may be more buffers than threads, as some were too small. */
    if (buffers->free_count == SERVE_WORKERS)
        drop(buffers, 0);
    buffers->free[buffers->free_count++] = *buffer;
    buffer->bytes = NULL;
    pthread_cond_signal(&buffers->returned);
}
