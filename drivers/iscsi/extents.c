/* SPDX-License-Identifier: MIT */
/* The answer to GET LBA STATUS (SBC-3, 5.6): descriptors of 16 bytes after a head of 8. */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"

enum { HEAD = 8, DESCRIPTOR = 16, MAPPED = 0 };

/* Unmapped blocks are zeroes only if the target says so of all of them. */
static enum img_extent_kind kind_of(unsigned status, bool zeroes)
{
    return status != MAPPED && zeroes ? IMG_ZERO : IMG_DATA;
}

/* Append it, or make the last one longer.  false: there is no room. */
static bool add(struct img *image, uint64_t offset, uint64_t length, enum img_extent_kind kind, struct img_extent *extents,
                size_t room, size_t *count)
{
    if (*count && extents[*count - 1].kind == kind) {
        extents[*count - 1].length += length;
        return true;
    }
    if (*count == room)
        return false;
    extents[(*count)++] = (struct img_extent){ .offset = offset, .length = length, .kind = kind, .host_valid = true,
                                               .file = image, .host = offset };
    return true;
}

int iscsi_judge_extents(struct img *image, const struct iscsi_request *r, bool zeroes, uint64_t end,
                        struct img_extent *extents, size_t room)
{
    uint64_t lba = r->lba;
    size_t count = 0, told = r->got < HEAD ? 0 : img_min(r->got, img_get_be32(r->answer) + UINT64_C(4));

    for (size_t at = HEAD; at + DESCRIPTOR <= told; at += DESCRIPTOR) {
        const unsigned char *descriptor = r->answer + at;
        uint64_t first = img_get_be64(descriptor), blocks = img_get_be32(descriptor + 8);
        uint64_t offset = lba * r->block_size;
        if (first != lba || blocks == 0)
            break;
        if (offset >= end)
            break;
        blocks = img_min(blocks, img_div_up(end - offset, r->block_size));
        if (!add(image, offset, img_min(blocks * r->block_size, end - offset), kind_of(descriptor[12] & 0xf, zeroes), extents,
                 room, &count))
            break;
        lba += blocks;
    }
    return count ? (int)count : -EIO;
}
