/* SPDX-License-Identifier: MIT */
/*
 * Refcounts of host clusters, and allocation.
 * Specification: "Host cluster management".
 *
 * The refcount table (fully in memory) refers to refcount blocks (in a cache); each block counts the clusters of one
 * range of the file.  A range without a block is free.  Blocks and the table lie in the file that they describe: a
 * new block is placed after the clusters being allocated, and usually counts itself; refcount-table.c grows the
 * table.
 */
#include "qcow2.h"
#include "../../libimg/io/waiting.h"

enum { MAX_DEPTH = 16, LONG_SEARCH = 16 };

uint64_t qcow2_refcount_at(const struct qcow2 *s, const uint8_t *block, uint64_t index)
{
    unsigned order = s->h.refcount_order;

    switch (order) {
    case 3: return block[index];
    case 4: return img_get_be16(block + index * 2);
    case 5: return img_get_be32(block + index * 4);
    case 6: return img_get_be64(block + index * 8);
    default: {
        unsigned per_byte = 8u >> order, shift = (unsigned)(index % per_byte) << order;
        return block[index / per_byte] >> shift & s->refcount_max;
    }
    }
}

void qcow2_refcount_put(const struct qcow2 *s, uint8_t *block, uint64_t index, uint64_t value)
{
    unsigned order = s->h.refcount_order;

    switch (order) {
    case 3: block[index] = (uint8_t)value; break;
    case 4: img_put_be16(block + index * 2, (uint16_t)value); break;
    case 5: img_put_be32(block + index * 4, (uint32_t)value); break;
    case 6: img_put_be64(block + index * 8, value); break;
    default: {
        unsigned per_byte = 8u >> order, shift = (unsigned)(index % per_byte) << order;
        uint8_t *byte = &block[index / per_byte];
        *byte = (uint8_t)((*byte & ~(s->refcount_max << shift)) | value << shift);
    }
    }
}

/* What is published while this goes on is not counted: its bytes may have come too late. */
static int flush_published(struct img *image, struct img *file, bool aside)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t published = s->published;
    int status = aside ? img_flush_aside(image, file) : img_flush(file);

    if (status == 0 && file == qcow2_storage(image))
        s->durable = img_max(s->durable, published);
    return status;
}

int qcow2_barrier(struct img *image)
{
    if (img_cache_unsafe(image->cache) || qcow2_state(image)->shadowed)
        return 0;
    return flush_published(image, image->file, false);
}

int qcow2_barrier_aside(struct img *image)
{
    return img_cache_unsafe(image->cache) ? 0 : flush_published(image, image->file, true);
}

int qcow2_data_barrier(struct img *image, uint64_t published, bool aside)
{
    if (img_cache_unsafe(image->cache) || published <= qcow2_state(image)->durable)
        return 0;
    return flush_published(image, qcow2_storage(image), aside);
}

int qcow2_read_refcount_table(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t bytes = (uint64_t)s->h.refcount_table_clusters << s->h.cluster_bits;

    if (bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
        return img_error_set(err, EFBIG, "Reference count table too large");
    uint64_t *table = malloc(bytes + 1);
    if (!table)
        return img_error_errno(err, ENOMEM, "Could not initialize refcount handling");
    qcow2_forget_ahead(s);          /* the event is about a request */
    IMG_EVENT(image->file, reftable_load);
    int status = qcow2_read(image, table, s->h.refcount_table_offset, (size_t)bytes);
    if (status < 0) {
        free(table);
        return img_error_errno(err, -status, "Could not initialize refcount handling");
    }
    for (uint64_t i = 0; i < bytes / 8; i++)
        table[i] = IMG_BE64(table[i]);
    free(s->refcount_table);
    s->refcount_table = table;
    s->refcount_table_size = (uint32_t)(bytes / 8);
    return 0;
}

/* The host offset of the block with this index; 0: none. */
static int block_offset(struct img *image, uint64_t index, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);

    *offset = qcow2_refblock_at(s, index);
    if (!img_aligned(*offset, s->cluster_size))
        return qcow2_signal_corrupt(image, true, "Refblock offset %#llx unaligned (reftable index: %#llx)",
                                    (unsigned long long)*offset, (unsigned long long)index);
    return 0;
}

/* Get the block with this index; *block is NULL if there is none. */
static int get_block(struct img *image, uint64_t index, uint8_t **block)
{
    uint64_t offset;

    *block = NULL;
    int status = block_offset(image, index, &offset);
    if (status < 0 || offset == 0)
        return status;
    return qcow2_cache_get(qcow2_state(image)->refblock_cache, offset, block);
}

