/* SPDX-License-Identifier: MIT */
/* map.c - maps guest ranges.  [MS-VHDX] 2.5.1.1 "Payload BAT Entry States". */
#include "vhdx.h"
#include "../../libimg/io/entries.h"

/* Without a parent a block without data reads as zeroes. */
bool vhdx_reads_zero(uint64_t entry)
{
    switch (entry & VHDX_STATE_MASK) {
    case VHDX_NOT_PRESENT:
    case VHDX_UNDEFINED:
    case VHDX_ZERO:
    case VHDX_UNMAPPED:
    case VHDX_UNMAPPED_OLD:
        return true;
    }
    return false;
}

bool vhdx_host_good(const struct vhdx *s, uint64_t host)
{
    return host >= VHDX_MIB && host <= (uint64_t)INT64_MAX - s->block_size;
}

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *block)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t entry, host;
    int ret = vhdx_bat_get(image, guest >> s->block_bits, &entry);

    (void)table;
    if (ret < 0)
        return ret;
    if (vhdx_reads_zero(entry)) {
        block->kind = (entry & VHDX_STATE_MASK) == VHDX_NOT_PRESENT ? IMG_HOLE : IMG_ZERO;
        return 0;
    }
    host = entry & VHDX_OFFSET_MASK;
    if ((entry & VHDX_STATE_MASK) != VHDX_PRESENT || !vhdx_host_good(s, host))
        return -EIO;
    block->kind = IMG_DATA;
    block->host_valid = block->recurse = true;
    block->file = image->file;
    block->host = host + (guest & (s->block_size - 1));
    return 0;
}

int vhdx_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct img_entries entries = { .unit = vhdx_state(image)->block_size, .look = look };

    return img_map_entries(image, &entries, offset, length, extent);
}
