/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots: the table, listing, and showing one instead of the active disk; write.c changes them.
 * Specification: "Snapshots", "Snapshot table".
 */
#include "../qcow2.h"

enum { MAX_EXTRA = 1024, EXTRA_DISK_SIZE = 16, AHEAD = 64 << 10, MAX_ENTRY = 2048 };
enum { ID_SHOWN = 127, NAME_SHOWN = 255 };     /* bytes of a longer one that qemu-img shows */

static int too_big(const struct qcow2 *s, uint32_t index, struct img_error *err)
{
    img_error_hint(err, "You can force-remove all %u overhanging snapshots with qemu-img check -r all",
                   s->h.snapshot_count - index);
    return img_error_set(err, EFBIG, "Snapshot table is too big");
}

static int cannot_read(int status, struct img_error *err)
{
    return img_error_errno(err, -status, "Failed to read snapshot table");
}

/* Read a string of the table as a C string; the part after a NUL is not shown. */
static int read_text(struct img *image, uint64_t offset, uint16_t length, char **text)
{
    *text = img_calloc(1, (size_t)length + 1);
    return !*text ? -ENOMEM : qcow2_read(image, *text, offset, length);
}

void qcow2_parse_snapshot(const struct qcow2 *s, const uint8_t *entry, struct qcow2_snapshot *snapshot)
{
    struct img_snapshot *shown = &snapshot->shown;

    snapshot->l1_offset = img_get_be64(entry);
    snapshot->l1_size = img_get_be32(entry + 8);
    shown->date_sec = img_get_be32(entry + 16);
    shown->date_nsec = img_get_be32(entry + 20);
    shown->vm_clock_nsec = img_get_be64(entry + 24);
    shown->vm_state_size = img_get_be32(entry + 32);
    shown->disk_size = s->h.size;
    if (snapshot->extra_length >= 8)
        shown->vm_state_size = img_get_be64(snapshot->extra);
    if (snapshot->extra_length >= EXTRA_DISK_SIZE)
        shown->disk_size = img_get_be64(snapshot->extra + 8);
    if (snapshot->extra_length >= QCOW2_SNAPSHOT_EXTRA) {
        shown->icount = img_get_be64(snapshot->extra + 16);
        shown->has_icount = shown->icount != UINT64_MAX;
    }
}

/* Read the entry at *at; its pointers are set even on failure. */
static int read_entry(struct img *image, uint32_t index, uint64_t *at, struct qcow2_snapshot *snapshot,
                      struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[QCOW2_SNAPSHOT_ENTRY];

    int status = qcow2_read(image, raw, *at, sizeof raw);
    if (status < 0)
        return cannot_read(status, err);
    snapshot->extra_length = img_get_be32(raw + 36);
    if (snapshot->extra_length > MAX_EXTRA) {
        img_error_hint(err, "You can force-remove this extra metadata with qemu-img check -r all");
        return img_error_set(err, EINVAL, "Too much extra metadata in snapshot table entry %u", index);
    }

    uint16_t id_length = img_get_be16(raw + 12), name_length = img_get_be16(raw + 14);
    uint64_t offset = *at + QCOW2_SNAPSHOT_ENTRY;
    snapshot->extra = img_calloc(1, (size_t)snapshot->extra_length + 1);
    status = snapshot->extra ? qcow2_read(image, snapshot->extra, offset, snapshot->extra_length) : -ENOMEM;
    offset += snapshot->extra_length;
    if (status == 0)
        status = read_text(image, offset, id_length, &snapshot->shown.id);
    offset += id_length;
    if (status == 0)
        status = read_text(image, offset, name_length, &snapshot->shown.name);
    offset += name_length;
    if (status < 0)
        return cannot_read(status, err);
    qcow2_parse_snapshot(s, raw, snapshot);
    *at = img_align_up(offset, 8);
    return 0;
}

void qcow2_free_snapshot(struct qcow2_snapshot *snapshot)
{
    free(snapshot->shown.id);
    free(snapshot->shown.name);
    free(snapshot->extra);
}

static int read_entries(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t at = s->h.snapshots_offset;

    qcow2_free_snapshots(s);
    if (s->h.snapshot_count == 0)
        return 0;
    if (s->h.snapshot_count > QCOW2_MAX_SNAPSHOTS)
        return too_big(s, QCOW2_MAX_SNAPSHOTS, err);
    if (at > INT64_MAX - QCOW2_MAX_SNAPSHOT_TABLE_BYTES)
        return cannot_read(-EIO, err);
    for (uint32_t i = 0; i < s->h.snapshot_count; i++) {
        struct qcow2_snapshot snapshot = {0};
        /* (of the table's own clusters only: see header.c) */
        uint64_t most = (s->h.snapshot_count - i) * (uint64_t)MAX_ENTRY, rest = s->cluster_size - at % s->cluster_size;
        qcow2_read_ahead(image, at, (size_t)img_min(AHEAD, img_min(most, rest)));
        int status = read_entry(image, i, &at, &snapshot, err);
        if (status == 0 && at - s->h.snapshots_offset > QCOW2_MAX_SNAPSHOT_TABLE_BYTES)
            status = too_big(s, i, err);
        if (status == 0 && !IMG_VECTOR_PUSH(&s->snapshots, snapshot))
            status = img_error_memory(err);
        if (status < 0) {
            qcow2_free_snapshot(&snapshot);
            return status;
        }
    }
    return 0;
}

int qcow2_read_snapshots(struct img *image, struct img_error *err)
{
    int status = read_entries(image, err);

    qcow2_forget_ahead(qcow2_state(image));
    return status;
}