int qcow2_refcount_get(struct img *image, uint64_t cluster, uint64_t *count)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t *block;

    *count = 0;
    int status = get_block(image, cluster >> s->refblock_bits, &block);
    if (status == 0 && block)
        *count = qcow2_refcount_at(s, block, cluster & ((1ull << s->refblock_bits) - 1));
    return status;
}

/* ---- Finding free clusters -------------------------------------------------- */

/* Among sound blocks a search may examine as many as the file has; in a damaged table it might not end. */
static int check_search(struct img *image, uint64_t from, uint64_t at)
{
    return (at - from) >> qcow2_state(image)->refblock_bits > LONG_SEARCH ? qcow2_check_refblocks(image) : 0;
}

/* Length of the run of free clusters from `cluster`, at most `limit`. */
static int free_run(struct img *image, uint64_t cluster, uint64_t limit, uint64_t *length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t per_block = 1ull << s->refblock_bits, run = 0;

    while (run < limit) {
        uint64_t at = cluster + run, index = at & (per_block - 1);
        uint8_t *block;

        int status = get_block(image, at >> s->refblock_bits, &block);
        if (status < 0)
            return status;
        uint64_t here = img_min(per_block - index, limit - run), n = here;
        if (block)
            for (n = 0; n < here && qcow2_refcount_at(s, block, index + n) == 0; n++)
                ;
        run += n;
        if (n < here)
            break;
    }
    *length = run;
    return 0;
}

/* Find the first free cluster, from `cluster` on. */
static int skip_used(struct img *image, uint64_t *cluster)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t per_block = 1ull << s->refblock_bits, from = *cluster;

    for (;;) {
        uint64_t index = *cluster & (per_block - 1);
        uint8_t *block;

        int status = check_search(image, from, *cluster);
        if (status == 0)
            status = get_block(image, *cluster >> s->refblock_bits, &block);
        if (status < 0 || !block)
            return status;
        for (uint64_t i = index; i < per_block; i++, (*cluster)++)
            if (qcow2_refcount_at(s, block, i) == 0)
                return 0;
    }
}

/* First fit from free_cluster_index, which moves past the clusters found. */
static int find_free(struct img *image, uint64_t count, uint64_t *cluster)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t limit = (QCOW2_OFFSET_MASK >> s->h.cluster_bits) + 1, at = s->free_cluster_index;

    for (;;) {
        uint64_t run;
        int status = check_search(image, s->free_cluster_index, at);
        if (status < 0 || (status = skip_used(image, &at)) < 0)
            return status;
        if (!img_within(at, count, limit))
            return -EFBIG;
        if ((status = free_run(image, at, count, &run)) < 0)
            return status;
        if (run == count)
            break;
        at += run;
    }
    s->free_cluster_index = at + count;
    *cluster = at;
    return 0;
}

/* ---- New refcount blocks ------------------------------------------------------- */

static int change_counts(struct img *image, uint64_t cluster, uint64_t count, int delta, unsigned depth);

/* Enter a new block into the table, in memory and on disk; the block itself is written first. */
static int hook_up_block(struct img *image, uint64_t index, uint64_t offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t entry[8];
    int status;

    if ((status = qcow2_cache_write(s->refblock_cache)) < 0 || (status = qcow2_barrier(image)) < 0)
        return status;
    img_put_be64(entry, offset);
    uint64_t at = s->h.refcount_table_offset + index * 8;
    IMG_EVENT(image->file, refblock_alloc_hookup);
    if ((status = qcow2_write(image, QCOW2_AT_REFTABLE, entry, at, sizeof entry)) < 0)
        return status;
    s->refcount_table[index] = offset;
    return 0;
}

/* A block that counts itself, and lies beyond the range of the table: grow the table with it. */
static int grow_table_for(struct img *image, uint64_t index, uint64_t offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t next = s->free_cluster_index, end;
    struct qcow2_refcount_area area = {
        .start = (index + 1) << (s->refblock_bits + s->h.cluster_bits), .block_index = index, .block_offset = offset };

    int status = qcow2_write_refcount_area(image, &area, &end);
    /* Do not go back to the clusters of the old table in the middle of an allocation. */
    s->free_cluster_index = next;
    return status;
}

/* The block could not be entered into the table: discard it, and never write it. */
static void give_up_block(struct img *image, uint64_t offset, bool itself, unsigned depth)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t cluster = offset >> s->h.cluster_bits;

    qcow2_cache_forget(s->refblock_cache, offset);
    s->free_cluster_index = img_min(s->free_cluster_index, cluster);
    if (!itself)
        change_counts(image, cluster, 1, -1, depth + 1);
}

