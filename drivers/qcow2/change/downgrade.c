/* SPDX-License-Identifier: MIT */
/*
 * Version 3 to version 2: refuses or converts what version 2 cannot represent.
 * Specification: "Header" (version, additional fields), "Standard Cluster Descriptor" (the zero flag).
 *
 * Clusters flagged as zero become clusters full of zeroes, or unallocated ones if there is no backing file.  The
 * guest sees the same before and after each conversion, so they may be in any order; the header changes the version
 * when all are done.
 */
#include "../qcow2.h"

struct expansion {
    struct img *image;
    const struct img_amend *how;
    uint64_t done, total;           /* entries of L1 tables */
};

/* ---- Refusals ----------------------------------------------------------------------------------- */

static bool snapshots_allow(const struct img *image)
{
    const struct qcow2 *s = image->state;

    for (size_t i = 0; i < s->snapshots.count; i++) {
        const struct img_snapshot *shown = &s->snapshots.at[i].shown;
        if (shown->vm_state_size > UINT32_MAX || shown->disk_size != image->size)
            return false;
    }
    return true;
}

static bool table_has_coded(const struct qcow2 *s, const uint8_t *table)
{
    for (uint32_t i = 0; i < 1u << s->l2_bits; i++)
        if (img_get_be64(table + (size_t)i * s->l2_entry_size) & QCOW2_COMPRESSED)
            return true;
    return false;
}

/* Is a cluster of any of these tables compressed? */
static int find_coded(struct img *image, const uint64_t *l1, uint32_t size, bool *found)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (uint32_t i = 0; i < size && status == 0 && !*found; i++) {
        uint64_t offset = l1[i] & QCOW2_OFFSET_MASK;
        uint8_t *table;
        if (offset == 0)
            continue;
        if (!img_aligned(offset, s->cluster_size))
            return -EIO;
        if ((status = qcow2_cache_get(s->l2_cache, offset, &table)) == 0)
            *found = table_has_coded(s, table);
    }
    return status;
}

static int find_any_coded(struct img *image, bool *found)
{
    struct qcow2 *s = qcow2_state(image);
    int status = find_coded(image, s->l1, s->h.l1_size, found);

    for (size_t i = 0; i < s->snapshots.count && status == 0 && !*found; i++) {
        CLEANUP_FREE uint64_t *l1 = NULL;
        status = qcow2_read_l1(image, s->snapshots.at[i].l1_offset, s->snapshots.at[i].l1_size, &l1);
        if (status == 0)
            status = find_coded(image, l1, s->snapshots.at[i].l1_size, found);
    }
    return status;
}

/* In the order of qemu-img. */
static int check(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t removable = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_COMPRESSION, other = s->h.incompatible & ~removable;
    bool coded = false;

    if (s->h.refcount_order != 4)
        return img_error_set(err, ENOTSUP, "compat=0.10 requires refcount_bits=16");
    if (image->data_file)
        return img_error_set(err, ENOTSUP, "Cannot downgrade an image with a data file");
    if (!snapshots_allow(image))
        return img_error_set(err, ENOTSUP, "Internal snapshots prevent downgrade of image");
    if (other)
        return img_error_set(err, ENOTSUP, "Cannot downgrade an image with incompatible features 0x%llx set",
                             (unsigned long long)other);
    if (s->h.compression == QCOW2_ZLIB)
        return 0;
    int status = find_any_coded(image, &coded);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to look for compressed clusters");
    return coded ? img_error_set(err, ENOTSUP, "Cannot downgrade an image with zstd compression type and existing "
                                 "compressed clusters") : 0;
}

/* ---- Clusters flagged as zero ----------------------------------------------------------------------- */

/* Write zeroes to the host cluster of `guest`, extending the file if needed. */
static int clear_host(struct img *image, uint64_t offset, uint64_t guest)
{
    uint64_t size = img_size(image->file), length = qcow2_state(image)->cluster_size;
    struct img_error err = IMG_ERROR_INIT;
    int status = qcow2_check_overlap(image, 0, offset, length);

    /* Zeroes that are encrypted are bytes like others. */
    if (status == 0 && image->encrypted)
        return img_zero_for(qcow2_data_node(image), offset, length, guest);
    if (status == 0 && size > offset)
        status = img_zero(image->file, offset, img_min(length, size - offset), IMG_ZERO_MAY_UNMAP);
    if (status == 0 && size < offset + length)
        status = img_resize_file(image->file, offset + length, NULL, &err);
    img_error_clear(&err);
    return status;
}

/* Allocate a cluster of zeroes with that refcount. */
static int new_zeroes(struct img *image, uint64_t references, uint64_t guest, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t counted = 1;
    int status = qcow2_alloc_clusters(image, s->cluster_size, offset);

    if (status < 0)
        return status;
    while (counted < references && (status = qcow2_refcount_change(image, *offset, s->cluster_size, 1)) == 0)
        counted++;
    if (status == 0 && (status = clear_host(image, *offset, guest)) == 0)
        return 0;
    while (counted-- > 0)
        qcow2_free_clusters(image, *offset, s->cluster_size);
    return status;
}

