/* SPDX-License-Identifier: MIT */
/*
 * Grows the refcount table, and adds refcount blocks.
 * Specification: "Host cluster management".
 *
 * The new blocks and the new table lie together in one area of the file, which they count themselves.  They are
 * written in full before the header points to them, so after a crash the old table is still valid.
 */
#include "../qcow2.h"

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

int qcow2_check_refblocks(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint64_t *sorted = NULL;
    size_t count = 0;

    if (s->refblocks_distinct)
        return 0;
    sorted = malloc((size_t)s->refcount_table_size * 8 + 8);
    if (!sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->refcount_table_size; i++)
        if (qcow2_refblock_at(s, i))
            sorted[count++] = qcow2_refblock_at(s, i);
    qsort(sorted, count, sizeof *sorted, by_value);
    for (size_t i = 1; i < count; i++)
        if (sorted[i] == sorted[i - 1])
            return qcow2_signal_corrupt(image, true, "Refblock at offset %#llx is named more than once",
                                        (unsigned long long)sorted[i]);
    s->refblocks_distinct = true;
    return 0;
}

int qcow2_refcount_area_size(const struct qcow2 *s, bool exact, uint64_t clusters, uint64_t *blocks, uint64_t *table)
{
    uint64_t per_block = 1ull << s->refblock_bits, per_table = s->cluster_size / 8, before;

    *blocks = *table = 0;
    do {
        before = *blocks + *table;
        *blocks = img_div_up(clusters + before, per_block);
        *table = img_div_up(*blocks, per_table);
    } while (*blocks + *table != before);
    /* When growing, add half as much again, so that the next move is far off. */
    if (!exact)
        *table = img_div_up(*blocks + *blocks / 2, per_table);
    return *table << s->h.cluster_bits > QCOW2_MAX_REFCOUNT_TABLE_BYTES ? -EFBIG : 0;
}

/* Place the blocks that `table` lacks, up to `blocks`, one after the other from `offset`.  Returns the end. */
static uint64_t place_blocks(const struct qcow2 *s, uint64_t *table, uint64_t first, uint64_t blocks, uint64_t offset)
{
    for (uint64_t i = first; i < blocks; i++) {
        if (table[i])
            continue;
        table[i] = offset;
        offset += s->cluster_size;
    }
    return offset;
}

/* Write the blocks of the area: new ones in full, and the counts of the area [start, end) into all. */
static int count_area(struct img *image, const uint64_t *table, uint64_t blocks, uint64_t start, uint64_t end)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t stretch = 1ull << (s->refblock_bits + s->h.cluster_bits);

    for (uint64_t i = start / stretch; i < blocks; i++) {
        uint64_t offset = table[i] & ~511ull;
        bool is_new = i >= s->refcount_table_size || s->refcount_table[i] != table[i];
        uint8_t *block;
        int status;

        if (is_new && !(offset < start))
            status = qcow2_cache_new_table(s->refblock_cache, offset, &block);
        else
            status = qcow2_cache_get(s->refblock_cache, offset, &block);
        if (status < 0)
            return status;
        qcow2_cache_dirty(s->refblock_cache, offset);
        qcow2_note_metadata(image, offset);
        uint64_t from = img_max(start, i * stretch), to = img_min(end, (i + 1) * stretch);
        for (uint64_t at = from; at < to; at += s->cluster_size)
            qcow2_refcount_put(s, block, (at - i * stretch) >> s->h.cluster_bits, 1);
    }
    return 0;
}

/* Writing failed.  Nothing refers to the area, so it is free again; drop its new blocks unwritten. */
static void uncount_area(struct img *image, const uint64_t *table, uint64_t blocks, uint64_t start, uint64_t end)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t stretch = 1ull << (s->refblock_bits + s->h.cluster_bits);

    for (uint64_t i = start / stretch; i < blocks; i++) {
        uint64_t offset = table[i] & ~511ull, to = img_min(end, (i + 1) * stretch);
        uint8_t *block;
        if (i >= s->refcount_table_size || s->refcount_table[i] != table[i]) {
            qcow2_cache_forget(s->refblock_cache, offset);
            continue;
        }
        if (qcow2_cache_get(s->refblock_cache, offset, &block) < 0)
            continue;
        qcow2_cache_dirty(s->refblock_cache, offset);
        for (uint64_t at = img_max(start, i * stretch); at < to; at += s->cluster_size)
            qcow2_refcount_put(s, block, (at - i * stretch) >> s->h.cluster_bits, 0);
    }
}

static int write_table(struct img *image, uint64_t *table, uint64_t clusters, uint64_t offset)
{
    uint64_t entries = clusters << (qcow2_state(image)->h.cluster_bits - 3);

    for (uint64_t i = 0; i < entries; i++)
        table[i] = IMG_BE64(table[i]);
    IMG_EVENT(image->file, refblock_alloc_write_table);
    int status = qcow2_write(image, 0, table, offset, (size_t)(entries * 8));
    for (uint64_t i = 0; i < entries; i++)
        table[i] = IMG_BE64(table[i]);
    return status < 0 ? status : qcow2_barrier(image);
}

/* Switch the header to the table. */
static int switch_table(struct img *image, uint64_t clusters, uint64_t offset)
{
    uint8_t pointer[12];
    int status;

    img_put_be64(pointer, offset);
    img_put_be32(pointer + 8, (uint32_t)clusters);
    IMG_EVENT(image->file, refblock_alloc_switch_table);
    if ((status = img_pwrite(image->file, pointer, 48, sizeof pointer)) < 0)
        return status;
    return qcow2_barrier(image);
}

int qcow2_write_refcount_area(struct img *image, const struct qcow2_refcount_area *area, uint64_t *end)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t blocks, clusters, first = area->start >> (s->refblock_bits + s->h.cluster_bits);

    IMG_EVENT(image->file, reftable_grow);
    int status = qcow2_refcount_area_size(s, area->exact, (area->start >> s->h.cluster_bits) + area->clusters, &blocks,
                                          &clusters);
    if (status < 0)
        return status;
    uint64_t entries = img_max(clusters << (s->h.cluster_bits - 3), s->refcount_table_size);
    clusters = entries >> (s->h.cluster_bits - 3);
    uint64_t *table = calloc(entries, 8);
    if (!table)
        return -ENOMEM;
    memcpy(table, s->refcount_table, (size_t)s->refcount_table_size * 8);
    if (area->block_offset)
        table[area->block_index] = area->block_offset;

    uint64_t table_offset = place_blocks(s, table, first, blocks, area->start);
    *end = table_offset + (clusters << s->h.cluster_bits);
    IMG_EVENT(image->file, refblock_alloc_write_blocks);
    if ((status = count_area(image, table, blocks, area->start, *end)) < 0 ||
        (status = qcow2_cache_write(s->refblock_cache)) < 0 ||
        (status = write_table(image, table, clusters, table_offset)) < 0)
        uncount_area(image, table, blocks, area->start, *end);
    else
        status = switch_table(image, clusters, table_offset);   /* after an error either may be active */
    if (status < 0) {
        free(table);
        return status;
    }

    uint64_t old_offset = s->h.refcount_table_offset;
    uint64_t old_bytes = (uint64_t)s->h.refcount_table_clusters << s->h.cluster_bits;
    free(s->refcount_table);
    s->refcount_table = table;
    s->refcount_table_size = (uint32_t)entries;
    s->h.refcount_table_offset = table_offset;
    s->h.refcount_table_clusters = (uint32_t)clusters;
    qcow2_free_clusters(image, old_offset, old_bytes);
    return 0;
}
