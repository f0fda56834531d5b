/* SPDX-License-Identifier: MIT */
/*
 * Empties an image: deallocates all guest clusters, so that the whole disk reads from the backing file.
 * Specification: "Cluster mapping", "Host cluster management", "Header" (dirty bit).
 *
 * An image whose clusters belong only to the active disk becomes like a new one: header, refcount table, one
 * refcount block, L1 table, nothing after them.  The dirty bit is set meanwhile, so that after a crash the next
 * program that opens the image repairs refcounts that are temporarily wrong.  Any other image frees all clusters
 * that no snapshot refers to, one by one.
 */
#include "../qcow2.h"

/* Layout of a new image, in clusters. */
enum { FRESH_REFTABLE = 1, FRESH_REFBLOCK = 2, FRESH_L1 = 3 };

static uint64_t l1_clusters(const struct qcow2 *s)
{
    return img_div_up((uint64_t)s->h.l1_size * 8, s->cluster_size);
}

/* ---- Like a new image ----------------------------------------------------------------- */

static bool can_start_over(const struct img *image)
{
    const struct qcow2 *s = image->state;

    return s->h.version >= 3 && !image->data_file && s->h.crypt_method == 0 && s->snapshots.count == 0 &&
           s->h.snapshot_count == 0 && s->bitmap_count == 0 && s->bitmaps.count == 0 && s->extensions.count == 0 &&
           FRESH_L1 + l1_clusters(s) <= 1ull << s->refblock_bits;
}

static int write_zeroes(struct img *image, uint64_t offset, uint64_t clusters)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *zeroes = calloc(1, s->cluster_size);
    int status = zeroes ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < clusters && status == 0; i++)
        status = img_pwrite(image->file, zeroes, offset + (i << s->h.cluster_bits), s->cluster_size);
    return status;
}

/* Set the L1 table and the refcount table in the header with one write: the fields are adjacent. */
static int point_header(struct img *image, uint64_t l1, uint64_t reftable, uint32_t reftable_clusters)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[20];
    int status;

    img_put_be64(raw, l1);
    img_put_be64(raw + 8, reftable);
    img_put_be32(raw + 16, reftable_clusters);
    if ((status = qcow2_barrier(image)) < 0 || (status = img_pwrite(image->file, raw, 40, sizeof raw)) < 0)
        return status;
    s->h.l1_offset = l1;
    s->h.refcount_table_offset = reftable;
    s->h.refcount_table_clusters = reftable_clusters;
    return qcow2_barrier(image);
}

/* Clear all L1 entries on disk at once: their clusters are leaked until the refcounts follow. */
static int clear_l1(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = write_zeroes(image, s->h.l1_offset, l1_clusters(s));

    return status < 0 ? status : qcow2_barrier(image);
}

static bool lies_as_fresh(const struct qcow2 *s)
{
    return s->h.refcount_table_offset >> s->h.cluster_bits == FRESH_REFTABLE && s->h.refcount_table_clusters == 1 &&
           s->refcount_table[0] >> s->h.cluster_bits == FRESH_REFBLOCK &&
           s->h.l1_offset >> s->h.cluster_bits == FRESH_L1;
}

/* Move tables that are in the way of the new ones to the end of the file.  Nothing is counted there; the dirty bit
 * covers that. */
static int move_away(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t l1 = img_align_up(img_size(image->file), s->cluster_size);
    uint64_t reftable = l1 + (l1_clusters(s) << s->h.cluster_bits);
    int status = write_zeroes(image, l1, l1_clusters(s) + 1);

    return status < 0 ? status : point_header(image, l1, reftable, 1);
}

static int write_fresh_tables(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t clusters = FRESH_L1 + l1_clusters(s), first = (uint64_t)FRESH_REFTABLE << s->h.cluster_bits;
    CLEANUP_FREE uint8_t *tables = calloc(2, s->cluster_size);
    int status;

    if (!tables)
        return -ENOMEM;
    IMG_EVENT(image->file, empty_image_prepare);
    img_put_be64(tables, (uint64_t)FRESH_REFBLOCK << s->h.cluster_bits);
    for (uint64_t i = 0; i < clusters; i++)
        qcow2_refcount_put(s, tables + s->cluster_size, i, 1);
    status = write_zeroes(image, (uint64_t)FRESH_L1 << s->h.cluster_bits, l1_clusters(s));
    return status < 0 ? status : img_pwrite(image->file, tables, first, 2 * (size_t)s->cluster_size);
}

