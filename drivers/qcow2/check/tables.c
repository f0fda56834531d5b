/* SPDX-License-Identifier: MIT */
/*
 * Counts everything in an image that refers to host clusters: header, L1 and L2 tables of the active state and of
 * snapshots, the snapshot table, the encryption header and the refcount structures themselves; bitmaps are in
 * bitmaps.c.
 * Specification: "General", "Host cluster management", "Cluster mapping", "Snapshots".
 *
 * References beyond the end of the file are reported but not counted, so that no number in an image makes the counts
 * larger than its file.
 */
#include "check.h"

#include <inttypes.h>

/* How far beyond the end of the file, and how many such references, a rebuild considers. */
#define OUTSIDE_WINDOW (4ull << 30)
enum { MAX_OUTSIDE = 1 << 18 };

#define REFCOUNT_TABLE_RESERVED 0x1ffull

static void note_overflow(struct qcow2_check *check, uint64_t cluster)
{
    img_notice(IMG_NOTE, "ERROR: overflow cluster offset=0x%" PRIx64, cluster << check->s->h.cluster_bits);
    img_notice(IMG_NOTE, "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a "
               "clean copy if the image cannot be opened for writing");
    check->result->corruptions++;
}

bool qcow2_check_exceeds(const struct qcow2_check *check, uint64_t offset, uint64_t length, uint64_t file_size)
{
    uint64_t end;

    return !img_add(offset, length, &end) || (end > file_size && end - file_size >= check->s->cluster_size);
}

/* Not counted, but a rebuild may extend the file, and must not put anything there. */
static int remember_outside(struct qcow2_check *check, uint64_t offset, uint64_t length)
{
    uint64_t end;

    if (check->repair & IMG_REPAIR_ERRORS && check->outside.count < MAX_OUTSIDE && img_add(offset, length, &end) &&
        offset < check->file_size + OUTSIDE_WINDOW &&
        !IMG_VECTOR_PUSH(&check->outside, (struct qcow2_range){ offset, length }))
        return -ENOMEM;
    return 0;
}

int qcow2_check_refer(struct qcow2_check *check, uint64_t offset, uint64_t length)
{
    const struct qcow2 *s = check->s;

    if (length == 0)
        return 0;
    if (qcow2_check_exceeds(check, offset, length, check->file_size)) {
        img_notice(IMG_NOTE, "ERROR: counting reference for region exceeding the end of the file by one cluster or "
                   "more: offset 0x%" PRIx64 " size 0x%" PRIx64, offset, length);
        check->result->corruptions++;
        return remember_outside(check, offset, length);
    }
    uint64_t last = (offset + length - 1) >> s->h.cluster_bits;
    for (uint64_t cluster = offset >> s->h.cluster_bits; cluster <= last; cluster++) {
        uint64_t count = qcow2_count_get(&check->counts, cluster);
        if (count)
            check->plain = false;
        if (count == s->refcount_max) {
            note_overflow(check, cluster);
            continue;
        }
        int status = qcow2_count_set(&check->counts, cluster, count + 1);
        if (status < 0) {
            check->result->check_errors++;
            return status;
        }
    }
    check->clusters = img_max(check->clusters, last + 1);
    return 0;
}

/* ---- L1 tables ------------------------------------------------------------------ */

static int check_l1_entry(struct qcow2_check *check, struct qcow2_table_reader *reader, uint32_t index, bool active)
{
    uint64_t entry = reader->l1[index], offset = entry & QCOW2_OFFSET_MASK;
    uint8_t *table;

    if (active && !(entry & QCOW2_COPIED))
        check->plain = false;
    if (entry & QCOW2_L1_RESERVED) {
        img_notice(IMG_NOTE, "ERROR found L1 entry with reserved bits set: %" PRIx64, entry);
        check->result->corruptions++;
    }
    int status = qcow2_check_refer(check, offset, check->s->cluster_size);
    if (status < 0)
        return status;
    if (!img_aligned(offset, check->s->cluster_size)) {
        img_notice(IMG_NOTE, "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted", offset);
        check->result->corruptions++;
    }
    status = qcow2_reader_table(reader, index, &table);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: I/O error in check_refcounts_l2");
        check->result->check_errors++;
        return status;
    }
    qcow2_check_end(check, offset, check->s->cluster_size, false);
    status = qcow2_check_l2(check, offset, table, active);
    if (check->tables_changed)
        qcow2_reader_stale(reader);
    check->tables_changed = false;
    return status;
}

