/* SPDX-License-Identifier: MIT */
/*
 * Writes zeroes and discards without writing data.
 * Specification: "Standard Cluster Descriptor" (the zero flag), "Extended L2 Entries".
 *
 * Version 3 flags clusters (or subclusters) as zero, and keeps them allocated unless told to unmap.  Version 2 has
 * no flag: a cluster reads as zeroes only if it is unallocated and there is no backing file, now or soon.
 */
#include "qcow2.h"

static bool may_show_backing(const struct img *image)
{
    return image->backing || image->backing_name || image->rebasing;
}

/* Does [offset, end) already read as zeroes, according to this image's metadata? */
static bool reads_zero(struct img *image, uint64_t offset, uint64_t end)
{
    while (offset < end) {
        struct img_extent extent;
        if (qcow2_map(image, offset, end - offset, &extent) < 0)
            return false;
        if (extent.kind != IMG_ZERO && (extent.kind != IMG_HOLE || may_show_backing(image)))
            return false;
        offset = extent.offset + extent.length;
    }
    return true;
}

/* Widen to whole units if the additional bytes already read as zeroes. */
static int widen(struct img *image, uint64_t unit, uint64_t *offset, uint64_t *end)
{
    uint64_t start = img_align_down(*offset, unit), stop = img_align_up(*end, unit);

    if (!reads_zero(image, start, *offset))
        return -ENOTSUP;
    if (*end < image->size && !reads_zero(image, *end, img_min(stop, image->size)))
        return -ENOTSUP;
    *offset = start;
    *end = stop;
    return 0;
}

/* ---- One cluster ------------------------------------------------------------------ */

/* Make a cluster read as zeroes; `keep` keeps its host cluster, otherwise it is freed for that reason. */
static void zero_cluster(struct img *image, struct qcow2_l2 *l2, uint32_t i, bool keep, enum qcow2_discard why)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = qcow2_l2_entry(s, l2, i);
    bool host = image->data_file ? (old & QCOW2_COPIED) != 0 : (old & QCOW2_OFFSET_MASK) != 0;
    uint64_t entry = keep && host && !(old & QCOW2_COMPRESSED) ? old & ~QCOW2_ZERO : 0;

    if (s->subclusters > 1)
        qcow2_l2_put(s, l2, i, entry, 0xffffffffull << 32);
    else
        qcow2_l2_put(s, l2, i, s->h.version < 3 ? entry : entry | QCOW2_ZERO, 0);
    if (entry == 0)
        qcow2_drop_entry(image, old, why);
}

/* Zero part of a cluster, in whole subclusters. */
static int zero_subclusters(struct qcow2 *s, struct qcow2_l2 *l2, uint32_t i, uint64_t from, uint64_t to)
{
    uint64_t bitmap = qcow2_l2_bitmap(s, l2, i), entry = qcow2_l2_entry(s, l2, i);
    unsigned first = (unsigned)(from / s->subcluster_size), last = (unsigned)((to - 1) / s->subcluster_size);
    uint64_t mask = (2ull << last) - (1ull << first);

    if (entry & QCOW2_COMPRESSED)
        return -ENOTSUP;
    qcow2_l2_put(s, l2, i, entry, (bitmap & ~mask) | mask << 32);
    return 0;
}

/* Zero [offset, end), whole units within one L2 table. */
static int zero_in_table(struct img *image, struct qcow2_l2 *l2, uint64_t offset, uint64_t end, bool keep,
                         enum qcow2_discard why)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (uint32_t i = 0; offset < end && status == 0; i++) {
        uint64_t base = img_align_down(offset, s->cluster_size), next = img_min(end, base + s->cluster_size);
        if (offset == base && (next == base + s->cluster_size || next >= image->size))
            zero_cluster(image, l2, i, keep, why);
        else
            status = zero_subclusters(s, l2, i, offset - base, next - base);
        offset = next;
    }
    qcow2_cache_dirty(s->l2_cache, l2->offset);
    return status;
}

static int zero_range(struct img *image, uint64_t offset, uint64_t end, bool keep, enum qcow2_discard why)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    while (offset < end && status == 0) {
        struct qcow2_l2 l2;
        if ((status = qcow2_l2_for_write(image, offset, &l2)) < 0)
            break;
        uint64_t base = img_align_down(offset, s->cluster_size);
        uint64_t stop = img_min(end, base + ((uint64_t)l2.left << s->h.cluster_bits));
        if ((status = zero_in_table(image, &l2, offset, stop, keep, why)) == 0)
            status = qcow2_settle(image);
        offset = stop;
    }
    return status;
}

int qcow2_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t end = offset + length;
    bool keep = (!(flags & IMG_ZERO_MAY_UNMAP) || s->keep_discarded) && s->h.version >= 3;

    if (s->h.version < 3 && may_show_backing(image))
        return -ENOTSUP;
    int status = widen(image, s->subcluster_size, &offset, &end);
    if (status < 0)
        return status;
    /* A raw data file must read the same without the qcow2 image. */
    if (image->data_file && s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) {
        uint64_t stop = img_min(end, image->size);
        if ((status = img_zero(image->data_file, offset, stop - offset, flags)) < 0)
            return status;
    }
    return zero_range(image, offset, end, keep,
                      flags & IMG_ZERO_MAY_UNMAP ? QCOW2_DISCARD_REQUEST : QCOW2_DISCARD_NEVER);
}

/* ---- Discarding ---------------------------------------------------------------------- */

static void discard_cluster(struct img *image, struct qcow2_l2 *l2, uint32_t i)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t entry = qcow2_l2_entry(s, l2, i);

    /* Entries that show the backing file must read as zeroes; other unallocated ones are left alone. */
    if (entry == 0 && qcow2_l2_bitmap(s, l2, i) == 0 && !may_show_backing(image))
        return;
    zero_cluster(image, l2, i, s->keep_discarded, QCOW2_DISCARD_REQUEST);
}

static int discard_range(struct img *image, uint64_t offset, uint64_t end)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t span = 1ull << (s->h.cluster_bits + s->l2_bits);
    int status = 0;

    while (offset < end && status == 0) {
        struct qcow2_l2 l2;
        uint64_t stop = img_min(end, img_align_down(offset, span) + span);
        if (qcow2_has_l2(s, offset) || may_show_backing(image)) {
            if ((status = qcow2_l2_for_write(image, offset, &l2)) < 0)
                break;
            for (uint32_t i = 0; offset + ((uint64_t)i << s->h.cluster_bits) < stop; i++)
                discard_cluster(image, &l2, i);
            qcow2_cache_dirty(s->l2_cache, l2.offset);
            status = qcow2_settle(image);
        }
        offset = stop;
    }
    return status;
}

/* Discards whole clusters only; a discard may keep the rest. */
int qcow2_discard(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t end = offset + length;

    if (s->h.version < 3 && may_show_backing(image))
        return 0;
    offset = img_align_up(offset, s->cluster_size);
    end = end == image->size ? img_align_up(end, s->cluster_size) : img_align_down(end, s->cluster_size);
    if (offset >= end)
        return 0;
    if (image->data_file && s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) {
        int status = img_zero(image->data_file, offset, img_min(end, image->size) - offset, IMG_ZERO_MAY_UNMAP);
        if (status < 0)
            return 0;
    }
    return discard_range(image, offset, end);
}
