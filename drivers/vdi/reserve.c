/* SPDX-License-Identifier: MIT */
/*
 * Guest writes.  The data of a new block are written first, then the header counts the block; when both are durable,
 * the block map refers to it.  After a crash a reader finds the old content or the new, and a program that appends a
 * block at the header's count appends it after all blocks in use.
 *
 * This driver allocates by the map, not by that count, so a wrong count does no harm, and blocks leaked by a crash
 * are reused.
 */
#include "vdi.h"
#include "../../libimg/io/waiting.h"

/* tag[] of a reservation, for publish and cancel. */
enum { TAG_BLOCK, TAG_PLACE };

static bool is_used(const struct vdi *s, uint32_t place)
{
    return s->used[place / 8] >> place % 8 & 1;
}

static void set_used(struct vdi *s, uint32_t place, bool used)
{
    uint8_t bit = (uint8_t)(1u << place % 8);

    if (used)
        s->used[place / 8] |= bit;
    else
        s->used[place / 8] &= (uint8_t)~bit;
}

/* Places from `blocks` on are invalid, unless they are in the file: a killed resize leaves such.  None is allocated. */
static void take(struct vdi *s, uint32_t place, uint64_t size)
{
    if (place < s->tracked)
        set_used(s, place, true);
    if (place < s->blocks || (vdi_has_place(place) && vdi_place(s, place) + VDI_BLOCK <= size))
        s->end = (uint32_t)img_max(s->end, place + 1);
}

int vdi_prepare_to_write(struct img *image)
{
    struct vdi *s = vdi_state(image);
    uint64_t size = img_size(image->file);
    uint32_t in_file = vdi_blocks_in_file(image), count;
    const uint8_t *entries;

    s->tracked = in_file + 1;
    s->used = calloc(s->tracked / 8 + 1, 1);
    if (!s->used)
        return -ENOMEM;
    for (uint32_t block = 0; block < in_file; block += count) {
        int status = vdi_entries(image, block, &entries, &count);
        if (status < 0)
            return status;
        for (uint32_t i = 0; i < count; i++)
            take(s, img_get_le32(entries + 4 * i), size);
    }
    if (in_file < s->blocks)
        take(s, 0, size);
    if (size > s->data_offset)
        s->first_fresh = (uint32_t)img_min(img_div_up(size - s->data_offset, VDI_BLOCK), s->blocks);
    return 0;
}

static int take_free(struct vdi *s, uint32_t *place)
{
    while (s->first_free < s->tracked && is_used(s, s->first_free))
        s->first_free++;
    if (s->first_free >= s->tracked)
        return -ENOSPC;
    *place = s->first_free++;
    set_used(s, *place, true);
    return 0;
}

int vdi_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct vdi *s = vdi_state(image);
    uint32_t block = (uint32_t)(offset >> VDI_BLOCK_BITS), place;
    uint64_t inside = offset & (VDI_BLOCK - 1), start = offset - inside;
    uint64_t end = img_min(start + VDI_BLOCK, image->size);

    /* The map lacks the last block of the disk. */
    if (block >= s->blocks)
        return -EIO;
    int status = vdi_get_entry(image, block, &place);
    if (status < 0)
        return status;
    to->published = vdi_has_place(place);
    if (!to->published && (status = take_free(s, &place)) < 0)
        return status;
    to->length = img_min(length, end - offset);
    to->file = image->file;
    to->host = vdi_place(s, place) + inside;
    /* A part of the file never written reads as zeroes, like the block, if that is not the parent's. */
    if (!to->published && (place < s->first_fresh || s->differencing)) {
        to->head = inside;
        to->tail = end - (offset + to->length);
    }
    to->tag[TAG_BLOCK] = block;
    to->tag[TAG_PLACE] = place;
    return 0;
}

int vdi_publish(struct img *image, struct img_reservation *at)
{
    struct vdi *s = vdi_state(image);
    uint32_t place = (uint32_t)at->tag[TAG_PLACE];

    /* The file has all of the block. */
    int status = img_lengthen_file(image->file, vdi_place(s, place) + VDI_BLOCK);
    if (status == 0)
        status = vdi_put_entry(image, (uint32_t)at->tag[TAG_BLOCK], place);
    if (status == 0)
        s->end = (uint32_t)img_max(s->end, place + 1);
    return status;
}

int vdi_settle(struct img *image)
{
    struct vdi *s = vdi_state(image);
    uint8_t bytes[4];

    if (s->counted != s->end) {
        img_put_le32(bytes, s->end);
        int status = img_pwrite(image->file, bytes, VDI_BLOCKS_ALLOCATED, sizeof bytes);
        if (status < 0)
            return status;
        s->counted = s->end;
    }
    return img_barrier_aside(image);
}

void vdi_cancel(struct img *image, struct img_reservation *at)
{
    struct vdi *s = vdi_state(image);
    uint32_t place = (uint32_t)at->tag[TAG_PLACE];

    /* Its place may have been written. */
    set_used(s, place, false);
    s->first_free = (uint32_t)img_min(s->first_free, place);
    s->first_fresh = (uint32_t)img_max(s->first_fresh, place + 1);
}

/*
 * Zeroed blocks stay allocated: the map has a value for "zeroes", but other programs treat such a block as
 * discarded.  In a differencing image that value hides the parent.
 */
int vdi_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    while (length > 0) {
        struct img_extent extent;
        int status = vdi_map(image, offset, length, &extent);

        if (status == 0 && extent.kind == IMG_DATA)
            status = img_zero(image->file, extent.host, extent.length, flags);
        for (uint64_t done = 0; status == 0 && extent.kind == IMG_HOLE && done < extent.length; done += VDI_BLOCK)
            status = vdi_put_entry(image, (uint32_t)((offset + done) >> VDI_BLOCK_BITS), VDI_DISCARDED);
        if (status < 0)
            return status;
        offset += extent.length;
        length -= extent.length;
    }
    return 0;
}
