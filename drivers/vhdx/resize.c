/* SPDX-License-Identifier: MIT */
/*
 * resize.c - a larger disk.  [MS-VHDX] 2.2.3 "Region Table", 2.5 "BAT", 2.6.2.2 "Virtual Disk Size".
 *
 * A BAT that is too short is copied behind everything else, and both copies of the region table name the new one, one
 * after the other.  Then entries of the new blocks are written, and last the size, through the log: so a killed process
 * leaves the old size or the new one.
 */
#include "vhdx.h"

/* What is behind the end of the disk in its last block must not appear. */
static int clear_tail(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t inside = s->disk_size & (s->block_size - 1), entry;
    int ret = inside ? vhdx_bat_get(image, s->disk_size >> s->block_bits, &entry) : 0;

    if (ret < 0 || !inside || (entry & VHDX_STATE_MASK) != VHDX_PRESENT ||
        !vhdx_host_good(s, entry & VHDX_OFFSET_MASK))
        return ret;
    return img_zero(image->file, (entry & VHDX_OFFSET_MASK) + inside, s->block_size - inside, IMG_ZERO_MAY_UNMAP);
}

/* ---- A longer BAT ------------------------------------------------------------------- */

static int copy_bat(struct img *image, uint64_t to)
{
    struct vhdx *s = vhdx_state(image);
    CLEANUP_FREE uint8_t *bytes = malloc(VHDX_PIECE);
    uint64_t length = s->entries * 8;
    int ret = bytes ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < length && ret == 0; at += VHDX_PIECE) {
        size_t part = (size_t)img_min(length - at, VHDX_PIECE);
        ret = vhdx_read(image, bytes, s->bat_offset + at, part);
        if (ret == 0)
            ret = img_pwrite(image->file, bytes, to + at, part);
    }
    return ret < 0 ? ret : img_barrier(image);
}

static void move_region(struct vhdx_range *ranges, size_t count, uint64_t from, uint64_t to, uint64_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].start == from)
            ranges[i] = (struct vhdx_range){ to, to + length };
    }
}

static int move_bat(struct img *image, uint64_t length)
{
    struct vhdx *s = vhdx_state(image);
    struct img_error ignored = IMG_ERROR_INIT;
    uint64_t start = img_align_up(img_size(image->file), VHDX_MIB);
    int ret;

    for (size_t i = 0; i < s->regions.count; i++)
        start = img_max(start, img_align_up(s->regions.at[i].end, VHDX_MIB));
    if (length > UINT32_MAX || !img_within(start, length, INT64_MAX))
        return -EFBIG;
    ret = img_resize_file(image->file, start + length, NULL, &ignored);
    img_error_clear(&ignored);
    if (ret == 0)
        ret = copy_bat(image, start);
    if (ret == 0)
        ret = vhdx_name_bat(image, start, (uint32_t)length);
    if (ret < 0)
        return ret;
    move_region(s->regions.at, s->regions.count, s->bat_offset, start, length);
    /* The last of them in the file. */
    for (size_t i = 0; i + 1 < s->regions.count; i++) {
        if (s->sorted[i].start == s->bat_offset) {
            memmove(&s->sorted[i], &s->sorted[i + 1], (s->regions.count - i - 1) * sizeof *s->sorted);
            break;
        }
    }
    s->sorted[s->regions.count - 1] = (struct vhdx_range){ start, start + length };
    s->bat_offset = start;
    s->bat_length = (uint32_t)length;
    s->file_end = img_max(s->file_end, start + length);
    return 0;
}

/* ---- New blocks ---------------------------------------------------------------------- */

static void count_blocks(struct vhdx *s, uint64_t size)
{
    s->blocks = img_div_up(size, s->block_size);
    s->entries = vhdx_bat_entries(s, s->blocks);
}

/* Those of a fixed image have a place; others must not have one that a killed process left. */
static int set_new_entries(struct img *image, uint64_t first)
{
    struct vhdx *s = vhdx_state(image);
    int ret = 0;

    for (uint64_t block = first; block < s->blocks && ret == 0; block++) {
        uint64_t entry, host = 0;
        ret = vhdx_bat_get(image, block, &entry);
        if (ret == 0 && s->keeps_blocks)
            ret = vhdx_allocate(image, &host);
        if (ret == 0 && (entry || host))
            ret = vhdx_bat_put(image, block, host ? host | VHDX_PRESENT : 0);
    }
    return ret < 0 ? ret : vhdx_commit(image);
}

static int grow(struct img *image, uint64_t size)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t first = s->blocks, blocks = img_div_up(size, s->block_size);
    uint64_t needed = img_align_up(vhdx_bat_entries(s, blocks) * 8, VHDX_MIB);
    int ret;

    if ((ret = vhdx_begin(image)) < 0 || (ret = vhdx_commit(image)) < 0 || (ret = img_barrier(image)) < 0 ||
        (ret = clear_tail(image)) < 0 || (needed > s->bat_length && (ret = move_bat(image, needed)) < 0))
        return ret;
    vhdx_bat_free(s);
    count_blocks(s, size);
    ret = vhdx_bat_init(image);
    if (ret == 0)
        ret = set_new_entries(image, first);
    if (ret == 0)
        ret = vhdx_write_size(image, size);
    if (ret == 0) {
        s->disk_size = size;
        image->size = size & ~511ull;
        return 0;
    }
    /* Nothing refers to the new entries. */
    vhdx_bat_free(s);
    count_blocks(s, s->disk_size);
    s->dirty = false;
    return vhdx_bat_init(image) < 0 ? -ENOMEM : ret;
}

int vhdx_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    int ret;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (s->differencing)
        return img_error_set(err, ENOTSUP, "A differencing disk has the size of its parent");
    if (size < image->size)
        return img_error_set(err, ENOTSUP, "Shrinking images is currently not supported");
    if (size % s->logical_sector)
        return img_error_set(err, EINVAL, "The new size must be a multiple of %u", s->logical_sector);
    if (size > VHDX_MAX_SIZE)
        return img_error_set(err, EINVAL, "Image size too large; max of 64TB");
    if (size <= s->disk_size)
        return 0;
    ret = grow(image, size);
    return ret < 0 ? img_error_errno(err, -ret, "Failed to resize") : 0;
}
