/* SPDX-License-Identifier: MIT */
/*
 * Rebuilds the refcount structures if they cannot be repaired in place.
 * Specification: "Host cluster management".
 *
 * Each range of the file with a used cluster gets a block, in the first free cluster of that range or after it; then
 * the table gets the first run of free clusters that is long enough.  Both use only clusters that neither the image
 * nor the old structures refer to; the header is switched when everything is on disk.  If this is interrupted, the
 * image is no worse than before.
 */
#include "check.h"

enum { HEADER_REFCOUNT_TABLE = 48 };    /* offset (8 bytes) and clusters (4) of the table */

struct rebuilt {
    struct qcow2_check *check;
    uint64_t *table;                /* host byte order; cluster numbers instead of offsets, 0: no block */
    uint64_t entries;               /* used entries are below */
    uint64_t capacity;
    uint64_t start, clusters;       /* of the table in the file; clusters == 0: not placed yet */
    uint64_t file_size;             /* including new blocks and the table */
    struct qcow2_counts spared;     /* clusters that are not counted, but must not be used */
    uint64_t full_from, full_to;    /* no cluster between is free: the next search skips them */
};

static int take(struct rebuilt *new, uint64_t cluster)
{
    struct qcow2_check *check = new->check;

    check->clusters = img_max(check->clusters, cluster + 1);
    new->file_size = img_max(new->file_size, (cluster + 1) << check->s->h.cluster_bits);
    return qcow2_count_set(&check->counts, cluster, 1);
}

/* The first run of `count` clusters, from `cluster` on, that nothing refers to. */
static uint64_t find_run(struct rebuilt *new, uint64_t cluster, uint64_t count)
{
    bool known = cluster >= new->full_from && cluster < new->full_to;
    uint64_t start = known ? new->full_to : cluster;

    start += qcow2_count_used_run(&new->check->counts, start, UINT64_MAX - start);
    for (uint64_t at = start; at - start < count; at++)
        if (qcow2_count_get(&new->check->counts, at) || qcow2_count_get(&new->spared, at))
            start = at + 1;
    if (count == 1) {
        new->full_from = known ? new->full_from : cluster;
        new->full_to = start;
    }
    return start;
}

/* Spare the clusters of a range, as far as they could be used at all. */
static int spare(struct rebuilt *new, uint64_t offset, uint64_t length)
{
    const struct qcow2_check *check = new->check;
    uint64_t cluster_size = check->s->cluster_size, last = (offset + length - 1) / cluster_size;
    int status = 0;

    /* For long tables, only the part inside the file. */
    if (length > cluster_size && last >= check->clusters)
        last = check->clusters;
    for (uint64_t i = offset / cluster_size; status == 0 && i <= last; i++)
        status = qcow2_count_set(&new->spared, i, 1);
    return status;
}

/* Spare the old structures, even if too broken to be counted, and everything that is referred to but not counted. */
static int spare_uncounted(struct rebuilt *new)
{
    const struct qcow2_check *check = new->check;
    const struct qcow2 *s = check->s;
    uint64_t size = (uint64_t)s->h.refcount_table_clusters << s->h.cluster_bits;
    int status = size ? spare(new, s->h.refcount_table_offset, size) : 0;

    for (uint32_t i = 0; status == 0 && i < s->refcount_table_size; i++) {
        uint64_t offset = s->refcount_table[i] & ~511ull;
        if (offset && offset >> s->h.cluster_bits < check->clusters)
            status = spare(new, offset, s->cluster_size);
    }
    for (size_t i = 0; status == 0 && i < check->outside.count; i++)
        status = spare(new, check->outside.at[i].offset, check->outside.at[i].length);
    return status;
}