/* Allocate the block with this index. */
static int alloc_block(struct img *image, uint64_t index, unsigned depth)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t cluster, other;
    uint8_t *block;

    if (index >= QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8)
        return -EFBIG;
    if (depth > MAX_DEPTH || s->shadowed)
        return -EIO;
    int status = find_free(image, 1, &cluster);
    if (status < 0)
        return status;
    uint64_t offset = cluster << s->h.cluster_bits;
    if (offset == 0)
        return qcow2_signal_corrupt(image, true, "Preventing invalid allocation of refcount block at offset 0");

    bool itself = cluster >> s->refblock_bits == index;
    if (!itself) {
        if ((status = change_counts(image, cluster, 1, 1, depth + 1)) < 0)
            return status;
        /* Counting it may have needed this very block. */
        if ((status = block_offset(image, index, &other)) < 0 || other != 0)
            return status < 0 ? status : change_counts(image, cluster, 1, -1, depth + 1);
    }
    if ((status = qcow2_cache_new_table(s->refblock_cache, offset, &block)) == 0) {
        qcow2_note_metadata(image, offset);
        if (itself)
            qcow2_refcount_put(s, block, cluster & ((1ull << s->refblock_bits) - 1), 1);
        status = index < s->refcount_table_size ? hook_up_block(image, index, offset)
                                                : grow_table_for(image, index, offset);
    }
    if (status < 0)
        give_up_block(image, offset, itself, depth);
    return status;
}

/* Get the block with this index, allocated if needed. */
static int need_block(struct img *image, uint64_t index, unsigned depth, uint8_t **block)
{
    int status = get_block(image, index, block);

    if (status < 0 || *block)
        return status;
    if ((status = alloc_block(image, index, depth)) < 0 || (status = get_block(image, index, block)) < 0)
        return status;
    return *block ? 0 : -EIO;
}

/* ---- Changing counts ------------------------------------------------------------- */

/* A cluster has become free: forget cached state about it. */
static void forget_cluster(struct img *image, uint64_t cluster)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = cluster << s->h.cluster_bits;

    if (cluster < s->free_cluster_index)
        s->free_cluster_index = cluster;
    if (s->coded_tail && s->coded_tail >> s->h.cluster_bits == cluster)
        s->coded_tail = 0;
    qcow2_cache_forget(s->l2_cache, offset);
    qcow2_cache_forget(s->refblock_cache, offset);
}

/* Change up to `count` refcounts within one block; *done is the number changed. */
static int change_in_block(struct img *image, uint64_t cluster, uint64_t count, int delta, unsigned depth,
                           uint64_t *done)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t per_block = 1ull << s->refblock_bits, first = cluster & (per_block - 1), offset;
    uint64_t here = img_min(count, per_block - first), index = cluster >> s->refblock_bits;
    uint8_t *block;

    *done = 0;
    int status = delta > 0 ? need_block(image, index, depth, &block) : get_block(image, index, &block);
    if (status < 0)
        return status;
    if (!block || (status = block_offset(image, index, &offset)) < 0)
        return block ? status : -EINVAL;
    qcow2_cache_dirty(s->refblock_cache, offset);
    for (; *done < here; ++*done) {
        uint64_t value = qcow2_refcount_at(s, block, first + *done);
        if (delta > 0 ? value >= s->refcount_max : value == 0)
            return -EINVAL;
        qcow2_refcount_put(s, block, first + *done, delta > 0 ? value + 1 : value - 1);
        /* Forgetting a cluster must not drop the block being changed. */
        if (delta < 0 && value == 1 && cluster + *done != offset >> s->h.cluster_bits)
            forget_cluster(image, cluster + *done);
    }
    return 0;
}

static int change_counts(struct img *image, uint64_t cluster, uint64_t count, int delta, unsigned depth)
{
    uint64_t done = 0;

    while (done < count) {
        uint64_t n;
        int status = change_in_block(image, cluster + done, count - done, delta, depth, &n);
        done += n;
        if (status < 0) {
            /* Undo the changes; if that fails too, clusters leak at worst. */
            if (done && depth == 0)
                change_counts(image, cluster, done, -delta, 1);
            return status;
        }
    }
    return 0;
}

int qcow2_refcount_change(struct img *image, uint64_t offset, uint64_t length, int delta)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t end;

    if (length == 0)
        return 0;
    if (!img_add(offset, length - 1, &end) || end > QCOW2_OFFSET_MASK + 511)
        return -EINVAL;
    int status = s->lazy ? qcow2_mark_dirty(image) : 0;
    if (status < 0)
        return status;
    uint64_t first = offset >> s->h.cluster_bits, last = end >> s->h.cluster_bits;
    return change_counts(image, first, last - first + 1, delta, 0);
}

/* ---- Allocation --------------------------------------------------------------------- */

