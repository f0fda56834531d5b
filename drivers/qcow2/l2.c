/* SPDX-License-Identifier: MIT */
/*
 * L2 tables for writing, the L1 table, and the order in which metadata reach the disk.
 * Specification: "Cluster mapping".
 *
 * An L2 table that is new, or copied because a snapshot shares it, is entered into the L1 table in
 * memory; the L1 entries go to disk on flush, after the tables that they name.  Clusters that
 * lose their last use wait in `dropped` until no table on disk names them any more.
 * So at each moment what is on disk is consistent, at worst with leaked clusters.
 *
 * A flush that libimg asks for keeps that order for the state at its beginning (see cache.c for the L2 tables): the L1
 * entries of then are written when the L2 tables of then are durable, and what was dropped before then is freed when
 * the L1 table is.  While the file is synced the lock is free and others change all of it; what they
 * do is for the next flush, and a second flush waits for the first.  Where somebody has to bring all to disk meanwhile,
 * without waiting (a list of what was dropped that is too long), he does so in the same order, and what the
 * first flush was about to write is older and is left out.
 */
#include "qcow2.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/scratch.h"

enum { MAX_DROPPED = 4096 };

/* ---- Writing metadata in order -------------------------------------------------- */

/* L1 entries as they are to be on disk. */
struct l1_part {
    uint64_t from, to;
    uint64_t *raw;                  /* NULL: nothing has changed */
    uint64_t changes, writes;       /* the state's counters, as they were */
};

static int copy_l1(struct img *image, struct l1_part *part)
{
    const struct qcow2 *s = qcow2_state(image);

    *part = (struct l1_part){ .from = s->l1_dirty_from, .to = img_min(s->l1_dirty_to, s->h.l1_size),
                              .changes = s->l1_changes, .writes = s->l1_writes };
    if (part->from >= part->to)
        return 0;
    part->raw = img_scratch_get((part->to - part->from) * 8);
    for (uint64_t i = part->from; part->raw && i < part->to; i++)
        part->raw[i - part->from] = IMG_BE64(s->l1[i]);
    return part->raw ? 0 : -ENOMEM;
}

/* The L2 tables that they name are durable first. */
static int write_l1_part(struct img *image, const struct l1_part *part, bool aside)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t at = s->h.l1_offset + part->from * 8, bytes = (part->to - part->from) * 8;

    if (!part->raw)
        return 0;
    IMG_EVENT(image->file, l1_update);
    int status = qcow2_check_overlap(image, QCOW2_AT_ACTIVE_L1, at, bytes);
    if (status == 0)
        status = aside ? qcow2_barrier_aside(image) : qcow2_barrier(image);
    if (status < 0 || s->l1_writes != part->writes)
        return status;
    if ((status = img_pwrite(image->file, part->raw, at, (size_t)bytes)) < 0)
        return status;
    s->l1_writes++;
    if (s->l1_changes == part->changes)
        s->l1_dirty_from = s->l1_dirty_to = 0;
    return 0;
}

static int write_l1(struct img *image)
{
    struct l1_part part;
    int status = copy_l1(image, &part);

    if (status == 0)
        status = write_l1_part(image, &part, false);
    img_scratch_put(part.raw);
    return status;
}

void qcow2_set_l1(struct qcow2 *s, uint64_t index, uint64_t entry)
{
    s->l1[index] = entry;
    s->l1_changes++;
    if (s->l1_dirty_from >= s->l1_dirty_to) {
        s->l1_dirty_from = index;
        s->l1_dirty_to = index + 1;
        return;
    }
    s->l1_dirty_from = img_min(s->l1_dirty_from, index);
    s->l1_dirty_to = img_max(s->l1_dirty_to, index + 1);
}

/* Discard freed clusters in the file below, one by one since parts may still be in use. */
static void discard_freed(struct img *image, const struct qcow2_dropped *range)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t first = range->offset >> s->h.cluster_bits;
    uint64_t end = (range->offset + range->length + s->cluster_size - 1) >> s->h.cluster_bits, run = first;

    for (uint64_t cluster = first; cluster <= end; cluster++) {
        uint64_t count = 1;
        if (cluster < end && qcow2_refcount_get(image, cluster, &count) == 0 && count == 0)
            continue;
        if (run < cluster)
            img_discard(image->file, run << s->h.cluster_bits, (cluster - run) << s->h.cluster_bits);
        run = cluster + 1;
    }
}

/* No table on disk names these any more. */
static int free_dropped(struct img *image, const struct qcow2_dropped *ranges, size_t count)
{
    int status = 0;

    for (size_t i = 0; i < count; i++) {
        /* A count that cannot go down is damage for check to find, not a reason to fail the write. */
        int change = qcow2_refcount_change(image, ranges[i].offset, ranges[i].length, -1);
        if (change == 0 && ranges[i].discard)
            discard_freed(image, &ranges[i]);
        else if (change < 0 && change != -EINVAL)
            status = change;
    }
    return status < 0 ? status : qcow2_cache_write(qcow2_state(image)->refblock_cache);
}