void qcow2_free_snapshots(struct qcow2 *s)
{
    for (size_t i = 0; i < s->snapshots.count; i++)
        qcow2_free_snapshot(&s->snapshots.at[i]);
    free(s->snapshots.at);
    memset(&s->snapshots, 0, sizeof s->snapshots);
}

int qcow2_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err)
{
    const struct qcow2 *s = qcow2_state(image);

    *list = NULL;
    if (s->snapshots.count == 0)
        return 0;
    *list = img_calloc(s->snapshots.count, sizeof **list);
    if (!*list)
        return img_error_memory(err);
    for (size_t i = 0; i < s->snapshots.count; i++) {
        (*list)[i] = s->snapshots.at[i].shown;
        (*list)[i].id = img_strndup(s->snapshots.at[i].shown.id, ID_SHOWN);
        (*list)[i].name = img_strndup(s->snapshots.at[i].shown.name, NAME_SHOWN);
        if (!(*list)[i].id || !(*list)[i].name) {
            img_snapshots_free(*list, i + 1);
            *list = NULL;
            return img_error_memory(err);
        }
    }
    return (int)s->snapshots.count;
}

struct qcow2_snapshot *qcow2_find_snapshot(const struct qcow2 *s, const char *id, const char *name)
{
    for (size_t i = 0; i < s->snapshots.count; i++) {
        const struct img_snapshot *shown = &s->snapshots.at[i].shown;
        if ((!id || strcmp(shown->id, id) == 0) && (!name || strcmp(shown->name, name) == 0))
            return &s->snapshots.at[i];
    }
    return NULL;
}

int qcow2_check_snapshot_l1(const struct qcow2 *s, const struct qcow2_snapshot *snapshot, struct img_error *err)
{
    uint64_t end;

    if (snapshot->l1_size > QCOW2_MAX_L1_BYTES / 8)
        return img_error_set(err, EFBIG, "Snapshot L1 table too large");
    if (!img_aligned(snapshot->l1_offset, s->cluster_size) ||
        !img_add(snapshot->l1_offset, snapshot->l1_size * 8ull, &end) || end > INT64_MAX)
        return img_error_set(err, EINVAL, "Snapshot L1 table offset invalid");
    return 0;
}

/* Show the snapshot with that id or, if NULL, that name.  The disk keeps its current size. */
static int load_one(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    const struct qcow2_snapshot *snapshot = qcow2_find_snapshot(s, id, name);
    uint64_t *l1;

    if (!snapshot)
        return img_error_set(err, ENOENT, "Can't find snapshot");
    int status = qcow2_check_snapshot_l1(s, snapshot, err);
    if (status < 0)
        return status;
    if ((status = qcow2_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &l1)) < 0)
        return img_error_set(err, -status, "Failed to read l1 table for snapshot");
    free(s->l1);
    s->l1 = l1;
    s->h.l1_size = snapshot->l1_size;
    image->snapshot_view = true;
    return 0;
}

int qcow2_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct img_error first = IMG_ERROR_INIT;

    if (!id || !name)
        return load_one(image, id, id || name ? name : "", err);
    int status = load_one(image, id, NULL, &first);
    if (status == -ENOENT || status == -EINVAL) {
        img_error_clear(&first);
        return load_one(image, NULL, name, err);
    }
    *err = first;
    return status;
}

/* ---- Building the table --------------------------------------------------------------------------- */

/* Length of an entry with that much extra data. */
static uint64_t entry_length(const struct qcow2_snapshot *snapshot, uint64_t extra)
{
    return QCOW2_SNAPSHOT_ENTRY + extra + strlen(snapshot->shown.id) + strlen(snapshot->shown.name);
}

uint64_t qcow2_snapshot_table_length(const struct qcow2 *s)
{
    uint64_t at = 0;

    for (size_t i = 0; i < s->snapshots.count; i++)
        at = img_align_up(at, 8) + entry_length(&s->snapshots.at[i], s->snapshots.at[i].extra_length);
    return at;
}

/* A new entry has all extra data that we know. */
static uint32_t new_extra(const struct qcow2_snapshot *snapshot)
{
    return (uint32_t)img_max(snapshot->extra_length, QCOW2_SNAPSHOT_EXTRA);
}

static void build_entry(const struct qcow2_snapshot *snapshot, uint8_t *entry)
{
    const struct img_snapshot *shown = &snapshot->shown;
    uint32_t extra = new_extra(snapshot);
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
    entry += QCOW2_SNAPSHOT_ENTRY;
    if (snapshot->extra_length)
        memcpy(entry, snapshot->extra, snapshot->extra_length);
    img_put_be64(entry, shown->vm_state_size);
    img_put_be64(entry + 8, shown->disk_size);
    img_put_be64(entry + 16, shown->has_icount ? shown->icount : UINT64_MAX);
    memcpy(entry + extra, shown->id, id_length);
    memcpy(entry + extra + id_length, shown->name, name_length);
}

int qcow2_build_snapshot_table(const struct qcow2 *s, uint8_t **table, uint64_t *length)
{
    const struct qcow2_snapshot *all = s->snapshots.at;
    uint64_t at = 0;

    *table = NULL;
    for (size_t i = 0; i < s->snapshots.count; i++)
        at = img_align_up(at, 8) + entry_length(&all[i], new_extra(&all[i]));
    if (at > QCOW2_MAX_SNAPSHOT_TABLE_BYTES || s->snapshots.count > QCOW2_MAX_SNAPSHOTS)
        return -EFBIG;
    *length = at;
    *table = calloc(1, at + 1);
    if (!*table)
        return -ENOMEM;
    at = 0;
    for (size_t i = 0; i < s->snapshots.count; i++) {
        at = img_align_up(at, 8);
        build_entry(&all[i], *table + at);
        at += entry_length(&all[i], new_extra(&all[i]));
    }
    return 0;
}