/* The file has become longer: count references that are inside it now. */
static int adopt(struct rebuilt *new)
{
    struct qcow2_check *check = new->check;
    unsigned bits = check->s->h.cluster_bits;
    int status = 0;

    for (size_t i = 0; status == 0 && i < check->outside.count; i++) {
        struct qcow2_range *range = &check->outside.at[i];
        if (range->length == 0 || qcow2_check_exceeds(check, range->offset, range->length, new->file_size))
            continue;
        uint64_t last = (range->offset + range->length - 1) >> bits;
        for (uint64_t at = range->offset >> bits; status == 0 && at <= last; at++) {
            uint64_t count = qcow2_count_get(&check->counts, at);
            if (count < check->s->refcount_max)
                status = qcow2_count_set(&check->counts, at, count + 1);
        }
        check->clusters = img_max(check->clusters, last + 1);
        range->length = 0;
    }
    return status;
}

static int need_entries(struct rebuilt *new, uint64_t entries)
{
    if (entries > QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8)
        return -EFBIG;
    if (entries > new->capacity) {
        uint64_t more = img_max(entries, img_max(new->capacity * 2, 64));
        uint64_t *table = realloc(new->table, more * sizeof *table);
        if (!table)
            return -ENOMEM;
        memset(table + new->capacity, 0, (more - new->capacity) * sizeof *table);
        new->table = table;
        new->capacity = more;
    }
    new->entries = img_max(new->entries, entries);
    return 0;
}

/* Place a block for every range with a used cluster; the new blocks are used clusters, too. */
static int place_blocks(struct rebuilt *new)
{
    struct qcow2_check *check = new->check;
    unsigned bits = check->s->refblock_bits;

    for (uint64_t cluster = 0; cluster < check->clusters; ) {
        uint64_t index = cluster >> bits;
        uint64_t unused = qcow2_count_free_run(&check->counts, cluster, check->clusters - cluster);
        if (unused) {
            cluster += unused;
            continue;
        }
        int status = need_entries(new, index + 1);
        if (status < 0)
            return status;
        if (!new->table[index]) {
            new->table[index] = find_run(new, index << bits, 1);
            if ((status = take(new, new->table[index])) < 0)
                return status;
        }
        cluster = (index + 1) << bits;
    }
    return 0;
}

/* Place the table, perhaps in place of a smaller one. */
static int place_table(struct rebuilt *new)
{
    struct qcow2_check *check = new->check;
    int status = 0;

    new->full_from = new->full_to = 0;
    for (uint64_t i = 0; status == 0 && i < new->clusters; i++)
        status = qcow2_count_set(&check->counts, new->start + i, 0);
    new->clusters = img_div_up(new->entries * 8, check->s->cluster_size);
    new->start = find_run(new, 0, new->clusters);
    for (uint64_t i = 0; status == 0 && i < new->clusters; i++)
        status = take(new, new->start + i);
    return status;
}

static int place(struct rebuilt *new)
{
    int status = spare_uncounted(new);

    /* The table may need blocks for its own clusters, these a larger table, and both extend the file. */
    while (status == 0) {
        uint64_t size;
        do {
            size = new->file_size;
            if ((status = place_blocks(new)) < 0 || (status = adopt(new)) < 0)
                return status;
        } while (size != new->file_size);
        if (new->clusters && new->entries * 8 <= new->clusters << new->check->s->h.cluster_bits)
            break;
        status = place_table(new);
    }
    return status;
}

/* Convert one-byte counts to two bytes. */
static void widen_counts(uint8_t *block, const uint8_t *counts, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        block[i * 2] = 0;
        block[i * 2 + 1] = counts[i];
    }
}

