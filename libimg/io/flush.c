/* SPDX-License-Identifier: MIT */
/*
 * flush.c - flushes writes to stable storage.
 *
 * A storage counts a write when it is complete, before it is acknowledged.  A flush covers every write counted before
 * the flush began.  A write that runs beside it is counted later, so the next flush does not skip it.  Flushes of one
 * storage run one at a time; one that waited may find its writes already flushed.
 */
#include "io.h"
#include "node/trace.h"
#include "waiting.h"
#include "util/cleanup.h"

void img_written(struct img *image)
{
    __atomic_add_fetch(&img_node_of(image)->written, 1, __ATOMIC_RELEASE);
}

static uint64_t writes_of(const struct img_node *node)
{
    return __atomic_load_n(&node->written, __ATOMIC_ACQUIRE);
}

/* A failed flush may have lost writes, so every later flush must fail too. */
static int flush_storage(struct img *image)
{
    struct img_node *node = img_node_of(image);
    uint64_t asked = writes_of(node), covered;
    int ret;

    LOCK_SCOPE(&node->flush_lock);
    if (node->flush_error)
        return node->flush_error;
    covered = writes_of(node);
    if (node->flushed >= asked || !image->driver->flush)
        return 0;
    ret = image->driver->flush(image);
    if (ret < 0)
        node->flush_error = ret;
    else
        node->flushed = covered;
    return ret;
}

static int flush_node(struct img *image)
{
    IMG_TRACE(flush, image, 0, 0);
    if (img_is_storage(image))
        return img_cache_unsafe(image->cache) ? 0 : flush_storage(image);
    if (!image->driver->flush)
        return 0;
    if (image->driver->kind == IMG_FILTER)
        return image->driver->flush(image);
    pthread_mutex_lock(&image->lock);
    image->patience = IMG_FLUSH_PATIENCE;
    int ret = image->driver->flush(image);
    image->patience = 0;
    pthread_mutex_unlock(&image->lock);
    return ret;
}

int img_flush(struct img *image)
{
    struct img *child;
    const char *name;
    int ret;

    if (!(image->flags & IMG_RDWR))
        return 0;
    if (image->file)
        IMG_EVENT(image->file, flush_to_os);
    ret = flush_node(image);
    if (image->file)
        IMG_EVENT(image->file, flush_to_disk);
    for (size_t i = 0; ret == 0 && (child = img_child_at(image, i, &name)); i++)
        ret = child == image->backing ? 0 : img_flush(child);
    return ret;
}

int img_barrier(struct img *image)
{
    return img_cache_unsafe(image->cache) ? 0 : img_flush(image->file);
}
