/* SPDX-License-Identifier: MIT */
/* waiting.c - releases image->lock while a table is read (see waiting.h). */
#include "waiting.h"
#include "util/checked.h"

/* Whoever takes the lock next is not armed. */
unsigned img_step_out(struct img *image)
{
    unsigned left = image->patience - 1;

    image->patience = 0;
    pthread_mutex_unlock(&image->lock);
    return left;
}

void img_step_in(struct img *image, unsigned left)
{
    pthread_mutex_lock(&image->lock);
    image->patience = left;
}

int img_read_aside(struct img *image, struct img *file, void *bytes, uint64_t offset, size_t length)
{
    unsigned left;
    int ret;

    if (!img_may_wait(image))
        return img_pread_table(image, file, bytes, offset, length);
    left = img_step_out(image);
    ret = img_pread_table(image, file, bytes, offset, length);
    img_step_in(image, left);
    return ret;
}

int img_flush_aside(struct img *image, struct img *file)
{
    unsigned left;
    int ret;

    if (!img_may_wait(image))
        return img_flush(file);
    left = img_step_out(image);
    ret = img_flush(file);
    img_step_in(image, left);
    return ret;
}

int img_settle_debt(struct img *image, struct img *file, struct img_debt *debt)
{
    uint64_t made = debt->made;
    int ret = made == debt->durable ? 0 : img_flush_aside(image, file);

    if (ret == 0)
        debt->durable = img_max(debt->durable, made);
    return ret;
}

int img_barrier_aside(struct img *image)
{
    return img_cache_unsafe(image->cache) ? 0 : img_flush_aside(image, image->file);
}

void img_wait_turn(struct img *image)
{
    unsigned left = image->patience;

    image->patience = 0;
    pthread_cond_wait(&image->table_arrived, &image->lock);
    image->patience = left;
}

int img_wait_for_table(struct img *image)
{
    image->patience--;
    img_wait_turn(image);
    return IMG_LOOK_AGAIN;
}

void img_table_arrived(struct img *image)
{
    pthread_cond_broadcast(&image->table_arrived);
}
