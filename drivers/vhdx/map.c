/* SPDX-License-Identifier: MIT */
/* map.c - guest range to extent.  [MS-VHDX] 2.5.1.1 "Payload BAT Entry States". */
#include "vhdx.h"

enum { MAX_LOOKED_AT = 65536 };

/* Without a parent nothing else can show in a block that has no data. */
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

/* The kind of a block; -EIO where its entry makes no sense. */
static int kind_of(const struct vhdx *s, uint64_t entry, enum img_extent_kind *kind)
{
    if (vhdx_reads_zero(entry)) {
        *kind = (entry & VHDX_STATE_MASK) == VHDX_NOT_PRESENT ? IMG_HOLE : IMG_ZERO;
        return 0;
    }
    *kind = IMG_DATA;
    return (entry & VHDX_STATE_MASK) == VHDX_PRESENT && vhdx_host_good(s, entry & VHDX_OFFSET_MASK) ? 0 : -EIO;
}

int vhdx_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct vhdx *s = vhdx_state(image);
    uint64_t at = offset, end = offset + length;

    *extent = (struct img_extent){ .offset = offset };
    for (int looked = 0; at < end && looked < MAX_LOOKED_AT; looked++) {
        uint64_t entry, within = at & (s->block_size - 1);
        enum img_extent_kind kind;
        int ret = vhdx_bat_get(image, at >> s->block_bits, &entry);

        if (ret < 0)
            return ret;
        ret = kind_of(s, entry, &kind);
        uint64_t host = (entry & VHDX_OFFSET_MASK) + within;
        if (at == offset) {
            if (ret < 0)
                return ret;
            extent->kind = kind;
            extent->host_valid = kind == IMG_DATA;
            extent->recurse = kind == IMG_DATA;
            extent->file = kind == IMG_DATA ? image->file : NULL;
            extent->host = kind == IMG_DATA ? host : 0;
        } else if (ret < 0 || kind != extent->kind || (kind == IMG_DATA && host != extent->host + (at - offset))) {
            break;
        }
        at = img_min(end, at - within + s->block_size);
    }
    extent->length = at - offset;
    return 0;
}