static int write_block(struct qcow2_check *check, uint64_t index, uint64_t cluster)
{
    struct qcow2 *s = check->s;
    uint64_t per_block = 1ull << s->refblock_bits, first = index << s->refblock_bits;
    uint64_t offset = cluster << s->h.cluster_bits;

    memset(check->block, 0, s->cluster_size);
    for (uint64_t i = 0; i < per_block; ) {
        uint64_t end = img_min(per_block, (i | (QCOW2_GROUP_CLUSTERS - 1)) + 1);
        const uint8_t *counts = qcow2_count_bytes(&check->counts, first + i);
        if (counts && s->h.refcount_order == 4) {
            widen_counts(check->block + i * 2, counts, end - i);
            i = end;
            continue;
        }
        for (; i < end; i++) {
            uint64_t count = qcow2_count_get(&check->counts, first + i);
            if (count)
                qcow2_refcount_put(s, check->block, i, count);
        }
    }
    return img_pwrite(check->image->file, check->block, offset, s->cluster_size);
}

/* Write the table, in file byte order and whole clusters. */
static int write_table(const struct rebuilt *new)
{
    const struct qcow2 *s = new->check->s;
    uint64_t bytes = new->clusters << s->h.cluster_bits;
    CLEANUP_FREE uint64_t *table = calloc(1, bytes);

    if (!table)
        return -ENOMEM;
    for (uint64_t i = 0; i < new->entries; i++)
        table[i] = IMG_BE64(new->table[i] << s->h.cluster_bits);
    return img_pwrite(new->check->image->file, table, new->start << s->h.cluster_bits, bytes);
}

static int write_all(const struct rebuilt *new)
{
    struct qcow2_check *check = new->check;
    int status = 0;

    check->block_index = UINT64_MAX;
    for (uint64_t i = 0; status == 0 && i < new->entries; i++)
        if (new->table[i])
            status = write_block(check, i, new->table[i]);
    if (status < 0) {
        img_notice(IMG_FAULT, "ERROR writing refblock: %s", img_strerror(status));
        return status;
    }
    if ((status = write_table(new)) < 0)
        img_notice(IMG_FAULT, "ERROR writing reftable: %s", img_strerror(status));
    return status < 0 ? status : qcow2_barrier(check->image);
}

/* From here on the new structures are active. */
static int switch_over(const struct rebuilt *new)
{
    struct qcow2_check *check = new->check;
    struct qcow2 *s = check->s;
    uint64_t size = new->clusters << s->h.cluster_bits >> 3;
    uint64_t *table = calloc(size, sizeof *table);
    uint8_t header[12];

    if (!table)
        return -ENOMEM;
    img_put_be64(header, new->start << s->h.cluster_bits);
    img_put_be32(header + 8, (uint32_t)new->clusters);
    int status = img_pwrite(check->image->file, header, HEADER_REFCOUNT_TABLE, sizeof header);
    if (status == 0)
        status = qcow2_barrier(check->image);
    if (status < 0) {
        img_notice(IMG_FAULT, "ERROR setting reftable: %s", img_strerror(status));
        free(table);
        return status;
    }
    for (uint32_t i = 0; i < s->refcount_table_size; i++)
        if (s->refcount_table[i])
            qcow2_cache_forget(s->refblock_cache, s->refcount_table[i] & ~511ull);
    for (uint64_t i = 0; i < new->entries; i++) {
        table[i] = new->table[i] << s->h.cluster_bits;
        qcow2_cache_forget(s->refblock_cache, table[i]);
        qcow2_note_metadata(check->image, table[i]);
    }
    free(s->refcount_table);
    s->refcount_table = table;
    s->refcount_table_size = (uint32_t)size;
    s->h.refcount_table_offset = new->start << s->h.cluster_bits;
    s->h.refcount_table_clusters = (uint32_t)new->clusters;
    s->free_cluster_index = 0;
    return 0;
}

int qcow2_rebuild_refcounts(struct qcow2_check *check)
{
    struct rebuilt new = { .check = check, .file_size = check->file_size };

    int status = place(&new);
    if (status == 0)
        status = write_all(&new);
    if (status == 0)
        status = switch_over(&new);
    free(new.table);
    qcow2_counts_free(&new.spared);
    check->block_index = UINT64_MAX;
    return status;
}
