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

struct list {
    struct img *image;
    struct img_extent *extents;
    size_t room, count;
};

/* Append it, or make the last one longer.  false: there is no room. */
static bool add(struct list *list, uint64_t offset, uint64_t length, enum img_extent_kind kind)
{
    if (list->count && list->extents[list->count - 1].kind == kind) {
        list->extents[list->count - 1].length += length;
        return true;
    }
    if (list->count == list->room)
        return false;
    list->extents[list->count++] = (struct img_extent){ .offset = offset, .length = length, .kind = kind,
                                                        .host_valid = true, .file = list->image, .host = offset };
    return true;
}

int iscsi_judge_extents(struct img *image, const struct iscsi_request *r, bool zeroes, uint64_t end,
                        struct img_extent *extents, size_t room)
{
    uint64_t lba = r->lba;
    struct list list = { .image = image, .extents = extents, .room = room };
    size_t told = r->got < HEAD ? 0 : img_min(r->got, img_get_be32(r->answer) + UINT64_C(4));

    for (size_t at = HEAD; at + DESCRIPTOR <= told; at += DESCRIPTOR) {
        const unsigned char *descriptor = r->answer + at;
        uint64_t first = img_get_be64(descriptor), blocks = img_get_be32(descriptor + 8);
        uint64_t offset = lba * r->block_size;
        if (first != lba || blocks == 0 || offset >= end)
            break;
        blocks = img_min(blocks, img_div_up(end - offset, r->block_size));
        if (!add(&list, offset, img_min(blocks * r->block_size, end - offset), kind_of(descriptor[12] & 0xf, zeroes)))
            break;
        lba += blocks;
    }
    if (list.count == 0)
        img_notice(IMG_FAULT, "iSCSI GET_LBA_STATUS failed at lba %llu: the answer tells nothing of it",
                   (unsigned long long)r->lba);
    return list.count ? (int)list.count : -EIO;
}