/* Update the memory to match the disk. */
static int forget_tables(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t *table = calloc(s->cluster_size / 8, 8);

    if (!table)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->h.l1_size; i++)
        if (s->l1[i] & QCOW2_OFFSET_MASK)
            qcow2_cache_forget(s->l2_cache, s->l1[i] & QCOW2_OFFSET_MASK);
    for (uint32_t i = 0; i < s->refcount_table_size; i++)
        if (s->refcount_table[i])
            qcow2_cache_forget(s->refblock_cache, s->refcount_table[i] & ~511ull);
    memset(s->l1, 0, (size_t)s->h.l1_size * 8);
    free(s->refcount_table);
    s->refcount_table = table;
    s->refcount_table_size = s->cluster_size / 8;
    table[0] = (uint64_t)FRESH_REFBLOCK << s->h.cluster_bits;
    s->free_cluster_index = 0;
    qcow2_forget_derived(s);
    return 0;
}

static int start_over(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t l1 = (uint64_t)FRESH_L1 << s->h.cluster_bits, end = l1 + (l1_clusters(s) << s->h.cluster_bits);
    struct img_error err = IMG_ERROR_INIT;
    int status;

    if ((status = qcow2_mark_dirty(image)) < 0 || (status = clear_l1(image)) < 0)
        return status;
    if (!lies_as_fresh(s) && (status = move_away(image)) < 0)
        return status;
    if ((status = write_fresh_tables(image)) < 0 ||
        (status = point_header(image, l1, (uint64_t)FRESH_REFTABLE << s->h.cluster_bits, 1)) < 0 ||
        (status = forget_tables(image)) < 0)
        return status;
    if (img_resize_file(image->file, end, NULL, &err) < 0)
        img_notice(IMG_WARNING, "Failed to truncate the tail of the image: %s", err.text);
    img_error_clear(&err);
    return qcow2_mark_clean(image);
}

/* ---- Cluster by cluster ----------------------------------------------------------------- */

/* Free one L2 table and all that it refers to. */
static int drop_l2(struct img *image, uint64_t index)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = s->l1[index] & QCOW2_OFFSET_MASK;
    uint8_t *table;

    if (offset == 0)
        return 0;
    if (!img_aligned(offset, s->cluster_size))
        return qcow2_signal_corrupt(image, true, "L2 table offset %#llx unaligned (L1 index: %#llx)",
                                    (unsigned long long)offset, (unsigned long long)index);
    int status = qcow2_cache_get(s->l2_cache, offset, &table);
    if (status < 0)
        return status;
    qcow2_set_l1(s, index, 0);
    for (uint64_t i = 0; i < 1ull << s->l2_bits && !image->data_file; i++)
        qcow2_drop_entry(image, img_get_be64(table + i * s->l2_entry_size), QCOW2_DISCARD_SNAPSHOT);
    qcow2_drop(image, offset, s->cluster_size, QCOW2_DISCARD_SNAPSHOT);
    return qcow2_settle(image);
}

static int drop_all(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;                 /* bitmaps stay: the guest reads the same as before */

    for (uint64_t i = 0; i < s->h.l1_size && status == 0; i++)
        status = drop_l2(image, i);
    if (status < 0 || (status = qcow2_sync(image)) < 0)
        return status;
    /* The clusters of a data file are not counted; discard them once no table refers to them. */
    if (image->data_file && s->snapshots.count == 0 && img_size(image->data_file))
        img_discard(image->data_file, 0, img_size(image->data_file));
    return 0;
}

int qcow2_make_empty(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status;

    if (s->broken)
        return -ENOMEDIUM;
    if ((status = qcow2_sync(image)) < 0)
        return status;
    if (s->h.l1_size && can_start_over(image)) {
        status = start_over(image);
        /* Allow no more writes; the dirty bit stays set, for the repair. */
        s->broken = status < 0;
        return status;
    }
    return drop_all(image);
}