static int settle_dropped(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_dropped *ranges = s->dropped.at;
    size_t count = s->dropped.count;

    if (count == 0)
        return 0;
    int status = qcow2_barrier(image);
    if (status < 0)
        return status;
    s->dropped.at = NULL;
    s->dropped.count = s->dropped.capacity = 0;
    status = free_dropped(image, ranges, count);
    free(ranges);
    return status;
}

int qcow2_flush(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status;

    if ((status = qcow2_cache_write(s->refblock_cache)) < 0 || (status = qcow2_cache_write(s->l2_cache)) < 0 ||
        (status = write_l1(image)) < 0)
        return status;
    return settle_dropped(image);
}

/* ---- The same with the lock released ---------------------------------------------- */

/* What a flush takes on when it begins. */
struct flush {
    struct l1_part l1;
    struct qcow2_dropped *dropped;
    size_t count;
};

static int begin_flush(struct img *image, struct flush *flush)
{
    struct qcow2 *s = qcow2_state(image);
    int status = copy_l1(image, &flush->l1);

    if (status < 0)
        return status;
    flush->dropped = s->dropped.at;
    flush->count = s->dropped.count;
    s->dropped.at = NULL;
    s->dropped.count = s->dropped.capacity = 0;
    return qcow2_cache_write(s->refblock_cache);
}

static int end_flush(struct img *image, struct flush *flush, int status)
{
    struct qcow2 *s = qcow2_state(image);

    if (status == 0 && flush->count > 0)
        status = qcow2_barrier_aside(image);
    if (status == 0 && flush->count > 0)
        status = free_dropped(image, flush->dropped, flush->count);
    else
        for (size_t i = 0; i < flush->count; i++)
            if (!IMG_VECTOR_PUSH(&s->dropped, flush->dropped[i]))
                break;              /* without memory they leak, which is harmless */
    free(flush->dropped);
    img_scratch_put(flush->l1.raw);
    return status;
}

int qcow2_flush_aside(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    struct flush flush = { .dropped = NULL };

    if (!img_may_wait(image))
        return qcow2_flush(image);
    while (s->flushing)
        img_wait_turn(image);
    s->flushing = true;
    int status = begin_flush(image, &flush);
    if (status == 0)
        status = qcow2_cache_write_aside(s->l2_cache);
    if (status == 0)
        status = write_l1_part(image, &flush.l1, true);
    status = end_flush(image, &flush, status);
    s->flushing = false;
    img_table_arrived(image);
    return status;
}

int qcow2_sync(struct img *image)
{
    int status = qcow2_flush(image);

    return status < 0 ? status : qcow2_barrier(image);
}

/* The list is bounded: process it when it gets long. */
int qcow2_settle(struct img *image)
{
    return qcow2_state(image)->dropped.count > MAX_DROPPED ? qcow2_flush(image) : 0;
}

void qcow2_drop(struct img *image, uint64_t offset, uint64_t length, enum qcow2_discard why)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_dropped *last = s->dropped.count ? &s->dropped.at[s->dropped.count - 1] : NULL;

    if (last && last->offset + last->length == offset && img_aligned(offset, s->cluster_size) &&
        last->discard == s->discards[why]) {
        last->length += length;
        return;
    }
    /* Without memory they leak, which is harmless. */
    if (!IMG_VECTOR_PUSH(&s->dropped, (struct qcow2_dropped){ offset, length, s->discards[why] }))
        return;
}

void qcow2_drop_entry(struct img *image, uint64_t entry, enum qcow2_discard why)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t host = entry & QCOW2_OFFSET_MASK, length = s->cluster_size;

    if (image->data_file) {
        if (entry & QCOW2_COPIED && s->discards[why])
            img_discard(image->data_file, host, length);
        return;
    }
    if (entry & QCOW2_COMPRESSED)
        qcow2_coded_range(s, entry, &host, &length);
    if (host)
        qcow2_drop(image, host, length, why);
}

int qcow2_mark_dirty(struct img *image)
{
    return qcow2_set_incompatible(image, QCOW2_INCOMPAT_DIRTY, true);
}

int qcow2_mark_clean(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);

    if (!(s->h.incompatible & QCOW2_INCOMPAT_DIRTY))
        return 0;
    int status = qcow2_sync(image);
    return status < 0 ? status : qcow2_set_incompatible(image, QCOW2_INCOMPAT_DIRTY, false);
}

/* ---- L2 tables for writing -------------------------------------------------------- */

static int copy_table(struct img *image, uint64_t offset, uint8_t **copy)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t *table;
    int status = qcow2_cache_look(s->l2_cache, offset, &table);

    if (status < 0)
        return status;
    IMG_EVENT(image->file, l2_alloc_cow_read);
    *copy = img_scratch_get(s->cluster_size);
    if (*copy)
        memcpy(*copy, table, s->cluster_size);
    return *copy ? 0 : -ENOMEM;
}

