/* SPDX-License-Identifier: MIT */
/*
 * Checks an image for grains beyond the end of their extent's file.  Like qemu-img, it stops at the first error and
 * repairs nothing.
 */
#include "vmdk.h"
#include <inttypes.h>

static int behind_end(uint64_t offset)
{
    img_notice(IMG_NOTE, "ERROR: cluster offset for sector %" PRIu64 " points after EOF", offset / VMDK_SECTOR);
    return -EINVAL;
}

static int check_grain(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t offset)
{
    enum img_extent_kind kind;
    uint64_t host;

    if (vmdk_find_grain(image, extent, index, &kind, &host) < 0) {
        img_notice(IMG_NOTE, "ERROR: could not get cluster_offset for sector %" PRIu64, offset / VMDK_SECTOR);
        return -EPERM;
    }
    return (kind == IMG_DATA || kind == IMG_CODED) && host >= img_size(extent->file) ? behind_end(offset) : 0;
}

/* Check the grains of one table, if present. */
static int check_table(struct img *image, struct vmdk_extent *extent, uint64_t first, uint64_t grains)
{
    uint64_t table, last = img_min(grains, first + extent->table_entries);
    int ret = vmdk_find_table(image, extent, first, &table);

    if (ret < 0)
        return check_grain(image, extent, first, extent->start + first * extent->grain);
    if (table == 0)
        return 0;
    while (first < last && ret == 0) {
        /* Tables may be there many times, and hardly hold a thing. */
        uint64_t empty = vmdk_count_empty(image, extent, table, first);
        if (empty == 0)
            ret = check_grain(image, extent, first, extent->start + first * extent->grain);
        first += empty ? empty : 1;
    }
    return ret;
}

static int check_extent(struct img *image, struct vmdk_extent *extent)
{
    uint64_t grains = img_div_up(extent->end - extent->start, extent->grain);
    uint64_t known = img_min(grains, vmdk_known_grains(extent)), all = extent->tables * extent->table_entries;
    int ret = 0;

    for (uint64_t first = 0; first < known && ret == 0; first += extent->table_entries)
        ret = check_table(image, extent, first, grains);
    /* Grains without a directory entry cannot be checked. */
    if (ret == 0 && grains > all)
        ret = check_grain(image, extent, all, extent->start + all * extent->grain);
    return ret;
}

int vmdk_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    int ret = 0;

    (void)result;
    if (repair)
        return img_error_set(err, ENOTSUP, "vmdk images cannot be repaired");
    for (size_t i = 0; i < s->extents.count && ret == 0; i++) {
        struct vmdk_extent *extent = &s->extents.at[i];

        if (extent->grain)
            ret = check_extent(image, extent);
        else if (extent->kind == VMDK_FLAT && extent->end > extent->start && extent->host >= img_size(extent->file))
            ret = behind_end(extent->start);
    }
    return ret < 0 ? img_error_errno(err, -ret, "Check failed") : 0;
}
