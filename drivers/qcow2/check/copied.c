/* SPDX-License-Identifier: MIT */
/*
 * The COPIED bit of L1 and L2 entries says that the refcount of their cluster is exactly one, so that it may be
 * written in place.  If it is set wrongly, a write changes a snapshot.
 * Specification: "Cluster mapping", bit 63 of both kinds of entries.
 */
#include "check.h"

#include <inttypes.h>

/* The stored refcount of a cluster; usually known from the comparison, without reading. */
static int stored_count(struct qcow2_check *check, uint64_t offset, uint64_t *count)
{
    uint64_t cluster = offset >> check->s->h.cluster_bits;
    const struct qcow2_count_group *group = qcow2_count_group(&check->counts, cluster);

    if (!group || group->differs || cluster >= check->clusters)
        return qcow2_check_stored(check, cluster, count);
    *count = qcow2_count_get(&check->counts, cluster);
    return 0;
}

/* Is the bit of this entry correct?  An unreadable refcount has been reported before. */
static bool is_right(struct qcow2_check *check, uint64_t entry, uint64_t offset, uint64_t *count)
{
    return stored_count(check, offset, count) < 0 || (*count == 1) == !!(entry & QCOW2_COPIED);
}

static int mend_l1_entry(struct qcow2_check *check, uint32_t index)
{
    struct qcow2 *s = check->s;
    uint64_t offset = s->h.l1_offset + (uint64_t)index * 8;
    uint8_t bytes[8];

    img_put_be64(bytes, s->l1[index] ^ QCOW2_COPIED);
    int status = qcow2_write(check->image, QCOW2_AT_ACTIVE_L1, bytes, offset, sizeof bytes);
    if (status == 0)
        s->l1[index] ^= QCOW2_COPIED;
    return status;
}

/* Returns 1 if the refcount of the table cannot be read; the table is then skipped. */
static int check_l1_entry(struct qcow2_check *check, uint32_t index, bool mend)
{
    uint64_t entry = check->s->l1[index], count;

    if (stored_count(check, entry & QCOW2_OFFSET_MASK, &count) < 0)
        return 1;
    if ((count == 1) == !!(entry & QCOW2_COPIED))
        return 0;
    img_notice(IMG_NOTE, "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu32 " l1_entry=%" PRIx64 " refcount=%" PRIu64,
               mend ? "Repairing" : "ERROR", index, entry, count);
    if (!mend) {
        check->result->corruptions++;
        return 0;
    }
    int status = mend_l1_entry(check, index);
    if (status < 0)
        check->result->check_errors++;
    else
        check->result->corruptions_fixed++;
    return status;
}

/* Returns the number of entries fixed in memory. */
static uint64_t check_entries(struct qcow2_check *check, uint8_t *table, bool mend)
{
    const struct qcow2 *s = check->s;
    uint64_t mended = 0, count;

    for (uint32_t i = 0, entries = 1u << s->l2_bits; i < entries; i++) {
        i += qcow2_empty_entries(s, table, i);
        if (i == entries)
            break;
        uint8_t *bytes = table + (size_t)i * s->l2_entry_size;
        uint64_t entry = img_get_be64(bytes);
        enum qcow2_entry_kind kind = qcow2_entry_kind(check->image, entry);

        if (kind != QCOW2_ENTRY_DATA && kind != QCOW2_ENTRY_ZERO_ALLOCATED)
            continue;
        /* Clusters of a data file are not counted: each has exactly one reference. */
        bool right = check->image->data_file ? entry & QCOW2_COPIED
                                             : is_right(check, entry, entry & QCOW2_OFFSET_MASK, &count);
        if (right)
            continue;
        img_notice(IMG_NOTE, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64,
                   mend ? "Repairing" : "ERROR", entry, check->image->data_file ? 1 : count);
        if (!mend) {
            check->result->corruptions++;
            continue;
        }
        img_put_be64(bytes, entry ^ QCOW2_COPIED);
        mended++;
    }
    return mended;
}

static int write_table(struct qcow2_check *check, uint64_t offset, const uint8_t *table)
{
    int status = qcow2_check_overlap(check->image, QCOW2_AT_ACTIVE_L2, offset, check->s->cluster_size);

    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: Could not write L2 table; metadata overlap check failed: %s",
                   img_strerror(status));
        check->result->check_errors++;
        return status;
    }
    status = img_pwrite(check->image->file, table, offset, check->s->cluster_size);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: Could not write L2 table: %s", img_strerror(status));
        check->result->check_errors++;
    }
    qcow2_cache_forget(check->s->l2_cache, offset);
    return status;
}

static int check_table(struct qcow2_check *check, struct qcow2_table_reader *reader, uint32_t index, bool mend)
{
    uint64_t offset = reader->l1[index] & QCOW2_OFFSET_MASK;
    uint8_t *table;

    int status = check_l1_entry(check, index, mend);
    if (status != 0)
        return status < 0 ? status : 0;
    status = qcow2_reader_table(reader, index, &table);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: Could not read L2 table: %s", img_strerror(status));
        check->result->check_errors++;
        return status;
    }
    uint64_t mended = check_entries(check, table, mend);
    if (mended == 0)
        return 0;
    status = write_table(check, offset, table);
    if (status == 0)
        check->result->corruptions_fixed += mended;
    qcow2_reader_stale(reader);
    return status;
}

int qcow2_check_copied(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;
    const struct img_check *so_far = check->result;
    struct qcow2_table_reader reader;
    bool mend = check->repair & IMG_REPAIR_ERRORS;

    /* All bits are set, all counts are one, and all are stored so: no error is possible. */
    if (check->plain && !so_far->leaks && !so_far->corruptions && !so_far->check_errors)
        return 0;
    /* The bit follows from the refcount: fix it with the leaks if those were the only errors. */
    if (!mend && check->repair)
        mend = !so_far->check_errors && !so_far->corruptions && !so_far->leaks;

    int status = qcow2_reader_start(&reader, check->image, s->l1, s->h.l1_size);
    for (uint32_t i = 0; status == 0 && i < s->h.l1_size; i++)
        if (s->l1[i] & QCOW2_OFFSET_MASK)
            status = check_table(check, &reader, i, mend);
    qcow2_reader_end(&reader);
    return status;
}
