/* SPDX-License-Identifier: MIT */
/*
 * The bitmaps of sectors of a differencing disk: a bit for each sector of a block, the highest of a byte first; if set,
 * the sector is the disk's own, else it is the parent's.
 * Specification: "Block Allocation Table and Data Blocks".
 */
#include "vpc.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/bit-run.h"

/* A bitmap is a whole number of sectors, and usually one. */
enum { PAGE = VPC_SECTOR, PAGE_BITS = PAGE * 8, MEMORY = 1 << 20 };

int vpc_open_bitmaps(struct img *image)
{
    /* A bit may be set on the storage only after its sector. */
    vpc_state(image)->bitmaps = img_pages_new(image, PAGE, MEMORY, img_barrier_aside);
    return vpc_state(image)->bitmaps ? 0 : -ENOMEM;
}

int vpc_look_at_sectors(struct img *image, uint64_t host, uint64_t inside, bool *own, uint64_t *length)
{
    const struct vpc *s = vpc_state(image);
    uint64_t first = inside / VPC_SECTOR, bit = first % PAGE_BITS;
    uint64_t end = img_min(s->block_size / VPC_SECTOR - (first - bit), PAGE_BITS);
    uint8_t *bits;
    int status = img_pages_look(s->bitmaps, host - s->bitmap_bytes, (first - bit) / 8, &bits);

    if (status < 0)
        return status;
    *own = img_bit_get(bits, bit, true);
    *length = img_bit_run(bits, bit, end, true) * VPC_SECTOR - inside % VPC_SECTOR;
    return 0;
}

int vpc_own_sectors(struct img *image, uint64_t host, uint64_t inside, uint64_t length)
{
    const struct vpc *s = vpc_state(image);
    uint64_t sector = inside / VPC_SECTOR, end = img_div_up(inside + length, VPC_SECTOR);

    for (; sector < end; sector++) {
        uint8_t *bits;
        int status = img_pages_entry(s->bitmaps, host - s->bitmap_bytes, sector / 8, &bits);
        if (status < 0)
            return status;
        *bits |= (uint8_t)(0x80 >> sector % 8);
        img_pages_entry_changed(s->bitmaps, bits, 1);
    }
    return 0;
}
