/* SPDX-License-Identifier: MIT */
/*
 * Creates, applies and deletes internal snapshots.
 * Specification: "Snapshots".
 *
 * First the necessary clusters are allocated and written (a copy of the L1 table, a new snapshot table).  Then
 * refcounts, flags and the L1 table change under a shadow (shadow.c), whose end makes the new state visible.  Then
 * unused clusters are freed.
 */
#include "../qcow2.h"

enum { NAME_MOST = 255 };
#define SIZE_MOST 0x7fffffffc0000000ull     /* qemu-img's maximum disk size */

/* ---- Writing to new clusters --------------------------------------------------------------------- */

static int put(struct img *image, const void *bytes, uint64_t length, uint64_t *offset)
{
    *offset = 0;
    if (length == 0)
        return 0;
    int status = qcow2_alloc_clusters(image, length, offset);
    if (status < 0)
        return status;
    if ((status = qcow2_write(image, 0, bytes, *offset, (size_t)length)) < 0)
        qcow2_free_clusters(image, *offset, length);
    return status;
}

int qcow2_put_snapshot_table(struct img *image, const struct qcow2_snapshot *more, struct qcow2_range *at)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *table = NULL;

    if (more && !IMG_VECTOR_PUSH(&s->snapshots, *more))
        return -ENOMEM;
    int status = qcow2_build_snapshot_table(s, &table, &at->length);
    if (more)
        s->snapshots.count--;
    return status < 0 ? status : put(image, table, at->length, &at->offset);
}

/* ---- Freeing -------------------------------------------------------------------------------------- */

static struct qcow2_range table_range(const struct qcow2 *s)
{
    return (struct qcow2_range){ s->h.snapshots_offset, qcow2_snapshot_table_length(s) };
}

static void discard(struct img *image, const struct qcow2_range *range)
{
    struct qcow2 *s = qcow2_state(image);

    /* Advisory. */
    if (s->discards[QCOW2_DISCARD_SNAPSHOT] && range->length)
        img_discard(image->file, range->offset, img_align_up(range->length, s->cluster_size));
}

/* Free a table; a refcount that cannot be decreased is damage, and stays. */
static void free_table(struct img *image, const struct qcow2_range *range)
{
    int status = range->length ? qcow2_free_clusters(image, range->offset, range->length) : 0;

    if (status < 0)
        img_notice(IMG_NOTE, "qcow2_free_clusters failed: %s", img_strerror(status));
    else
        discard(image, range);
}

static int by_offset(const void *a, const void *b)
{
    const struct qcow2_range *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Discard adjacent ranges together: the storage frees only whole blocks. */
static void discard_all(struct img *image, struct qcow2_tree *tree)
{
    struct qcow2_range run = { 0, 0 };

    if (tree->freed.count)
        qsort(tree->freed.at, tree->freed.count, sizeof *tree->freed.at, by_offset);
    for (size_t i = 0; i < tree->freed.count; i++) {
        const struct qcow2_range *next = &tree->freed.at[i];
        if (run.length && run.offset + run.length == next->offset) {
            run.length += next->length;
            continue;
        }
        discard(image, &run);
        run = *next;
    }
    discard(image, &run);
    free(tree->freed.at);
}

/* ---- Creating ---------------------------------------------------------------------------------------- */

/* The largest id plus one, where ids are parsed as by strtoul(3). */
static char *new_id(const struct qcow2 *s)
{
    uint64_t most = 0;

    for (size_t i = 0; i < s->snapshots.count; i++)
        most = img_max(most, strtoull(s->snapshots.at[i].shown.id, NULL, 10));
    return img_asprintf("%llu", (unsigned long long)(most + 1));
}

static struct qcow2_snapshot describe(const struct img *image, const struct img_snapshot *what)
{
    const struct qcow2 *s = qcow2_state(image);
    struct qcow2_snapshot made = { .shown = *what, .l1_size = s->h.l1_size,
                                   .extra_length = QCOW2_SNAPSHOT_EXTRA };

    made.shown.id = new_id(s);
    made.shown.name = img_strndup(what->name, NAME_MOST);
    made.shown.disk_size = image->size;
    made.extra = img_calloc(1, QCOW2_SNAPSHOT_EXTRA);
    return made;
}

/* The copied flags are valid in the active table only. */
static int copy_l1(struct img *image, uint64_t *offset)
{
    struct qcow2 *s = qcow2_state(image);
    size_t length = (size_t)s->h.l1_size * 8;
    CLEANUP_FREE uint64_t *raw = malloc(length + 1);

    if (!raw)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->h.l1_size; i++)
        raw[i] = IMG_BE64(s->l1[i] & ~QCOW2_COPIED);
    return put(image, raw, length, offset);
}