static int check_l1(struct qcow2_check *check, uint64_t offset, uint32_t size, const uint64_t *l1, uint32_t readable,
                    bool active)
{
    struct qcow2_table_reader reader;

    int status = qcow2_check_refer(check, offset, (uint64_t)size * 8);
    if (status < 0)
        return status;
    status = qcow2_reader_start(&reader, check->image, l1, readable);
    for (uint32_t i = 0; status == 0 && i < readable; i++)
        if (l1[i])
            status = check_l1_entry(check, &reader, i, active);
    qcow2_reader_end(&reader);
    return status;
}

/* Without its end the table is zeroes, which are no error by themselves. */
static int check_active(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;

    if (s->h.l1_size && s->h.l1_offset + (uint64_t)s->h.l1_size * 8 > check->exact_size) {
        img_notice(IMG_NOTE, "ERROR the file ends at 0x%" PRIx64 ", before the end of the L1 table", check->exact_size);
        check->result->corruptions++;
    }
    return check_l1(check, s->h.l1_offset, s->h.l1_size, s->l1, s->h.l1_size, true);
}

static int check_snapshot(struct qcow2_check *check, const struct qcow2_snapshot *snapshot)
{
    CLEANUP_FREE uint64_t *l1 = NULL;

    if (!img_aligned(snapshot->l1_offset, check->s->cluster_size)) {
        img_notice(IMG_NOTE, "ERROR snapshot %s (%s) l1_offset=%#" PRIx64 ": L1 table is not cluster aligned; "
                   "snapshot table entry corrupted", snapshot->shown.id, snapshot->shown.name, snapshot->l1_offset);
        check->result->corruptions++;
        return 0;
    }
    if (snapshot->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        img_notice(IMG_NOTE, "ERROR snapshot %s (%s) l1_size=%#" PRIx32 ": L1 table is too large; "
                   "snapshot table entry corrupted", snapshot->shown.id, snapshot->shown.name, snapshot->l1_size);
        check->result->corruptions++;
        return 0;
    }
    /* Bytes beyond the end of the file read as zeroes: do not read them. */
    uint64_t left = snapshot->l1_offset < check->file_size ? check->file_size - snapshot->l1_offset : 0;
    uint32_t readable = (uint32_t)img_min(snapshot->l1_size, left / 8);
    int status = qcow2_read_l1(check->image, snapshot->l1_offset, readable, &l1);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: I/O error in check_refcounts_l1");
        check->result->check_errors++;
        return status;
    }
    return check_l1(check, snapshot->l1_offset, snapshot->l1_size, l1, readable, false);
}

static int check_snapshots(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;
    int status = 0;

    if (check->image->data_file && s->snapshots.count) {
        img_notice(IMG_NOTE, "ERROR %zu snapshots in image with data file", s->snapshots.count);
        check->result->corruptions++;
    }
    for (size_t i = 0; status == 0 && i < s->snapshots.count; i++)
        status = check_snapshot(check, &s->snapshots.at[i]);
    if (status < 0)
        return status;
    uint64_t corruptions = check->result->corruptions;
    status = qcow2_check_refer(check, s->h.snapshots_offset, check->snapshot_bytes);
    check->snapshots_counted = status == 0 && corruptions == check->result->corruptions;
    return status;
}

/* ---- Refcount structures ------------------------------------------------------------ */

