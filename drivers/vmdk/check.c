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

/* The first sector of a flat extent that is not in its file. */
static uint64_t start_of_missing(const struct vmdk_extent *extent)
{
    uint64_t length = img_length(extent->file, true);

    return extent->start + (length > extent->host ? img_align_down(length - extent->host, VMDK_SECTOR) : 0);
}

static int check_grain(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t offset)
{
    enum img_extent_kind kind;
    uint64_t host, length;

    if (vmdk_find_grain(image, extent, index, &kind, &host) < 0) {
        img_notice(IMG_NOTE, "ERROR: could not get cluster_offset for sector %" PRIu64, offset / VMDK_SECTOR);
        return -EPERM;
    }
    if (kind != IMG_DATA && kind != IMG_CODED)
        return 0;
    if (host >= img_size(extent->file) || vmdk_grain_length(image, extent, index, kind, host, &length) < 0 ||
        !img_has_bytes(image, extent->file, host, length))
        return behind_end(offset);
    return 0;
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
    if (!vmdk_table_is_there(image, extent, table, grains - first))
        return behind_end(extent->start + first * extent->grain);
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
    int ret = vmdk_directory_is_there(image, extent) ? 0 : behind_end(extent->start);

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
        else if (extent->kind == VMDK_FLAT && !vmdk_flat_is_there(image, extent))
            ret = behind_end(img_max(extent->start, start_of_missing(extent)));
    }
    return ret < 0 ? img_error_errno(err, -ret, "Check failed") : 0;
}
