/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table: read as it stands, with every entry judged, and rewritten when it has to be mended.
 * Specification: "Snapshots".
 *
 * A mended table goes to free space before the header is switched to it.
 */
#include "check.h"

#include <inttypes.h>

enum { ENTRY_BYTES = 40, EXTRA_KNOWN = 24, EXTRA_NEEDED = 16, EXTRA_MOST = 1024 };
enum { HEADER_SNAPSHOTS = 60 };         /* count (4 bytes) and offset (8) of the table */
#define TABLE_MOST QCOW2_MAX_SNAPSHOT_TABLE_BYTES

struct cursor {
    struct qcow2_check *check;
    uint64_t offset;                /* of the next entry, from the start of the table */
    uint64_t kept;                  /* length of a table with what is kept so far */
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
    char *text = img_xcalloc(length + 1, 1);

    if (length && qcow2_read(check->image, text, offset, length) < 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* The extra data as far as we keep it: *kept is less than `length` when there is too much. */
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
    snapshot->extra = img_xcalloc(kept + 1, 1);
    return kept ? qcow2_read(at->check->image, snapshot->extra, offset, kept) : 0;
}

/* What the extra data say, beside the fields of the entry itself. */
static void apply_extra(const struct qcow2 *s, struct qcow2_snapshot *snapshot)
{
    struct img_snapshot *shown = &snapshot->shown;

    shown->disk_size = s->h.size;
    if (snapshot->extra_length >= 8)
        shown->vm_state_size = img_get_be64(snapshot->extra);
    if (snapshot->extra_length >= 16)
        shown->disk_size = img_get_be64(snapshot->extra + 8);
    if (snapshot->extra_length >= 24) {
        shown->icount = img_get_be64(snapshot->extra + 16);
        shown->has_icount = shown->icount != UINT64_MAX;
    }
}

/* One entry, appended to the snapshots of the image. */
static int read_entry(struct cursor *at, size_t index)
{
    struct qcow2 *s = at->check->s;
    struct qcow2_snapshot snapshot = { 0 };
    uint64_t offset = s->h.snapshots_offset + at->offset;
    uint8_t entry[ENTRY_BYTES];

    int status = qcow2_read(at->check->image, entry, offset, sizeof entry);
    if (status < 0)
        return unreadable(status);
    uint32_t id_length = img_get_be16(entry + 12), name_length = img_get_be16(entry + 14);
    uint32_t extra = img_get_be32(entry + 36);
    snapshot.l1_offset = img_get_be64(entry);
    snapshot.l1_size = img_get_be32(entry + 8);
    snapshot.shown.date_sec = img_get_be32(entry + 16);
    snapshot.shown.date_nsec = img_get_be32(entry + 20);
    snapshot.shown.vm_clock_nsec = img_get_be64(entry + 24);
    snapshot.shown.vm_state_size = img_get_be32(entry + 32);

    status = read_extra(at, offset + ENTRY_BYTES, index, extra, &snapshot);
    if (status < 0) {
        free(snapshot.extra);
        return status == -EFBIG ? status : unreadable(status);
    }
    apply_extra(s, &snapshot);
    uint64_t texts = offset + ENTRY_BYTES + extra;
    snapshot.shown.id = read_text(at->check, texts, id_length);
    snapshot.shown.name = read_text(at->check, texts + id_length, name_length);
    if (!snapshot.shown.id || !snapshot.shown.name) {
        free(snapshot.extra);
        free(snapshot.shown.id);
        free(snapshot.shown.name);
        return unreadable(-EIO);
    }
    IMG_VECTOR_PUSH(&s->snapshots, snapshot);
    at->check->snapshot_bytes = at->offset + ENTRY_BYTES + extra + id_length + name_length;
    at->offset = img_align_up(at->check->snapshot_bytes, 8);
    at->kept = img_align_up(at->kept + ENTRY_BYTES + snapshot.extra_length + id_length + name_length, 8);
    return 0;
}

static int too_large(const char *prefix, uint32_t surplus)
{
    img_notice(IMG_FAULT, "%s", prefix);
    img_notice(IMG_NOTE, "You can force-remove all %" PRIu32 " overhanging snapshots with qemu-img check -r all",
               surplus);
    return -EFBIG;
}

/* More snapshots than there can be: the header says so, the rest is cut off. */
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
        struct qcow2_snapshot *last = &s->snapshots.at[--s->snapshots.count];
        free(last->extra);
        free(last->shown.id);
        free(last->shown.name);
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
    /* Version 3 asks for the size of the disk in each of them. */
    for (size_t i = 0; s->h.version >= 3 && i < s->snapshots.count; i++) {
        if (s->snapshots.at[i].extra_length >= EXTRA_NEEDED)
            continue;
        img_notice(IMG_NOTE, "%s snapshot table entry %zu is incomplete", mend ? "Repairing" : "ERROR", i);
        check->snapshot_faults++;
    }
    return 0;
}