int qcow2_alloc_clusters(struct img *image, uint64_t length, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t count = (length + s->cluster_size - 1) >> s->h.cluster_bits, cluster;

    IMG_EVENT(image->file, cluster_alloc);
    int status = find_free(image, count, &cluster);
    if (status < 0)
        return status;
    *offset = cluster << s->h.cluster_bits;
    status = qcow2_refcount_change(image, *offset, count << s->h.cluster_bits, 1);
    if (status < 0 && cluster < s->free_cluster_index)
        s->free_cluster_index = cluster;
    return status;
}

/* Get the blocks that count a range.  *made: one was allocated, perhaps inside the range itself. */
static int need_blocks(struct img *image, uint64_t cluster, uint64_t count, bool *made)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t last = (cluster + count - 1) >> s->refblock_bits;

    *made = false;
    for (uint64_t index = cluster >> s->refblock_bits; index <= last && !*made; index++) {
        uint8_t *block;
        int status = get_block(image, index, &block);
        if (status == 0 && !block) {
            *made = true;
            status = need_block(image, index, 0, &block);
        }
        if (status < 0)
            return status;
    }
    return 0;
}

int qcow2_alloc_at(struct img *image, uint64_t offset, uint64_t *length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t run, cluster = offset >> s->h.cluster_bits;
    uint64_t wanted = (*length + s->cluster_size - 1) >> s->h.cluster_bits;
    bool made = true;

    while (made) {
        int status = free_run(image, cluster, wanted, &run);
        if (status < 0)
            return status;
        *length = img_min(*length, run << s->h.cluster_bits);
        if (run == 0)
            return 0;
        if ((status = need_blocks(image, cluster, run, &made)) < 0)
            return status;
    }
    return qcow2_refcount_change(image, offset, run << s->h.cluster_bits, 1);
}

/* Add one reference to the cluster at `tail`, if its refcount is not at its maximum. */
static int share_tail(struct img *image, uint64_t tail, bool *shared)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t count;

    int status = qcow2_refcount_get(image, tail >> s->h.cluster_bits, &count);
    *shared = status == 0 && count > 0 && count < s->refcount_max;
    return status == 0 && *shared ? qcow2_refcount_change(image, tail, 1, 1) : status;
}

int qcow2_alloc_coded(struct img *image, uint64_t length, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t tail = s->coded_tail, fresh = 0;
    uint64_t room = tail ? s->cluster_size - (tail & (s->cluster_size - 1)) : 0;
    bool shared = false;
    int status;

    IMG_EVENT(image->file, cluster_alloc_bytes);
    if (length == 0 || length > s->cluster_size)
        return -EINVAL;
    if (length > room) {
        if ((status = qcow2_alloc_clusters(image, s->cluster_size, &fresh)) < 0)
            return status;
        if (fresh == 0)
            return qcow2_signal_corrupt(image, true, "Preventing invalid allocation of compressed cluster at offset 0");
    }
    /* Pack it if the rest fits, or if the next cluster was allocated, too. */
    if (tail && (fresh == 0 || fresh == tail + room)) {
        if ((status = share_tail(image, tail, &shared)) < 0)
            goto fail;
    }
    if (!shared && fresh == 0 && (status = qcow2_alloc_clusters(image, s->cluster_size, &fresh)) < 0)
        return status;
    *offset = shared ? tail : fresh;
    uint64_t end = *offset + length;
    s->coded_tail = img_aligned(end, s->cluster_size) ? 0 : end;
    return 0;

fail:
    if (fresh)
        qcow2_free_clusters(image, fresh, s->cluster_size);
    return status;
}

int qcow2_free_clusters(struct img *image, uint64_t offset, uint64_t length)
{
    IMG_EVENT(image->file, cluster_free);
    return qcow2_refcount_change(image, offset, length, -1);
}

int qcow2_end_of_use(struct img *image, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t clusters = img_div_up(img_size(image->file), s->cluster_size);
    uint64_t blocks = img_min(img_div_up(clusters, 1ull << s->refblock_bits), s->refcount_table_size), index = blocks;

    *offset = 0;
    while (index-- > 0 && *offset == 0) {
        uint64_t start = index << s->refblock_bits, n = img_min(1ull << s->refblock_bits, clusters - start);
        uint8_t *block;
        int status = check_search(image, index << s->refblock_bits, blocks << s->refblock_bits);
        if (status < 0 || (status = get_block(image, index, &block)) < 0)
            return status;
        while (block && n > 0 && qcow2_refcount_at(s, block, n - 1) == 0)
            n--;
        if (block && n > 0)
            *offset = (start + n) << s->h.cluster_bits;
    }
    return 0;
}

void qcow2_forget_derived(struct qcow2 *s)
{
    free(s->metadata_filter);
    s->metadata_filter = NULL;
    s->prealloc_known = false;
    s->coded_tail = 0;
    s->next_host = 0;
}