/* Allocate a table for this L1 entry: empty, or a copy of the one that a snapshot keeps. */
static int new_l2(struct img *image, uint64_t l1_index)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = s->l1[l1_index] & QCOW2_OFFSET_MASK, offset;
    CLEANUP_SCRATCH uint8_t *copy = NULL;
    uint8_t *table;
    int status;

    if (old && (status = copy_table(image, old, &copy)) < 0)
        return status;
    if ((status = qcow2_alloc_clusters(image, s->cluster_size, &offset)) < 0)
        return status;
    if (offset == 0)
        return qcow2_signal_corrupt(image, true, "Preventing invalid allocation of L2 table at offset 0");
    if ((status = qcow2_cache_new_table(s->l2_cache, offset, &table)) == 0) {
        IMG_EVENT(image->file, l2_alloc_write);
        if (old)
            memcpy(table, copy, s->cluster_size);
        /* Write it now to allocate its storage: later writes to it cannot fail on a full disk. */
        if (!s->creating)
            status = qcow2_write(image, 0, table, offset, s->cluster_size);
    }
    if (status < 0) {
        qcow2_free_clusters(image, offset, s->cluster_size);
        return status;
    }
    if (old)
        qcow2_drop(image, old, s->cluster_size, QCOW2_DISCARD_OTHER);
    qcow2_set_l1(s, l1_index, offset | QCOW2_COPIED);
    qcow2_note_metadata(image, offset);
    return 0;
}

static int check_l2_offset(struct img *image, uint64_t offset, uint64_t l1_index)
{
    if (img_aligned(offset, qcow2_state(image)->cluster_size))
        return 0;
    return qcow2_signal_corrupt(image, true, "L2 table offset %#llx unaligned (L1 index: %#llx)",
                                (unsigned long long)offset, (unsigned long long)l1_index);
}

int qcow2_l2_for_write(struct img *image, uint64_t guest, struct qcow2_l2 *l2)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t l1_index = guest >> (s->h.cluster_bits + s->l2_bits);
    int status = 0;

    if (s->broken || l1_index >= s->h.l1_size)
        return -EIO;
    uint64_t entry = s->l1[l1_index];
    if ((status = check_l2_offset(image, entry & QCOW2_OFFSET_MASK, l1_index)) < 0)
        return status;
    if (!(entry & QCOW2_OFFSET_MASK) || !(entry & QCOW2_COPIED)) {
        if ((status = new_l2(image, l1_index)) < 0)
            return status;
        entry = s->l1[l1_index];
    }
    l2->offset = entry & QCOW2_OFFSET_MASK;
    l2->index = (uint32_t)(guest >> s->h.cluster_bits) & ((1u << s->l2_bits) - 1);
    l2->left = (1u << s->l2_bits) - l2->index;
    return qcow2_cache_look(s->l2_cache, l2->offset, &l2->table);
}

/* ---- A larger L1 table --------------------------------------------------------------- */

static int write_new_l1(struct img *image, const uint64_t *l1, uint64_t entries, uint64_t offset)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint64_t *raw = malloc(entries * 8);
    uint8_t pointer[12];
    int status;

    if (!raw)
        return -ENOMEM;
    for (uint64_t i = 0; i < entries; i++)
        raw[i] = IMG_BE64(l1[i]);
    IMG_EVENT(image->file, l1_grow_write_table);
    if ((status = qcow2_write(image, 0, raw, offset, (size_t)entries * 8)) < 0 ||
        (status = qcow2_barrier(image)) < 0)
        return status;
    img_put_be32(pointer, (uint32_t)entries);
    img_put_be64(pointer + 4, offset);
    IMG_EVENT(image->file, l1_grow_activate_table);
    status = img_pwrite(image->file, pointer, 36, sizeof pointer);
    if (status == 0) {
        s->h.l1_size = (uint32_t)entries;
        s->h.l1_offset = offset;
    }
    return status;
}

int qcow2_grow_l1(struct img *image, uint64_t entries)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old_offset = s->h.l1_offset, old_bytes = (uint64_t)s->h.l1_size * 8, offset;
    int status;

    if (entries <= s->h.l1_size)
        return 0;
    if (entries > QCOW2_MAX_L1_BYTES / 8)
        return -EFBIG;
    uint64_t *l1 = calloc(entries, 8);
    if (!l1)
        return -ENOMEM;
    if (old_bytes)
        memcpy(l1, s->l1, (size_t)old_bytes);
    IMG_EVENT(image->file, l1_grow_alloc_table);
    if ((status = qcow2_alloc_clusters(image, entries * 8, &offset)) < 0) {
        free(l1);
        return status;
    }
    /* The copy may refer only to tables that are on disk. */
    if ((status = qcow2_flush(image)) < 0 || (status = write_new_l1(image, l1, entries, offset)) < 0) {
        qcow2_free_clusters(image, offset, entries * 8);
        free(l1);
        return status;
    }
    free(s->l1);
    s->l1 = l1;
    if (old_offset)
        qcow2_drop(image, old_offset, img_align_up(old_bytes, s->cluster_size), QCOW2_DISCARD_OTHER);
    return qcow2_flush(image);
}
