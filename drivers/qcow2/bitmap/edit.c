/* SPDX-License-Identifier: MIT */
/*
 * Changes of stored bitmaps by users: add, remove, clear, enable, disable, read and set bits.  All changes are made
 * in memory; qcow2_bitmaps_store() writes them.
 */
#include "../qcow2.h"

static struct qcow2_bitmap *bitmap_at(struct img *image, size_t index)
{
    return &qcow2_state(image)->bitmaps.at[index];
}

static size_t count(struct img *image)
{
    return qcow2_state(image)->bitmaps.count;
}

static void describe(struct img *image, size_t index, struct img_bitmap *bitmap)
{
    const struct qcow2_bitmap *of = bitmap_at(image, index);

    bitmap->name = of->name;
    bitmap->granularity = 1ull << of->granularity_bits;
    bitmap->enabled = of->flags & QCOW2_BITMAP_AUTO;
    bitmap->inconsistent = of->flags & QCOW2_BITMAP_IN_USE;
}

static int check_room(const struct qcow2 *s, const char *name, unsigned granularity_bits, struct img_error *err)
{
    uint64_t directory = qcow2_bitmap_entry_bytes(name);

    if (s->h.version < 3)
        return img_error_set(err, ENOTSUP, "Cannot store dirty bitmaps in qcow2 v2 files");
    if (strlen(name) > IMG_BITMAP_MAX_NAME)
        return img_error_set(err, EINVAL, "Name length exceeds maximum (%d characters)", IMG_BITMAP_MAX_NAME);
    if (s->h.size == 0)             /* a table without entries is not allowed */
        return img_error_set(err, EINVAL, "A disk of size 0 has no place for it");
    if (qcow2_bitmap_clusters(s, granularity_bits) > QCOW2_MAX_BITMAP_BYTES / s->cluster_size)
        return img_error_set(err, EINVAL, "Too much space will be occupied by the bitmap. Use larger granularity");
    if (s->bitmaps.count >= QCOW2_MAX_BITMAPS)
        return img_error_set(err, EINVAL, "Maximum number of persistent bitmaps is already reached");
    for (size_t i = 0; i < s->bitmaps.count; i++)
        directory += qcow2_bitmap_entry_bytes(s->bitmaps.at[i].name);
    if (directory > QCOW2_MAX_BITMAP_DIRECTORY)
        return img_error_set(err, EINVAL, "Not enough space in the bitmap directory");
    return 0;
}

/* New ones come after those of the directory, the latest first, as qemu-img writes them. */
static bool insert(struct qcow2 *s, struct qcow2_bitmap bitmap)
{
    size_t at = s->bitmaps.count;

    while (at > 0 && !s->bitmaps.at[at - 1].entry)
        at--;
    if (!IMG_VECTOR_PUSH(&s->bitmaps, bitmap))
        return false;
    memmove(&s->bitmaps.at[at + 1], &s->bitmaps.at[at], (s->bitmaps.count - 1 - at) * sizeof bitmap);
    s->bitmaps.at[at] = bitmap;
    return true;
}

static int add(struct img *image, const char *name, uint64_t granularity, bool enabled, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_bitmap bitmap = { .type = QCOW2_BITMAP_DIRTY_TRACKING, .flags = enabled ? QCOW2_BITMAP_AUTO : 0 };

    while (granularity >> bitmap.granularity_bits > 1)
        bitmap.granularity_bits++;
    int status = check_room(s, name, bitmap.granularity_bits, err);
    if (status < 0)
        return status;
    if ((status = qcow2_bits_load(image, &bitmap)) < 0)
        return img_error_errno(err, -status, "Could not make the bitmap");
    bitmap.name = img_strdup(name);
    if (!bitmap.name || !insert(s, bitmap)) {
        free(bitmap.name);
        qcow2_bits_free(s, &bitmap);
        return img_error_memory(err);
    }
    s->bitmaps_edited = true;
    return 0;
}

/* The clusters of the bitmap become free once the directory does not refer to it.  An unreadable bitmap leaks. */
static void give_up_clusters(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t table = bitmap->table_offset, bytes = img_align_up(bitmap->table_size * 8ull, s->cluster_size);

    if (qcow2_bits_load(image, bitmap) < 0)
        return;
    qcow2_bits_clear(image, bitmap);
    if (bytes)
        qcow2_bitmap_trash(image, table, bytes);
}

static int remove_bitmap(struct img *image, size_t index)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_bitmap *bitmap = bitmap_at(image, index);

    give_up_clusters(image, bitmap);
    qcow2_free_bitmap(s, bitmap);
    s->bitmaps.count--;
    memmove(bitmap, bitmap + 1, (s->bitmaps.count - index) * sizeof *bitmap);
    s->bitmaps_edited = true;
    return 0;
}

static int clear(struct img *image, size_t index)
{
    int status = qcow2_bitmap_begin(image, bitmap_at(image, index));

    if (status == 0)
        qcow2_bits_clear(image, bitmap_at(image, index));
    return status;
}

static int enable(struct img *image, size_t index, bool enabled)
{
    struct qcow2_bitmap *bitmap = bitmap_at(image, index);
    uint32_t flags = enabled ? bitmap->flags | QCOW2_BITMAP_AUTO : bitmap->flags & ~(uint32_t)QCOW2_BITMAP_AUTO;

    if (flags == bitmap->flags)
        return 0;
    bitmap->flags = flags;
    bitmap->flags_newer = true;
    return 0;
}

static int next(struct img *image, size_t index, uint64_t offset, uint64_t *start, uint64_t *length)
{
    return qcow2_bits_next(image, bitmap_at(image, index), offset, start, length);
}

static int mark(struct img *image, size_t index, uint64_t offset, uint64_t length)
{
    return qcow2_bits_set(image, bitmap_at(image, index), offset, length);
}

static int merge(struct img *image, size_t index, struct img *source, size_t source_index)
{
    return qcow2_bits_merge(image, bitmap_at(image, index), source, bitmap_at(source, source_index));
}

const struct img_bitmap_ops qcow2_bitmap_ops = {
    .count = count,
    .describe = describe,
    .add = add,
    .remove = remove_bitmap,
    .clear = clear,
    .enable = enable,
    .next = next,
    .mark = mark,
    .merge = merge,
};