/* Extend the file to hold a block that the table refers to. */
static int grow_to_block(struct qcow2_check *check, uint64_t offset)
{
    const struct qcow2 *s = check->s;
    uint64_t end = offset + s->cluster_size, most = (uint64_t)QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8;
    struct img_error err = IMG_ERROR_INIT;
    int status;

    if (offset > (uint64_t)INT64_MAX - s->cluster_size)
        return -EINVAL;
    /* No refcount table could count a cluster beyond that. */
    if (offset >> s->h.cluster_bits >> s->refblock_bits >= most)
        status = img_error_errno(&err, EFBIG, "Could not resize file");
    else
        status = img_resize_file(check->image->file, end, NULL, &err);
    if (status < 0)
        img_notice(IMG_FAULT, "%s", err.text ? err.text : img_strerror(status));
    img_error_clear(&err);
    if (status == 0) {
        check->file_size = img_max(check->file_size, end);
        check->exact_size = img_max(check->exact_size, end);
        check->clusters = img_max(check->clusters, img_div_up(end, s->cluster_size));
    }
    return status;
}

static int check_outside_block(struct qcow2_check *check, uint32_t index, uint64_t offset)
{
    bool mend = check->repair & IMG_REPAIR_ERRORS;

    img_notice(IMG_NOTE, "%s refcount block %" PRIu32 " is outside image", mend ? "Repairing" : "ERROR", index);
    if (!mend) {
        check->result->corruptions++;
        return 0;
    }
    int status = grow_to_block(check, offset);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR could not resize image: %s", img_strerror(status));
        check->result->corruptions++;
        check->rebuild = true;
        return 0;
    }
    check->result->corruptions_fixed++;
    return 1;
}

static int check_block(struct qcow2_check *check, uint32_t index, uint64_t entry)
{
    const struct qcow2 *s = check->s;
    uint64_t offset = entry & ~REFCOUNT_TABLE_RESERVED, cluster = offset >> s->h.cluster_bits;

    if (entry & REFCOUNT_TABLE_RESERVED) {
        img_notice(IMG_NOTE, "ERROR refcount table entry %" PRIu32 " has reserved bits set", index);
        check->result->corruptions++;
        check->rebuild = true;
        return 0;
    }
    if (!img_aligned(offset, s->cluster_size)) {
        img_notice(IMG_NOTE, "ERROR refcount block %" PRIu32 " is not cluster aligned; "
                   "refcount table entry corrupted", index);
        check->result->corruptions++;
        check->rebuild = true;
        return 0;
    }
    if (cluster >= check->clusters) {
        int status = check_outside_block(check, index, offset);
        if (status <= 0)
            return status;
    }
    int status = qcow2_check_refer(check, offset, s->cluster_size);
    if (status < 0)
        return status;
    uint64_t count = qcow2_count_get(&check->counts, cluster);
    if (count != 1) {
        img_notice(IMG_NOTE, "ERROR refcount block %" PRIu32 " refcount=%" PRIu64, index, count);
        check->result->corruptions++;
        check->rebuild = true;
    }
    return 0;
}

static int check_refcount_structures(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;

    int status = qcow2_check_refer(check, s->h.refcount_table_offset,
                                   (uint64_t)s->h.refcount_table_clusters << s->h.cluster_bits);
    for (uint32_t i = 0; status == 0 && i < s->refcount_table_size; i++)
        if (s->refcount_table[i])
            status = check_block(check, i, s->refcount_table[i]);
    return status;
}

int qcow2_check_references(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;
    int status;

    if ((status = qcow2_check_refer(check, 0, s->cluster_size)) < 0 ||
        (status = check_active(check)) < 0 ||
        (status = check_snapshots(check)) < 0)
        return status;
    if (s->has_crypto && (status = qcow2_check_refer(check, s->luks.start, s->luks.length)) < 0)
        return status;
    if ((status = qcow2_check_bitmaps(check)) < 0)
        return status;
    return check_refcount_structures(check);
}
