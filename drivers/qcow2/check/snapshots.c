/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table: reads it, checks every entry, and rewrites it if it must be repaired.
 * Specification: "Snapshots".
 *
 * A repaired table is written to free space before the header is switched to it.
 */
#include "check.h"

#include <inttypes.h>

enum { EXTRA_NEEDED = 16, EXTRA_MOST = 1024 };
enum { HEADER_SNAPSHOTS = 60 };         /* count (4 bytes) and offset (8) of the table */
#define TABLE_MOST QCOW2_MAX_SNAPSHOT_TABLE_BYTES

struct cursor {
    struct qcow2_check *check;
    uint64_t offset;                /* of the next entry, relative to the start of the table */
    uint64_t kept;                  /* length of a table with the entries kept so far */
    bool mend;
};

static int unreadable(int status)
{
    img_notice(IMG_FAULT, "ERROR failed to read the snapshot table: Failed to read snapshot table: %s",
               img_strerror(status));
    return status;
}

static char *read_text(struct qcow2_check *check, uint64_t offset, size_t length)
{
    char *text = img_calloc(length + 1, 1);

    if (text && length && qcow2_read(check->image, text, offset, length) < 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* Read the extra data that we keep: *kept is less than `length` if there is too much. */
static int read_extra(struct cursor *at, uint64_t offset, size_t index, uint32_t length,
                      struct qcow2_snapshot *snapshot)
{
    uint32_t kept = length;

    if (length > EXTRA_MOST) {
        if (!at->mend) {
            img_notice(IMG_FAULT, "ERROR failed to read the snapshot table: "
                       "Too much extra metadata in snapshot table entry %zu", index);
            img_notice(IMG_NOTE, "You can force-remove this extra metadata with qemu-img check -r all");
            return -EFBIG;
        }
        img_notice(IMG_NOTE, "Discarding too much extra metadata in snapshot table entry %zu (%" PRIu32 " > %d)",
                   index, length, EXTRA_MOST);
        at->check->snapshot_faults++;
        kept = EXTRA_MOST;
    }
    snapshot->extra_length = kept;
    snapshot->extra = img_calloc(kept + 1, 1);
    if (!snapshot->extra)
        return -ENOMEM;
    return kept ? qcow2_read(at->check->image, snapshot->extra, offset, kept) : 0;
}

/* Read one entry, and append it to the snapshots of the image. */
static int read_entry(struct cursor *at, size_t index)
{
    struct qcow2 *s = at->check->s;
    struct qcow2_snapshot snapshot = { 0 };
    uint64_t offset = s->h.snapshots_offset + at->offset;
    uint8_t entry[QCOW2_SNAPSHOT_ENTRY];

    int status = qcow2_read(at->check->image, entry, offset, sizeof entry);
    if (status < 0)
        return unreadable(status);
    uint32_t id_length = img_get_be16(entry + 12), name_length = img_get_be16(entry + 14);
    uint32_t extra = img_get_be32(entry + 36);

    status = read_extra(at, offset + QCOW2_SNAPSHOT_ENTRY, index, extra, &snapshot);
    if (status < 0) {
        qcow2_free_snapshot(&snapshot);
        return status == -EFBIG ? status : unreadable(status);
    }
    qcow2_parse_snapshot(s, entry, &snapshot);
    uint64_t texts = offset + QCOW2_SNAPSHOT_ENTRY + extra;
    snapshot.shown.id = read_text(at->check, texts, id_length);
    snapshot.shown.name = read_text(at->check, texts + id_length, name_length);
    if (!snapshot.shown.id || !snapshot.shown.name) {
        qcow2_free_snapshot(&snapshot);
        return unreadable(-EIO);
    }
    if (!IMG_VECTOR_PUSH(&s->snapshots, snapshot)) {
        qcow2_free_snapshot(&snapshot);
        return unreadable(-ENOMEM);
    }
    at->check->snapshot_bytes = at->offset + QCOW2_SNAPSHOT_ENTRY + extra + id_length + name_length;
    at->offset = img_align_up(at->check->snapshot_bytes, 8);
    at->kept = img_align_up(at->kept + QCOW2_SNAPSHOT_ENTRY + snapshot.extra_length + id_length + name_length, 8);
    return 0;
}

static int too_large(const char *prefix, uint32_t surplus)
{
    img_notice(IMG_FAULT, "%s", prefix);
    img_notice(IMG_NOTE, "You can force-remove all %" PRIu32 " overhanging snapshots with qemu-img check -r all",
               surplus);
    return -EFBIG;
}

/* The header has more snapshots than allowed: drop the rest. */
static int cut_count(struct qcow2_check *check, bool mend)
{
    struct qcow2 *s = check->s;
    uint32_t surplus = s->h.snapshot_count - QCOW2_MAX_SNAPSHOTS;
    uint8_t count[4];

    if (!mend)
        return too_large("ERROR snapshot table too large", surplus);
    img_notice(IMG_NOTE, "Discarding %" PRIu32 " overhanging snapshots", surplus);
    check->snapshot_faults += surplus;
    s->h.snapshot_count = QCOW2_MAX_SNAPSHOTS;
    img_put_be32(count, s->h.snapshot_count);
    int status = img_pwrite(check->image->file, count, HEADER_SNAPSHOTS, sizeof count);
    if (status < 0)
        img_notice(IMG_NOTE, "ERROR failed to update the snapshot count in the image header: %s", img_strerror(status));
    return status;
}

static int read_entries(struct qcow2_check *check, bool mend)
{
    struct qcow2 *s = check->s;
    struct cursor at = { .check = check, .mend = mend };

    for (uint32_t i = 0; i < s->h.snapshot_count; i++) {
        uint64_t before = check->snapshot_bytes;
        int status = read_entry(&at, i);
        if (status < 0)
            return status;
        if (at.kept <= TABLE_MOST && check->snapshot_bytes <= INT32_MAX)
            continue;
        uint32_t surplus = s->h.snapshot_count - i;
        if (!mend)
            return too_large("ERROR failed to read the snapshot table: Snapshot table is too big", surplus);
        img_notice(IMG_NOTE, "Discarding %" PRIu32 " overhanging snapshots (snapshot table is too big)", surplus);
        check->snapshot_faults += surplus;
        check->snapshot_bytes = before;
        qcow2_free_snapshot(&s->snapshots.at[--s->snapshots.count]);
        break;
    }
    s->h.snapshot_count = (uint32_t)s->snapshots.count;
    return 0;
}

int qcow2_check_snapshot_table(struct qcow2_check *check)
{
    struct qcow2 *s = check->s;
    bool mend = check->repair & IMG_REPAIR_ERRORS;

    qcow2_free_snapshots(s);
    if (s->h.snapshot_count == 0)
        return 0;
    if (!img_aligned(s->h.snapshots_offset, s->cluster_size) || s->h.snapshots_offset > INT64_MAX - TABLE_MOST) {
        img_notice(IMG_FAULT, "ERROR snapshot table offset invalid");
        return -EINVAL;
    }
    int status = s->h.snapshot_count > QCOW2_MAX_SNAPSHOTS ? cut_count(check, mend) : 0;
    if (status == 0)
        status = read_entries(check, mend);
    if (status < 0)
        return status;
    /* Version 3 requires the disk size in each of them. */
    for (size_t i = 0; s->h.version >= 3 && i < s->snapshots.count; i++) {
        if (s->snapshots.at[i].extra_length >= EXTRA_NEEDED)
            continue;
        img_notice(IMG_NOTE, "%s snapshot table entry %zu is incomplete", mend ? "Repairing" : "ERROR", i);
        check->snapshot_faults++;
    }
    return 0;
}

/* ---- Rewriting ------------------------------------------------------------------------ */

/* Find free clusters outside the old table, even if that is not counted as used. */
static int find_place(struct qcow2_check *check, uint64_t length, uint64_t *offset)
{
    struct qcow2 *s = check->s;
    uint64_t old = s->h.snapshots_offset, refused;

    int status = qcow2_alloc_clusters(check->image, length, offset);
    if (status < 0 || *offset >= old + check->snapshot_bytes || *offset + length <= old)
        return status;
    refused = *offset;
    status = qcow2_alloc_clusters(check->image, length, offset);
    if (status == 0)
        status = qcow2_free_clusters(check->image, refused, length);
    return status;
}

static int put_table(struct qcow2_check *check, const uint8_t *table, uint64_t length)
{
    struct qcow2 *s = check->s;
    struct img *image = check->image;
    uint64_t offset = 0;
    uint8_t header[12];
    int status;

    if (length && ((status = find_place(check, length, &offset)) < 0 ||
                   (status = qcow2_write(image, 0, table, offset, (size_t)length)) < 0))
        return status;
    if ((status = qcow2_check_write_blocks(check)) < 0)
        return status;
    img_put_be32(header, (uint32_t)s->snapshots.count);
    img_put_be64(header + 4, offset);
    if ((status = img_pwrite(image->file, header, HEADER_SNAPSHOTS, sizeof header)) < 0 ||
        (status = qcow2_barrier(image)) < 0)
        return status;
    s->h.snapshots_offset = offset;
    return 0;
}

/* The old table is no longer needed.  Free only the clusters that were counted as its own. */
static void free_old(struct qcow2_check *check, uint64_t offset)
{
    struct qcow2 *s = check->s;
    uint64_t length = img_align_up(check->snapshot_bytes, s->cluster_size);

    if (check->snapshots_counted && length && qcow2_free_clusters(check->image, offset, length) == 0 &&
        !IMG_VECTOR_PUSH(&check->freed, (struct qcow2_range){ offset, length }))
        return;         /* the storage keeps the room */
}

int qcow2_mend_snapshot_table(struct qcow2_check *check)
{
    uint64_t old = check->s->h.snapshots_offset, length;
    CLEANUP_FREE uint8_t *table = NULL;

    int status = qcow2_build_snapshot_table(check->s, &table, &length);
    if (status < 0 || (status = put_table(check, table, length)) < 0) {
        img_notice(IMG_NOTE, "ERROR failed to update snapshot table: %s", img_strerror(status));
        check->result->check_errors++;
        return status;
    }
    free_old(check, old);
    return qcow2_check_write_blocks(check);
}