/* Tables that only the active disk refers to: their entries may have the flag. */
static uint32_t *private_tables(const struct qcow2 *s, size_t *count)
{
    uint32_t *indexes = img_calloc((size_t)s->h.l1_size + 1, sizeof *indexes);

    *count = 0;
    for (uint32_t i = 0; indexes && i < s->h.l1_size; i++)
        if (s->l1[i] & QCOW2_OFFSET_MASK && s->l1[i] & QCOW2_COPIED)
            indexes[(*count)++] = i;
    return indexes;
}

static bool is_empty(const uint64_t *l1, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++)
        if (l1[i] & QCOW2_OFFSET_MASK)
            return false;
    return true;
}

/* Make the active disk share everything with the new snapshot, the last of `count` in the table. */
static int share_active(struct img *image, const struct qcow2_range *table, uint32_t count)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_tree tree = { .l1 = s->l1, .entries = s->h.l1_size, .delta = 1, .flags = true };
    struct qcow2_shadow *shadow;
    size_t changing;
    CLEANUP_FREE uint32_t *indexes = private_tables(s, &changing);

    if (!indexes)
        return -ENOMEM;
    int status = qcow2_shadow_begin(image, indexes, changing, &shadow);
    if (status < 0)
        return status;
    if ((status = qcow2_tree_update(image, &tree)) < 0) {
        qcow2_shadow_rollback(image, shadow);
        return status;
    }
    s->h.snapshot_count = count;
    s->h.snapshots_offset = table->offset;
    return qcow2_shadow_commit(image, shadow);
}

/* Only the header changes. */
static int switch_table(struct img *image, const struct qcow2_range *table, uint32_t count)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[12];
    int status;

    img_put_be32(raw, count);
    img_put_be64(raw + 4, table->offset);
    if ((status = qcow2_sync(image)) < 0 || (status = img_pwrite(image->file, raw, 60, sizeof raw)) < 0)
        return status;
    s->h.snapshot_count = count;
    s->h.snapshots_offset = table->offset;
    return qcow2_barrier(image);
}

static int add_snapshot(struct img *image, struct qcow2_snapshot *made)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_range table = { 0, 0 };
    uint32_t count = (uint32_t)s->snapshots.count + 1;

    int status = copy_l1(image, &made->l1_offset);
    if (status < 0)
        return status;
    if ((status = qcow2_put_snapshot_table(image, made, &table)) == 0) {
        status = is_empty(s->l1, s->h.l1_size) ? switch_table(image, &table, count)
                                               : share_active(image, &table, count);
        /* The header may already refer to the new table. */
        if (status < 0 && s->h.snapshots_offset == table.offset)
            s->broken = true;
        if (status < 0 && !s->broken)
            qcow2_free_clusters(image, table.offset, table.length);
    }
    if (status < 0 && made->l1_offset && !s->broken)
        qcow2_free_clusters(image, made->l1_offset, (uint64_t)made->l1_size * 8);
    return status;
}

int qcow2_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_range old = table_range(s);
    int status = s->broken ? -ENOMEDIUM : 0;

    if (s->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
        status = -ENOTSUP;
    else if (s->snapshots.count >= QCOW2_MAX_SNAPSHOTS)
        status = -EFBIG;
    if (status < 0)
        return img_error_errno(err, -status, "Could not create snapshot");
    struct qcow2_snapshot made = describe(image, what);
    CLEANUP_FREE char *id = made.shown.id ? img_strdup(made.shown.id) : NULL;
    if (!id || !made.shown.name || !made.extra)
        status = -ENOMEM;
    if (status < 0 || (status = add_snapshot(image, &made)) < 0) {
        qcow2_free_snapshot(&made);
        return img_error_errno(err, -status, "Could not create snapshot");
    }
    /* Writing the table has made the room. */
    s->snapshots.at[s->snapshots.count++] = made;
    free_table(image, &old);
    what->id = id;
    id = NULL;
    return 0;
}

/* ---- Applying ------------------------------------------------------------------------------------------ */

