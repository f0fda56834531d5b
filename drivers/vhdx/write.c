/* SPDX-License-Identifier: MIT */
/*
 * write.c - guest writes.  [MS-VHDX] 2.5 "BAT".
 *
 * A block without data is allocated where the file reads as zeroes, so its unwritten part needs no copy.  From then
 * on its entry in memory is VHDX_RESERVED, so that another writer to the same block finds the same place.  Readers
 * see zeroes, and the entry on disk does not change, until the first of them publishes it.  After a failed write the
 * next one uses the reserved place.
 *
 * On a differencing disk the rest of the block comes from the parent, or from a partially present block itself, and
 * is written with the first bytes: then all of the block is present.  So sector bitmaps are read and never written.
 */
#include "vhdx.h"

enum { TAG_BLOCK };

static int reserve_new(struct img *image, uint64_t block, uint64_t old, uint64_t *host)
{
    int ret;

    if (!vhdx_reads_zero(old))
        return -EIO;
    ret = vhdx_allocate(image, host);
    return ret < 0 ? ret : vhdx_bat_put(image, block, *host | VHDX_RESERVED | (old & VHDX_STATE_MASK));
}

/* How far are blocks with data adjacent? */
static int extend(struct img *image, uint64_t end, struct img_reservation *to)
{
    const struct vhdx *s = vhdx_state(image);

    while (to->offset + to->length < end) {
        uint64_t entry, at = to->offset + to->length;
        int ret = vhdx_bat_get(image, at >> s->block_bits, &entry);
        if (ret < 0)
            return ret;
        if ((entry & (VHDX_STATE_MASK | VHDX_RESERVED)) != VHDX_PRESENT ||
            (entry & VHDX_OFFSET_MASK) != to->host + to->length)
            break;
        to->length += img_min(end - at, s->block_size);
    }
    return 0;
}

int vhdx_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t block = offset >> s->block_bits, within = offset & (s->block_size - 1), entry, host;
    int ret = vhdx_begin(image);

    if (ret == 0)
        ret = vhdx_bat_get(image, block, &entry);
    if (ret < 0)
        return ret;
    host = entry & VHDX_OFFSET_MASK;
    if ((entry & VHDX_STATE_MASK) == VHDX_PRESENT) {
        if (!vhdx_host_good(s, host))
            return -EIO;
        to->published = true;
    } else if (s->differencing && (entry & VHDX_STATE_MASK) == VHDX_PARTIAL) {
        if (!vhdx_host_good(s, host))
            return -EIO;
    } else if (!(entry & VHDX_RESERVED) && (ret = reserve_new(image, block, entry, &host)) < 0) {
        return ret;
    }
    to->length = img_min(length, s->block_size - within);
    if (s->differencing && !to->published) {
        to->head = within;
        to->tail = img_min(image->size, (block + 1) << s->block_bits) - (offset + to->length);
    }
    to->file = image->file;
    to->host = host + within;
    to->tag[TAG_BLOCK] = block;
    return to->published ? extend(image, offset + length, to) : 0;
}

int vhdx_publish(struct img *image, struct img_reservation *at)
{
    uint64_t entry;
    int ret = vhdx_bat_get(image, at->tag[TAG_BLOCK], &entry);

    if (ret < 0 || (!(entry & VHDX_RESERVED) && (entry & VHDX_STATE_MASK) != VHDX_PARTIAL))
        return ret;             /* another writer was first */
    return vhdx_bat_put(image, at->tag[TAG_BLOCK], (entry & VHDX_OFFSET_MASK) | VHDX_PRESENT);
}

/*
 * Blocks with data stay allocated, and zeroes are written to the file below (as a hole, if possible).  Others become
 * ZERO, the only state that guarantees zeroes.  Of a differencing disk these are whole blocks: a place that a failed
 * write has left is given up, for what is read there is the parent's.
 */
static int zero_in_block(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t block = offset >> s->block_bits, entry, host;
    bool partial;
    int ret = vhdx_bat_get(image, block, &entry);

    if (ret < 0 || (entry & (VHDX_STATE_MASK | VHDX_RESERVED)) == VHDX_ZERO)
        return ret;
    if ((ret = vhdx_begin(image)) < 0)
        return ret;
    host = entry & VHDX_OFFSET_MASK;
    partial = s->differencing && (entry & VHDX_STATE_MASK) == VHDX_PARTIAL;
    if ((entry & VHDX_STATE_MASK) == VHDX_PRESENT || partial || (entry & VHDX_RESERVED && !s->differencing)) {
        host += offset & (s->block_size - 1);
        ret = vhdx_host_good(s, host) ? img_zero(image->file, host, length, flags) : -EIO;
        return ret == 0 && partial ? vhdx_bat_put(image, block, (entry & VHDX_OFFSET_MASK) | VHDX_PRESENT) : ret;
    }
    return vhdx_reads_zero(entry) ? vhdx_bat_put(image, block, VHDX_ZERO) : -EIO;
}

int vhdx_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t end = offset + length, next;
    int ret = 0;

    for (; ret == 0 && offset < end; offset = next) {
        next = img_min(end, (offset | (s->block_size - 1)) + 1);
        ret = zero_in_block(image, offset, next - offset, flags);
    }
    return ret;
}
