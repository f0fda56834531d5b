/* SPDX-License-Identifier: MIT */
/*
 * Adds or removes one reference to each cluster that an L1 table leads to, of the active disk or of a snapshot, and
 * updates the copied flags.
 * Specification: "Snapshots" (each table that leads to a cluster counts as a reference), "Cluster mapping" (copied
 * flag: the refcount is exactly one; accurate in the active tables only).
 */
#include "../qcow2.h"

enum { MAX_FREED = 1 << 20 };       /* ranges to discard; more stay allocated on the storage */

struct walk {
    struct img *image;
    struct qcow2_tree *tree;
    uint64_t run_start, run_length; /* adjacent host clusters whose refcounts must still change */
    uint8_t *table;
    uint64_t table_offset;
};

static void note_freed(struct qcow2_tree *tree, uint64_t offset, uint64_t length)
{
    struct qcow2_range *last = tree->freed.count ? &tree->freed.at[tree->freed.count - 1] : NULL;

    if (last && last->offset + last->length == offset)
        last->length += length;
    else if (tree->freed.count < MAX_FREED && !IMG_VECTOR_PUSH(&tree->freed, (struct qcow2_range){ offset, length }))
        return;         /* the storage keeps the room */
}

static int change(struct walk *walk, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(walk->image);
    uint64_t first = img_align_down(offset, s->cluster_size), end = img_align_up(offset + length, s->cluster_size);

    if (walk->tree->delta == 0)
        return 0;
    int status = qcow2_refcount_change(walk->image, offset, length, walk->tree->delta);
    for (uint64_t at = first; status == 0 && walk->tree->delta < 0 && at < end; at += s->cluster_size) {
        uint64_t count;
        status = qcow2_refcount_get(walk->image, at >> s->h.cluster_bits, &count);
        if (status == 0 && count == 0)
            note_freed(walk->tree, at, s->cluster_size);
    }
    return status;
}

static int end_run(struct walk *walk)
{
    int status = walk->run_length ? change(walk, walk->run_start, walk->run_length) : 0;

    walk->run_length = 0;
    return status;
}

/* Count one whole cluster; adjacent ones are changed together. */
static int add_to_run(struct walk *walk, uint64_t host)
{
    uint32_t size = qcow2_state(walk->image)->cluster_size;

    if (walk->run_length == 0 || walk->run_start + walk->run_length != host) {
        int status = end_run(walk);
        if (status < 0)
            return status;
        walk->run_start = host;
    }
    walk->run_length += size;
    return 0;
}

static int change_entries(struct walk *walk)
{
    struct qcow2 *s = qcow2_state(walk->image);
    uint32_t count = 1u << s->l2_bits;
    int status = 0;

    for (uint32_t i = 0; status == 0 && i < count; i++) {
        uint64_t entry = img_get_be64(walk->table + (size_t)i * s->l2_entry_size), host = entry & QCOW2_OFFSET_MASK;
        if (entry & QCOW2_COMPRESSED) {
            uint64_t length;
            qcow2_coded_range(s, entry, &host, &length);
            if ((status = end_run(walk)) == 0)
                status = change(walk, host, length);
        } else if (host && !img_aligned(host, s->cluster_size)) {
            status = qcow2_signal_corrupt(walk->image, true, "Cluster allocation offset %#llx unaligned (L2 offset: "
                                          "%#llx, L2 index: %#x)", (unsigned long long)host,
                                          (unsigned long long)walk->table_offset, i);
        } else if (host) {
            status = add_to_run(walk, host);
        }
    }
    return status < 0 ? status : end_run(walk);
}

static int set_flags(struct walk *walk)
{
    struct qcow2 *s = qcow2_state(walk->image);
    uint32_t entries = 1u << s->l2_bits;
    bool changed = false;

    for (uint32_t i = 0; i < entries; i++) {
        uint8_t *at = walk->table + (size_t)i * s->l2_entry_size;
        uint64_t entry = img_get_be64(at), host = entry & QCOW2_OFFSET_MASK, count = 0;
        if (!(entry & QCOW2_COMPRESSED) && host) {
            int status = qcow2_refcount_get(walk->image, host >> s->h.cluster_bits, &count);
            if (status < 0)
                return status;
        }
        if ((count == 1) == !!(entry & QCOW2_COPIED))
            continue;
        img_put_be64(at, entry ^ QCOW2_COPIED);
        changed = true;
    }
    if (!changed)
        return 0;
    return qcow2_write(walk->image, QCOW2_AT_ACTIVE_L2 | QCOW2_AT_INACTIVE_L2, walk->table, walk->table_offset,
                       s->cluster_size);
}

/* In a shared L2 table no entry has a refcount of one. */
static int needs_table(struct walk *walk, bool *needed)
{
    uint64_t count;

    *needed = true;
    if (walk->tree->delta != 0)
        return 0;
    int status = qcow2_refcount_get(walk->image, walk->table_offset >> qcow2_state(walk->image)->h.cluster_bits,
                                    &count);
    *needed = count < 2;
    return status;
}

static int update_table(struct walk *walk, uint64_t *l1_entry)
{
    struct qcow2 *s = qcow2_state(walk->image);
    struct qcow2_tree *tree = walk->tree;
    uint64_t count;
    bool needed;

    int status = needs_table(walk, &needed);
    if (status == 0 && needed) {
        if ((status = qcow2_read(walk->image, walk->table, walk->table_offset, s->cluster_size)) < 0 ||
            (tree->delta && (status = change_entries(walk)) < 0) ||
            (tree->flags && (status = set_flags(walk)) < 0))
            return status;
    }
    if (status == 0)
        status = change(walk, walk->table_offset, s->cluster_size);
    if (status < 0 || !tree->flags)
        return status;
    status = qcow2_refcount_get(walk->image, walk->table_offset >> s->h.cluster_bits, &count);
    *l1_entry = count == 1 ? *l1_entry | QCOW2_COPIED : *l1_entry & ~QCOW2_COPIED;
    return status;
}

int qcow2_tree_update(struct img *image, struct qcow2_tree *tree)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *table = malloc(s->cluster_size);
    struct walk walk = { .image = image, .tree = tree, .table = table };
    int status = table ? 0 : -ENOMEM;

    for (uint32_t i = 0; status == 0 && i < tree->entries; i++) {
        walk.table_offset = tree->l1[i] & QCOW2_OFFSET_MASK;
        if (walk.table_offset == 0 || (tree->only && !tree->only[i]))
            continue;
        if (!img_aligned(walk.table_offset, s->cluster_size))
            return qcow2_signal_corrupt(image, true, "L2 table offset %#llx unaligned (L1 index: %#x)",
                                        (unsigned long long)walk.table_offset, i);
        status = update_table(&walk, &tree->l1[i]);
    }
    return status;
}