/* Can the disk get its old size?  Errors have the texts of resize. */
static int check_size(const struct img *image, uint64_t size)
{
    const struct qcow2 *s = qcow2_state(image);
    const char *what = NULL;
    int status = -EINVAL;

    if (size == image->size)
        return 0;
    if (size > INT64_MAX) {
        what = "Image size cannot be negative";
    } else if (size > SIZE_MOST) {
        img_notice(IMG_FAULT, "offset(%llu) exceeds maximum(%llu)", (unsigned long long)size, SIZE_MOST);
        return -EIO;
    } else if (size % 512) {
        what = "The new size must be a multiple of 512";
    } else if (s->h.version < 3) {
        what = "Can't resize a v2 image which has snapshots";
        status = -ENOTSUP;
    } else if (qcow2_l1_entries(s, size) > QCOW2_MAX_L1_BYTES / 8) {
        what = "Failed to grow the L1 table: File too large";
        status = -EFBIG;
    }
    if (what)
        img_notice(IMG_FAULT, "%s", what);
    return what ? status : 0;
}

/* Replace the active tree by the snapshot's; `l1` has as many entries as the active table. */
static int switch_tree(struct img *image, uint64_t *l1, uint64_t size)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_tree to = { .l1 = l1, .entries = s->h.l1_size, .delta = 1, .flags = true };
    struct qcow2_tree from = { .l1 = s->l1, .entries = s->h.l1_size, .delta = -1 };
    struct qcow2_shadow *shadow;

    int status = qcow2_shadow_begin(image, NULL, 0, &shadow);
    if (status < 0)
        return status;
    if ((status = qcow2_tree_update(image, &to)) < 0 || (status = qcow2_tree_update(image, &from)) < 0) {
        qcow2_shadow_rollback(image, shadow);
    } else {
        memcpy(s->l1, l1, (size_t)s->h.l1_size * 8);
        s->h.size = size;
        if ((status = qcow2_shadow_commit(image, shadow)) == 0) {
            image->size = size;
            discard_all(image, &from);
            return 0;
        }
    }
    free(from.freed.at);
    return status;
}

static int apply(struct img *image, const struct qcow2_snapshot *snapshot)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint64_t *l1 = NULL;
    uint64_t size = snapshot->shown.disk_size, *read;
    struct img_error err = IMG_ERROR_INIT;

    int status = qcow2_check_snapshot_l1(s, snapshot, &err);
    if (status < 0)
        img_notice(IMG_FAULT, "%s", err.text);
    img_error_clear(&err);
    if (status < 0 || (status = check_size(image, size)) < 0 ||
        (status = qcow2_grow_l1(image, img_max(qcow2_l1_entries(s, size), snapshot->l1_size))) < 0 ||
        (status = qcow2_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &read)) < 0)
        return status;
    l1 = calloc((size_t)s->h.l1_size + 1, 8);
    if (l1)
        memcpy(l1, read, (size_t)snapshot->l1_size * 8);
    free(read);
    if (!l1)
        return -ENOMEM;
    /* Since all tables are walked anyway, set the size in the header, too. */
    return switch_tree(image, l1, size == image->size ? s->h.size : size);
}

int qcow2_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    const struct qcow2_snapshot *snapshot;
    int status;

    if (s->bitmap_count)
        return img_error_set(err, ENOTSUP, "Device has active dirty bitmaps");
    snapshot = qcow2_find_snapshot(s, id_or_name, NULL);
    if (!snapshot)
        snapshot = qcow2_find_snapshot(s, NULL, id_or_name);
    if (s->broken)
        status = -ENOMEDIUM;
    else if (s->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
        status = -ENOTSUP;
    else
        status = snapshot ? apply(image, snapshot) : -ENOENT;
    return status < 0 ? img_error_errno(err, -status, "Failed to load snapshot") : 0;
}

/* ---- Deleting -------------------------------------------------------------------------------------------- */

/* Tables of the active disk that may have entries with a single reference once the snapshot `l1` is gone. */
static int affected_tables(struct img *image, const uint64_t *l1, uint32_t *indexes, size_t *count)
{
    struct qcow2 *s = qcow2_state(image);

    *count = 0;
    for (uint32_t i = 0; i < s->h.l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_OFFSET_MASK, uses;
        if (!table || !l1[i] || !img_aligned(table, s->cluster_size))
            continue;
        int status = qcow2_refcount_get(image, table >> s->h.cluster_bits, &uses);
        if (status < 0)
            return status;
        if (uses == 1 || (uses == 2 && table == (l1[i] & QCOW2_OFFSET_MASK)))
            indexes[(*count)++] = i;
    }
    return 0;
}

