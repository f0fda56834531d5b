/* SPDX-License-Identifier: MIT */
/*
 * space.c - allocates payload blocks.
 *
 * A fixed image has space for all of its blocks, even if none is allocated yet, and a killed process leaks space.  A
 * bitmap of the MiB in use, built from the BAT when the image is opened for writing, finds both.  It is searched
 * upwards once, starting after the regions; after that the file grows.
 */
#include "vhdx.h"

enum { AFTER_REGIONS = 4 << 20 };           /* free by convention; qemu-img does not use it either */
#define MAX_MAPPED (1ull << 27)             /* MiB */

static uint64_t regions_end(const struct vhdx *s)
{
    uint64_t end = 0;

    for (size_t i = 0; i < s->regions.count; i++)
        end = img_max(end, s->regions.at[i].end);
    return end;
}

void vhdx_space_take(struct vhdx *s, uint64_t start, uint64_t length)
{
    uint64_t end = img_min(img_div_up(start + length, VHDX_MIB), s->used_count);

    if (!s->used)
        return;
    for (uint64_t i = start / VHDX_MIB; i < end; i++)
        s->used[i / 8] |= (uint8_t)(1u << i % 8);
}

/* The BAT has not been read yet. */
int vhdx_space_init(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t first = img_align_up(regions_end(s), VHDX_MIB);

    s->used_count = s->file_end / VHDX_MIB;
    s->next_free = img_min(first + AFTER_REGIONS, s->file_end) / VHDX_MIB;
    if (first > s->file_end || s->used_count > MAX_MAPPED) {
        s->next_free = s->used_count;
        return 0;
    }
    s->used = calloc((size_t)s->used_count / 8 + 1, 1);
    return s->used ? 0 : -ENOMEM;
}

/* The first run of free MiB of that length, at or after next_free; 0: none. */
static uint64_t find_run(struct vhdx *s, uint64_t count)
{
    uint64_t run = 0;

    if (!s->used)
        return 0;
    for (uint64_t i = s->next_free; i < s->used_count; i++) {
        run = s->used[i / 8] >> i % 8 & 1 ? 0 : run + 1;
        if (run == count)
            return i + 1 - count;
    }
    return 0;
}

/* Reuse old space, whose content is undefined. */
static int take_old(struct img *image, uint64_t start, uint64_t *host)
{
    struct vhdx *s = vhdx_state(image);
    int ret = img_zero(image->file, start * VHDX_MIB, s->block_size, IMG_ZERO_MAY_UNMAP);

    if (ret < 0)
        return ret;
    s->next_free = start + s->block_size / VHDX_MIB;
    *host = start * VHDX_MIB;
    return 0;
}

static int grow(struct img *image, uint64_t *host)
{
    struct vhdx *s = vhdx_state(image);
    struct img_error err = IMG_ERROR_INIT;
    uint64_t start = img_align_up(img_max(img_size(image->file), regions_end(s)), VHDX_MIB);

    if (!vhdx_host_good(s, start))
        return -EFBIG;
    /* Nobody writes beyond the end of the last block, so this truncates nothing. */
    int ret = img_resize_file(image->file, start + s->block_size, NULL, &err);
    img_error_clear(&err);
    if (ret == 0) {
        s->file_end = start + s->block_size;
        *host = start;
    }
    return ret;
}

int vhdx_allocate(struct img *image, uint64_t *host)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t start = find_run(s, s->block_size / VHDX_MIB);

    IMG_EVENT(image->file, cluster_alloc);
    if (start)
        return take_old(image, start, host);
    free(s->used);
    s->used = NULL;
    return grow(image, host);
}
