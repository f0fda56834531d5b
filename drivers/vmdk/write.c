/* SPDX-License-Identifier: MIT */
/*
 * Guest writes: allocates grains, and links them in once they are written.  New grains are appended to the file of
 * their extent, so a killed process leaves at most some leaked grains.
 * Specification: "Hosted Sparse Extents" (grain tables, redundant grain tables, zeroed-grain entries).
 */
#include "vmdk.h"
#include <string.h>

/* tag[] of a reservation, for publish and cancel. */
enum { TAG_EXTENT, TAG_INDEX, TAG_COUNT, TAG_HOST };

static int reserve_flat(struct vmdk_extent *extent, uint64_t offset, uint64_t end, struct img_reservation *to)
{
    to->length = img_min(end, extent->end) - offset;
    to->file = extent->file;
    to->host = extent->host + (offset - extent->start);
    to->published = true;
    return 0;
}

/* How many grains from `index` on are allocated consecutively; or, if the first is unallocated, how many are (*host
 * 0). */
static int find_run(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t limit, uint64_t *count,
                    uint64_t *host)
{
    enum img_extent_kind kind;
    uint64_t place;
    int ret = vmdk_find_grain(image, extent, index, &kind, host);
    bool allocated = kind == IMG_DATA;

    for (*count = 1; ret == 0 && *count < limit; ++*count) {
        ret = vmdk_find_grain(image, extent, index + *count, &kind, &place);
        if ((kind == IMG_DATA) != allocated || (allocated && place != *host + *count * extent->grain))
            break;
    }
    if (!allocated)
        *host = 0;
    return ret;
}

/* Allocate consecutive grains at the end. */
static int allocate(struct vmdk_extent *extent, uint64_t count, uint64_t *host)
{
    uint64_t rest = extent->next % extent->grain, end;

    *host = extent->next + (rest ? extent->grain - rest : 0);
    end = *host + count * extent->grain;
    if (end / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    extent->next = end;
    return 0;
}

static int reserve_sparse(struct img *image, struct vmdk_extent *extent, uint64_t offset, uint64_t end,
                          struct img_reservation *to)
{
    uint64_t index = (offset - extent->start) / extent->grain, first = extent->start + index * extent->grain;
    uint64_t limit = extent->table_entries - index % extent->table_entries, count, host, behind, table, again;
    int ret;

    limit = img_min(limit, img_div_up(img_min(end, extent->end) - first, extent->grain));
    ret = find_run(image, extent, index, limit, &count, &host);
    if (ret < 0)
        return ret;
    behind = img_min(first + count * extent->grain, extent->end);
    to->length = img_min(end, behind) - offset;
    to->file = extent->file;
    to->published = host != 0;
    if (host == 0) {
        /* Get the tables first, so that publish allocates nothing. */
        ret = vmdk_need_tables(image, extent, index, &table, &again);
        if (ret == 0)
            ret = allocate(extent, count, &host);
        if (ret < 0)
            return ret;
        to->head = offset - first;
        to->tail = behind - (offset + to->length);
    }
    to->host = host + (offset - first);
    to->tag[TAG_INDEX] = index;
    to->tag[TAG_COUNT] = count;
    to->tag[TAG_HOST] = host;
    return 0;
}

int vmdk_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent *extent = vmdk_extent_at(image, offset);
    int ret;

    vmdk_check_parent(image);
    if ((extent->kind != VMDK_FLAT && extent->kind != VMDK_SPARSE) || extent->compressed)
        return -EINVAL;
    ret = vmdk_renew_id(image);
    if (ret < 0)
        return ret;
    *to = (struct img_reservation){ .offset = offset };
    to->tag[TAG_EXTENT] = (uint64_t)(extent - s->extents.at);
    return extent->kind == VMDK_FLAT ? reserve_flat(extent, offset, offset + length, to)
                                     : reserve_sparse(image, extent, offset, offset + length, to);
}

/* ---- Linking in ------------------------------------------------------------------------------ */

int vmdk_publish(struct img *image, struct img_reservation *at)
{
    struct vmdk_extent *extent = &vmdk_state(image)->extents.at[at->tag[TAG_EXTENT]];
    uint64_t count = at->tag[TAG_COUNT], host = at->tag[TAG_HOST];
    int ret = 0;

    if (at->coded)
        return vmdk_publish_coded(image, at);
    extent->data.made++;
    /* If the disk ends inside its last grain, the file still has all of it, so that the next grain cannot overlap it. */
    if (at->offset + at->length + at->tail == extent->end)
        ret = img_lengthen_file(extent->file, host + count * extent->grain);
    for (uint64_t i = 0; i < count && ret == 0; i++)
        ret = vmdk_put_entry(image, extent, at->tag[TAG_INDEX] + i,
                             (uint32_t)((host + i * extent->grain) / VMDK_SECTOR));
    return ret;
}

void vmdk_cancel(struct img *image, struct img_reservation *at)
{
    struct vmdk_extent *extent = &vmdk_state(image)->extents.at[at->tag[TAG_EXTENT]];

    if (at->coded)
        vmdk_cancel_coded(image, at);
    else if (extent->next == at->tag[TAG_HOST] + at->tag[TAG_COUNT] * extent->grain)
        extent->next = at->tag[TAG_HOST];
}

/* ---- Zeroes ------------------------------------------------------------------------------------ */

/* Zero whole grains.  Allocated ones are leaked: there is no list of free grains. */
static int zero_sparse(struct img *image, struct vmdk_extent *extent, uint64_t offset, uint64_t end)
{
    uint64_t index = (offset - extent->start) / extent->grain;
    uint64_t limit = img_div_up(end - extent->start, extent->grain);
    int ret = 0;

    for (; index < limit && ret == 0; index++) {
        enum img_extent_kind kind;
        uint64_t host;

        ret = vmdk_find_grain(image, extent, index, &kind, &host);
        if (ret < 0 || kind == IMG_ZERO || (kind == IMG_HOLE && !image->backing_name && !image->backing))
            continue;
        if (!extent->zeroed || extent->compressed)
            return -ENOTSUP;
        ret = vmdk_renew_id(image);
        if (ret == 0)
            ret = vmdk_put_entry(image, extent, index, VMDK_ZEROED_ENTRY);
    }
    return ret;
}

/* Could the whole range be zeroed without writing data? */
static bool can_zero(const struct img *image, uint64_t offset, uint64_t end)
{
    for (; offset < end; offset = vmdk_extent_at(image, offset)->end) {
        const struct vmdk_extent *extent = vmdk_extent_at(image, offset);
        if (extent->kind == VMDK_SPARSE && ((offset - extent->start) % extent->grain ||
                                            (end < extent->end && (end - extent->start) % extent->grain)))
            return false;
        if (extent->kind == VMDK_SESPARSE || extent->kind == VMDK_NO_ACCESS)
            return false;
    }
    return true;
}

int vmdk_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    uint64_t end = offset + length, next;
    int ret = can_zero(image, offset, end) ? 0 : -ENOTSUP;

    for (; ret == 0 && offset < end; offset = next) {
        struct vmdk_extent *extent = vmdk_extent_at(image, offset);

        next = img_min(end, extent->end);
        if (extent->kind == VMDK_SPARSE) {
            ret = zero_sparse(image, extent, offset, next);
        } else if (extent->kind == VMDK_FLAT) {
            ret = vmdk_renew_id(image);
            if (ret == 0)
                ret = img_zero(extent->file, extent->host + (offset - extent->start), next - offset, flags);
        }
    }
    return ret;
}