/* Convert one entry.  `references`: refcount of its table. */
static int expand_entry(struct img *image, uint64_t references, uint64_t guest, uint64_t *entry)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t host = *entry & QCOW2_OFFSET_MASK, count = 0, offset;
    int status;

    if (host && !img_aligned(host, s->cluster_size))
        return qcow2_signal_corrupt(image, true, "Preallocated zero cluster offset %#llx unaligned",
                                    (unsigned long long)host);
    if (host && (status = qcow2_refcount_get(image, host >> s->h.cluster_bits, &count)) < 0)
        return status;
    /* Only this table refers to it, so it can hold the zeroes itself. */
    if (host && count <= references) {
        if ((status = clear_host(image, host, guest)) < 0)
            return status;
        *entry &= ~QCOW2_ZERO;
        return 0;
    }
    if (!image->backing_name) {
        *entry = 0;
    } else {
        if ((status = new_zeroes(image, references, guest, &offset)) < 0)
            return status;
        *entry = offset | (references == 1 ? QCOW2_COPIED : 0);
    }
    for (uint64_t i = 0; host && i < references; i++)
        qcow2_drop(image, host, s->cluster_size, QCOW2_DISCARD_OTHER);
    return 0;
}

/* The zeroes must be on disk before the entries that refer to them. */
static int settle(struct img *image)
{
    int status = qcow2_barrier(image);

    return status < 0 ? status : qcow2_flush(image);
}

/* `guest`: what the first entry maps. */
static int expand_table(struct img *image, uint64_t offset, uint64_t guest)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t references;
    bool changed = false;
    uint8_t *table;

    int status = qcow2_refcount_get(image, offset >> s->h.cluster_bits, &references);
    if (status < 0 || (status = qcow2_cache_get(s->l2_cache, offset, &table)) < 0)
        return status;
    for (uint32_t i = 0; i < 1u << s->l2_bits && status == 0; i++) {
        uint8_t *at = table + (size_t)i * s->l2_entry_size;
        uint64_t entry = img_get_be64(at);
        if (entry & QCOW2_COMPRESSED || !(entry & QCOW2_ZERO))
            continue;
        /* Allocating does not touch the L2 cache, so the table stays valid. */
        uint64_t mapped = guest + ((uint64_t)i << s->h.cluster_bits);
        if ((status = expand_entry(image, img_max(references, 1), mapped, &entry)) == 0) {
            img_put_be64(at, entry);
            qcow2_cache_dirty(s->l2_cache, offset);
            changed = true;
        }
    }
    return status == 0 && changed ? settle(image) : status;
}

static int expand_l1(struct expansion *x, const uint64_t *l1, uint32_t size)
{
    struct qcow2 *s = qcow2_state(x->image);
    int status = 0;

    for (uint32_t i = 0; i < size && status == 0; i++) {
        uint64_t offset = l1[i] & QCOW2_OFFSET_MASK;
        if (!img_aligned(offset, s->cluster_size))
            return qcow2_signal_corrupt(x->image, true, "L2 table offset %#llx unaligned (L1 index: %#x)",
                                        (unsigned long long)offset, i);
        if (offset)
            status = expand_table(x->image, offset, (uint64_t)i << (s->h.cluster_bits + s->l2_bits));
        x->done++;
        if (x->how->progress)
            x->how->progress(x->how->context, x->done, x->total);
    }
    return status;
}

/* For the disk and all snapshots. */
static int expand(struct img *image, const struct img_amend *how)
{
    struct qcow2 *s = qcow2_state(image);
    struct expansion x = { .image = image, .how = how, .total = s->h.l1_size };

    for (size_t i = 0; i < s->snapshots.count; i++)
        x.total += s->snapshots.at[i].l1_size;
    int status = expand_l1(&x, s->l1, s->h.l1_size);
    for (size_t i = 0; i < s->snapshots.count && status == 0; i++) {
        CLEANUP_FREE uint64_t *l1 = NULL;
        status = qcow2_read_l1(image, s->snapshots.at[i].l1_offset, s->snapshots.at[i].l1_size, &l1);
        if (status == 0)
            status = expand_l1(&x, l1, s->snapshots.at[i].l1_size);
    }
    return status;
}

int qcow2_downgrade(struct img *image, const struct img_amend *how, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header before = s->h;
    unsigned sections = s->overlap_sections;
    bool lazy = s->lazy;

    int status = check(image, err);
    if (status < 0)
        return status;
    /* This writes to the tables of snapshots. */
    s->overlap_sections &= ~(unsigned)QCOW2_AT_INACTIVE_L2;
    status = expand(image, how);
    s->overlap_sections = sections;
    if (status < 0)
        return img_error_errno(err, -status, "Failed to turn zero into data clusters");
    s->lazy = false;
    if ((status = qcow2_mark_clean(image)) < 0 || (status = qcow2_sync(image)) < 0) {
        s->lazy = lazy;
        return img_error_errno(err, -status, "Failed to make the image clean");
    }
    s->h.version = 2;
    s->h.incompatible = s->h.compatible = s->h.autoclear = 0;
    s->h.compression = QCOW2_ZLIB;
    if ((status = qcow2_write_header(image)) == 0)
        return qcow2_barrier(image);
    s->h = before;
    s->lazy = lazy;
    return img_error_errno(err, -status, "Failed to update the image header");
}
