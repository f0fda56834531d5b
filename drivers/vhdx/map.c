/* SPDX-License-Identifier: MIT */
/* map.c - maps guest ranges.  [MS-VHDX] 2.5.1.1 "Payload BAT Entry States". */
#include "vhdx.h"
#include "../../libimg/io/entries.h"
#include "../../libimg/util/bit-run.h"

enum { BITMAP_PAGE = 4096, BITMAP_MEMORY = 1 << 20 };

int vhdx_open_bitmaps(struct img *image)
{
    struct vhdx *s = vhdx_state(image);

    s->bitmaps = img_pages_new(image, BITMAP_PAGE, BITMAP_MEMORY, NULL);
    return s->bitmaps ? 0 : -ENOMEM;
}

/*
 * Without a parent a block without data reads as zeroes.  With one only NOT_PRESENT lets it through: what the other
 * states hold is undefined, and zeroes tell nothing.
 */
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

/*
 * The sector bitmap has a bit for each sector of a chunk, the lowest of a byte first; if set, the sector is here, else
 * it is the parent's.  *length is how far that goes, at most to the end of the block.  [MS-VHDX] 2.4 "Blocks".
 */
static int look_at_sectors(struct img *image, uint64_t guest, bool *own, uint64_t *length)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t sector = guest / s->logical_sector & ((1ull << VHDX_CHUNK_BITS) - 1), bit = sector % (BITMAP_PAGE * 8);
    uint64_t first = sector - bit, behind = img_align_up(sector + 1, s->block_size / s->logical_sector);
    uint64_t end = img_min(behind - first, BITMAP_PAGE * 8), entry;
    uint8_t *bits;
    int ret = vhdx_bat_get_bitmap(image, guest >> s->block_bits, &entry);

    if (ret == 0 && ((entry & VHDX_STATE_MASK) != VHDX_PRESENT || !vhdx_host_good(s, entry & VHDX_OFFSET_MASK)))
        return -EIO;
    if (ret == 0)
        ret = img_pages_look(s->bitmaps, entry & VHDX_OFFSET_MASK, first / 8, &bits);
    if (ret < 0)
        return ret;
    *own = img_bit_get(bits, bit, false);
    *length = img_bit_run(bits, bit, end, false) * s->logical_sector - guest % s->logical_sector;
    return 0;
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
    if (!vhdx_host_good(s, host))
        return -EIO;
    if ((entry & VHDX_STATE_MASK) == VHDX_PARTIAL && s->differencing) {
        bool own = true;
        ret = look_at_sectors(image, guest, &own, &block->length);
        if (ret < 0 || !own)
            return ret;
    } else if ((entry & VHDX_STATE_MASK) != VHDX_PRESENT) {
        return -EIO;
    }
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