/* Drop the tree of `gone`, whose snapshot is already off the list. */
static int drop_tree(struct img *image, uint64_t *gone, uint32_t entries, const struct qcow2_range *table)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint64_t *only = img_calloc((size_t)s->h.l1_size + 1, 8);
    CLEANUP_FREE uint32_t *indexes = img_calloc((size_t)s->h.l1_size + 1, sizeof *indexes);
    struct qcow2_tree dropped = { .l1 = gone, .entries = entries, .delta = -1 };
    struct qcow2_tree active = { .l1 = s->l1, .entries = s->h.l1_size, .flags = true, .only = only };
    struct qcow2_shadow *shadow;
    size_t count;

    if (!only || !indexes)
        return -ENOMEM;
    memcpy(only, gone, (size_t)img_min(entries, s->h.l1_size) * 8);
    int status = affected_tables(image, only, indexes, &count);
    if (status < 0 || (status = qcow2_shadow_begin(image, indexes, count, &shadow)) < 0)
        return status;
    if ((status = qcow2_tree_update(image, &dropped)) < 0 || (status = qcow2_tree_update(image, &active)) < 0) {
        qcow2_shadow_rollback(image, shadow);
    } else {
        s->h.snapshot_count = (uint32_t)s->snapshots.count;
        s->h.snapshots_offset = table->offset;
        if ((status = qcow2_shadow_commit(image, shadow)) == 0) {
            discard_all(image, &dropped);
            return 0;
        }
    }
    free(dropped.freed.at);
    return status;
}

static bool no_room(int status)
{
    return status == -ENOSPC || status == -EDQUOT || status == -EFBIG;
}

/* Drop the tree and switch to the new table; a damaged tree is leaked.  Without space nothing changes. */
static int delete_listed(struct img *image, const struct qcow2_snapshot *gone, const struct qcow2_range *table,
                         struct img_error *err)
{
    struct qcow2_range l1_range = { gone->l1_offset, (uint64_t)gone->l1_size * 8 };
    uint32_t left = (uint32_t)qcow2_state(image)->snapshots.count;
    CLEANUP_FREE uint64_t *l1 = NULL;

    int status = qcow2_read_l1(image, gone->l1_offset, gone->l1_size, &l1);
    if (status == 0)
        status = is_empty(l1, gone->l1_size) ? switch_table(image, table, left)
                                             : drop_tree(image, l1, gone->l1_size, table);
    if (status == 0) {
        free_table(image, &l1_range);
        return 0;
    }
    if (!no_room(status))
        switch_table(image, table, left);
    return img_error_errno(err, -status, "Failed to free the cluster and L1 table");
}

static struct qcow2_snapshot take_out(struct qcow2 *s, size_t index)
{
    struct qcow2_snapshot *at = &s->snapshots.at[index], taken = *at;

    s->snapshots.count--;
    memmove(at, at + 1, (s->snapshots.count - index) * sizeof *at);
    return taken;
}

static void put_back(struct qcow2 *s, size_t index, struct qcow2_snapshot *taken)
{
    struct qcow2_snapshot *at = &s->snapshots.at[index];

    memmove(at + 1, at, (s->snapshots.count - index) * sizeof *at);
    *at = *taken;
    s->snapshots.count++;
}

int qcow2_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_snapshot *found = qcow2_find_snapshot(s, id, name), gone;
    struct qcow2_range old = table_range(s), table = { 0, 0 };

    if (s->broken)
        return img_error_errno(err, ENOMEDIUM, "Failed to remove snapshot from snapshot list");
    if (s->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
        return img_error_errno(err, ENOTSUP, "Failed to remove snapshot from snapshot list");
    if (!found)
        return img_error_set(err, ENOENT, "Can't find the snapshot");
    int status = qcow2_check_snapshot_l1(s, found, err);
    if (status < 0)
        return status;
    size_t index = (size_t)(found - s->snapshots.at);
    gone = take_out(s, index);
    if ((status = qcow2_put_snapshot_table(image, NULL, &table)) < 0) {
        put_back(s, index, &gone);
        return img_error_errno(err, -status, "Failed to remove snapshot from snapshot list");
    }
    status = delete_listed(image, &gone, &table, err);
    if (no_room(status) && s->h.snapshots_offset != table.offset && !s->broken) {
        put_back(s, index, &gone);
        free_table(image, &table);
        return status;
    }
    qcow2_free_snapshot(&gone);
    if (s->h.snapshots_offset == table.offset)
        free_table(image, &old);
    return status;
}
