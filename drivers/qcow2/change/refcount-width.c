/* SPDX-License-Identifier: MIT */
/*
 * Changes the width of refcounts.
 * Specification: "Host cluster management", "Header" (refcount_order).
 *
 * A second set of refcount blocks and a second table are written to clusters that the old set counts as used.  The
 * new set counts itself and omits the old one.  One header write then switches to the new table and width, so after
 * a crash either the old or the new set is valid, at worst with the clusters of the new one leaked.
 */
#include "../qcow2.h"

struct rebuild {
    const char *failed;             /* error message for the current step */
    struct img *image;
    struct qcow2 after;             /* only for its width */
    const struct img_amend *how;
    uint8_t *needed;                /* per block of the new set: does it have anything to count? */
    uint64_t *blocks;               /* host offsets of these blocks; 0: not placed yet */
    uint64_t stretches;
    uint64_t table_offset, table_clusters;
    uint64_t *old_structures;       /* cluster numbers of the old blocks and the old table, ascending */
    size_t old_count;
};

static void tell(const struct rebuild *r, uint64_t done, uint64_t total)
{
    if (r->how->progress && total)
        r->how->progress(r->how->context, done, total);
}

/* ---- The old set --------------------------------------------------------------------------------- */

static int need_stretch(struct rebuild *r, uint64_t cluster)
{
    uint64_t stretch = cluster >> r->after.refblock_bits;

    if (stretch >= r->stretches) {
        uint64_t count = img_max(stretch + 1, r->stretches * 2);
        if (count * 8 > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
            count = stretch + 1;
        if (count * 8 > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
            return -EFBIG;
        uint8_t *needed = realloc(r->needed, count);
        if (!needed)
            return -ENOMEM;
        r->needed = needed;
        uint64_t *blocks = realloc(r->blocks, count * sizeof *blocks);
        if (!blocks)
            return -ENOMEM;
        r->blocks = blocks;
        memset(needed + r->stretches, 0, count - r->stretches);
        memset(blocks + r->stretches, 0, (count - r->stretches) * sizeof *blocks);
        r->stretches = count;
    }
    r->needed[stretch] = 1;
    return 0;
}

/* Check that every refcount fits the new width, and note which new blocks are needed. */
static int scan_block(struct rebuild *r, uint64_t index, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(r->image);
    uint64_t per_block = 1ull << s->refblock_bits;
    uint8_t *block;

    int status = qcow2_cache_get(s->refblock_cache, qcow2_refblock_at(s, index), &block);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to read a refcount block");
    for (uint64_t i = 0; i < per_block; i++) {
        uint64_t cluster = index * per_block + i, count = qcow2_refcount_at(s, block, i);
        if (count == 0)
            continue;
        if (count > r->after.refcount_max)
            return img_error_set(err, EINVAL, "Cannot decrease refcount entry width to %u bits: Cluster at offset "
                                 "%#llx has a refcount of %llu", r->after.refcount_bits,
                                 (unsigned long long)(cluster << s->h.cluster_bits), (unsigned long long)count);
        if ((status = need_stretch(r, cluster)) < 0)
            return img_error_errno(err, -status, "Failed to make a new refcount table");
    }
    return 0;
}

static int scan(struct rebuild *r, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(r->image);
    int status = 0;

    for (uint64_t i = 0; i < s->refcount_table_size && status == 0; i++) {
        if (qcow2_refblock_at(s, i))
            status = scan_block(r, i, err);
        tell(r, i, s->refcount_table_size * 2ull);
    }
    return status;
}

/* ---- Allocating the new set ------------------------------------------------------------------------ */

static int alloc(struct rebuild *r, uint64_t length, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(r->image);
    int status = qcow2_alloc_clusters(r->image, length, offset);

    for (uint64_t at = 0; status == 0 && at < length; at += s->cluster_size)
        status = need_stretch(r, (*offset + at) >> s->h.cluster_bits);
    return status;
}

/* New blocks must be counted, too: repeat until no more are needed. */
static int alloc_blocks(struct rebuild *r, bool *any)
{
    uint32_t cluster_size = qcow2_state(r->image)->cluster_size;
    int status = 0;

    *any = false;
    for (uint64_t i = 0; i < r->stretches && status == 0; i++) {
        if (!r->needed[i] || r->blocks[i])
            continue;
        *any = true;
        uint64_t offset = 0;
        status = alloc(r, cluster_size, &offset);
        r->blocks[i] = offset;
    }
    return status;
}

static uint64_t table_clusters(const struct rebuild *r)
{
    uint64_t entries = r->stretches;

    while (entries > 1 && !r->needed[entries - 1])
        entries--;
    return img_div_up(entries * 8, r->after.cluster_size);
}

static int alloc_table(struct rebuild *r, bool *any)
{
    uint64_t clusters = table_clusters(r), cluster_size = r->after.cluster_size;
    int status = 0;

    *any = clusters > r->table_clusters;
    if (!*any)
        return 0;
    if (clusters * cluster_size > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
        return -EFBIG;
    if (r->table_offset)
        status = qcow2_free_clusters(r->image, r->table_offset, r->table_clusters * cluster_size);
    r->table_offset = 0;
    r->table_clusters = 0;
    uint64_t offset;
    if (status < 0 || (status = alloc(r, clusters * cluster_size, &offset)) < 0)
        return status;
    r->table_offset = offset;
    r->table_clusters = clusters;
    return 0;
}

static int alloc_all(struct rebuild *r)
{
    bool blocks = true, table = true;
    int status = 0;

    while (status == 0 && (blocks || table)) {
        status = alloc_blocks(r, &blocks);
        if (status == 0)
            status = alloc_table(r, &table);
    }
    return status < 0 ? status : qcow2_flush(r->image);
}

static void give_back(struct rebuild *r)
{
    struct qcow2 *s = qcow2_state(r->image);

    for (uint64_t i = 0; i < r->stretches; i++)
        if (r->blocks[i])
            qcow2_free_clusters(r->image, r->blocks[i], s->cluster_size);
    if (r->table_offset)
        qcow2_free_clusters(r->image, r->table_offset, r->table_clusters * s->cluster_size);
    qcow2_flush(r->image);
}

/* ---- The new set -------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* List the old set, once it no longer changes. */
static int list_old(struct rebuild *r)
{
    struct qcow2 *s = qcow2_state(r->image);

    r->old_structures = calloc((size_t)s->refcount_table_size + s->h.refcount_table_clusters + 1, 8);
    if (!r->old_structures)
        return -ENOMEM;
    for (uint64_t i = 0; i < s->refcount_table_size; i++)
        if (qcow2_refblock_at(s, i))
            r->old_structures[r->old_count++] = qcow2_refblock_at(s, i) >> s->h.cluster_bits;
    for (uint64_t i = 0; i < s->h.refcount_table_clusters; i++)
        r->old_structures[r->old_count++] = (s->h.refcount_table_offset >> s->h.cluster_bits) + i;
    qsort(r->old_structures, r->old_count, 8, by_number);
    return 0;
}

/* Index of the first old structure at or after `cluster`. */
static size_t first_old(const struct rebuild *r, uint64_t cluster)
{
    size_t low = 0, high = r->old_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->old_structures[middle] < cluster)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int build_block(const struct rebuild *r, uint64_t stretch, uint8_t *block)
{
    uint64_t per_block = 1ull << r->after.refblock_bits, first = stretch << r->after.refblock_bits;
    int status = 0;

    memset(block, 0, r->after.cluster_size);
    for (uint64_t i = 0; i < per_block && status == 0; i++) {
        uint64_t count;
        status = qcow2_refcount_get(r->image, first + i, &count);
        if (status == 0 && count > r->after.refcount_max)
            status = -EINVAL;
        qcow2_refcount_put(&r->after, block, i, status == 0 ? count : 0);
    }
    for (size_t i = first_old(r, first); i < r->old_count && r->old_structures[i] < first + per_block; i++) {
        uint64_t index = r->old_structures[i] - first, count = qcow2_refcount_at(&r->after, block, index);
        qcow2_refcount_put(&r->after, block, index, count ? count - 1 : 0);
    }
    return status;
}

static int write_set(struct rebuild *r)
{
    struct img *image = r->image;
    uint32_t cluster_size = r->after.cluster_size;
    size_t table_bytes = (size_t)(r->table_clusters * cluster_size);
    CLEANUP_FREE uint8_t *block = malloc(cluster_size), *table = calloc(1, table_bytes);
    int status = block && table ? 0 : -ENOMEM;

    r->failed = "Failed to write refblock";
    for (uint64_t i = 0; i < r->stretches && status == 0; i++) {
        if (!r->blocks[i])
            continue;
        img_put_be64(table + i * 8, r->blocks[i]);
        if ((status = build_block(r, i, block)) == 0)
            status = qcow2_write(image, 0, block, r->blocks[i], cluster_size);
        tell(r, r->stretches + i, r->stretches * 2);
    }
    if (status < 0)
        return status;
    r->failed = "Failed to write the new reftable";
    status = qcow2_write(image, 0, table, r->table_offset, table_bytes);
    return status < 0 ? status : qcow2_barrier(image);
}

/* From refcount_table_offset to refcount_order, in one write. */
static int switch_header(struct rebuild *r)
{
    enum { FROM = 48, TO = 100 };
    struct qcow2_header *h = &qcow2_state(r->image)->h;
    uint8_t raw[TO - FROM];

    img_put_be64(raw, r->table_offset);
    img_put_be32(raw + 8, (uint32_t)r->table_clusters);
    img_put_be32(raw + 12, h->snapshot_count);
    img_put_be64(raw + 16, h->snapshots_offset);
    img_put_be64(raw + 24, h->incompatible);
    img_put_be64(raw + 32, h->compatible);
    img_put_be64(raw + 40, h->autoclear);
    img_put_be32(raw + 48, r->after.h.refcount_order);
    int status = img_pwrite(r->image->file, raw, FROM, sizeof raw);
    return status < 0 ? status : qcow2_barrier(r->image);
}

/* Update the state in memory. */
static int adopt(struct rebuild *r, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(r->image);

    s->h.refcount_order = r->after.h.refcount_order;
    s->h.refcount_table_offset = r->table_offset;
    s->h.refcount_table_clusters = (uint32_t)r->table_clusters;
    qcow2_derive(s);
    qcow2_cache_clear(s->refblock_cache);
    s->free_cluster_index = 0;
    qcow2_forget_derived(s);
    return qcow2_read_refcount_table(r->image, err);
}

int qcow2_amend_refcounts(struct img *image, unsigned order, const struct img_amend *how, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct rebuild r = { .image = image, .how = how, .failed = "Failed to make a new refcount table" };
    int status = qcow2_flush(image);

    r.after.h = s->h;
    r.after.h.refcount_order = order;
    qcow2_derive(&r.after);
    if (status < 0)
        status = img_error_errno(err, -status, "Failed to flush the refcount block cache");
    else if ((status = qcow2_check_refblocks(image)) < 0)
        status = img_error_errno(err, -status, "Failed to count the clusters in use");
    else
        status = scan(&r, err);
    if (status == 0 && ((status = alloc_all(&r)) < 0 || (status = list_old(&r)) < 0 ||
                        (status = write_set(&r)) < 0 || (status = switch_header(&r)) < 0)) {
        give_back(&r);
        img_error_errno(err, -status, "%s", r.failed);
    } else if (status == 0) {
        status = adopt(&r, err);
    }
    free(r.needed);
    free(r.blocks);
    free(r.old_structures);
    return status;
}