/* ---- Rewriting ------------------------------------------------------------------------ */

static size_t entry_length(const struct qcow2_snapshot *snapshot)
{
    uint32_t extra = snapshot->extra_length < EXTRA_KNOWN ? EXTRA_KNOWN : snapshot->extra_length;

    return ENTRY_BYTES + extra + strlen(snapshot->shown.id) + strlen(snapshot->shown.name);
}

static void build_entry(const struct qcow2_snapshot *snapshot, uint8_t *entry)
{
    const struct img_snapshot *shown = &snapshot->shown;
    uint32_t extra = snapshot->extra_length < EXTRA_KNOWN ? EXTRA_KNOWN : snapshot->extra_length;
    size_t id_length = strlen(shown->id), name_length = strlen(shown->name);

    img_put_be64(entry, snapshot->l1_offset);
    img_put_be32(entry + 8, snapshot->l1_size);
    img_put_be16(entry + 12, (uint16_t)id_length);
    img_put_be16(entry + 14, (uint16_t)name_length);
    img_put_be32(entry + 16, (uint32_t)shown->date_sec);
    img_put_be32(entry + 20, shown->date_nsec);
    img_put_be64(entry + 24, shown->vm_clock_nsec);
    img_put_be32(entry + 32, shown->vm_state_size <= UINT32_MAX ? (uint32_t)shown->vm_state_size : 0);
    img_put_be32(entry + 36, extra);
    entry += ENTRY_BYTES;
    if (snapshot->extra_length)
        memcpy(entry, snapshot->extra, snapshot->extra_length);
    img_put_be64(entry, shown->vm_state_size);
    img_put_be64(entry + 8, shown->disk_size);
    img_put_be64(entry + 16, shown->has_icount ? shown->icount : UINT64_MAX);
    memcpy(entry + extra, shown->id, id_length);
    memcpy(entry + extra + id_length, shown->name, name_length);
}

static uint8_t *build_table(const struct qcow2 *s, size_t *length)
{
    size_t at = 0;

    for (size_t i = 0; i < s->snapshots.count; i++)
        at = img_align_up(at, 8) + entry_length(&s->snapshots.at[i]);
    *length = at;
    uint8_t *table = calloc(1, at + 1);
    at = 0;
    for (size_t i = 0; table && i < s->snapshots.count; i++) {
        at = img_align_up(at, 8);
        build_entry(&s->snapshots.at[i], table + at);
        at += entry_length(&s->snapshots.at[i]);
    }
    return table;
}

/* Free clusters that are no part of the old table, even if that is not counted as used. */
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

static int put_table(struct qcow2_check *check, const uint8_t *table, size_t length)
{
    struct qcow2 *s = check->s;
    struct img *image = check->image;
    uint64_t offset = 0;
    uint8_t header[12];
    int status;

    if (length && ((status = find_place(check, length, &offset)) < 0 ||
                   (status = qcow2_check_overlap(image, 0, offset, length)) < 0 ||
                   (status = img_pwrite(image->file, table, offset, length)) < 0))
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

/* The old table is not needed any more.  What could not be counted as its own is not its own to free. */
static void free_old(struct qcow2_check *check, uint64_t offset)
{
    struct qcow2 *s = check->s;
    uint64_t length = img_align_up(check->snapshot_bytes, s->cluster_size);

    if (check->snapshots_counted && length && qcow2_free_clusters(check->image, offset, length) == 0)
        IMG_VECTOR_PUSH(&check->freed, (struct qcow2_range){ offset, length });
}

int qcow2_mend_snapshot_table(struct qcow2_check *check)
{
    uint64_t old = check->s->h.snapshots_offset;
    size_t length;
    CLEANUP_FREE uint8_t *table = build_table(check->s, &length);

    int status = table ? put_table(check, table, length) : -ENOMEM;
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR failed to update snapshot table: %s", img_strerror(status));
        check->result->check_errors++;
        return status;
    }
    free_old(check, old);
    return qcow2_check_write_blocks(check);
}
