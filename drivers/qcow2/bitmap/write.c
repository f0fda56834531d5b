/* SPDX-License-Identifier: MIT */
/*
 * Stored bitmaps that track writes, and writing them back.
 * Specification: "Bitmaps extension", "Bitmap directory" (flags in_use, auto), "Bitmap table".
 *
 * Before its first change a bitmap is marked "in use" on disk.  The new bits are written on close: first bits and
 * tables, then the directory, and the mark last.  A process that dies in between leaves a bitmap marked as not to be
 * trusted.  A directory with other entries is written to a new place, then the header is switched to it.  Old
 * clusters are freed when nothing on disk refers to them.
 */
#include "../qcow2.h"

enum { ENTRY_FLAGS = 12 };

/* Write the flags of a bitmap into its entry in the directory on disk. */
static int write_flags(struct img *image, const struct qcow2_bitmap *bitmap)
{
    uint8_t raw[4];

    img_put_be32(raw, bitmap->flags | (bitmap->marked ? QCOW2_BITMAP_IN_USE : 0));
    return qcow2_write(image, QCOW2_AT_BITMAP_DIRECTORY, raw, bitmap->entry + ENTRY_FLAGS, sizeof raw);
}

/* Load it and mark it on disk, without a barrier. */
static int mark(struct img *image, struct qcow2_bitmap *bitmap)
{
    int status = qcow2_bits_load(image, bitmap);

    if (status < 0 || bitmap->marked || !bitmap->entry)
        return status;
    bitmap->marked = true;
    status = write_flags(image, bitmap);
    bitmap->marked = status == 0;
    return status;
}

static bool has_begun(const struct qcow2_bitmap *bitmap)
{
    return bitmap->bits && (bitmap->marked || !bitmap->entry);
}

int qcow2_bitmap_begin(struct img *image, struct qcow2_bitmap *bitmap)
{
    if (has_begun(bitmap))
        return 0;
    int status = mark(image, bitmap);
    return status < 0 ? status : qcow2_barrier(image);
}

static bool follows(const struct qcow2_bitmap *bitmap)
{
    return (bitmap->flags & (QCOW2_BITMAP_AUTO | QCOW2_BITMAP_IN_USE)) == QCOW2_BITMAP_AUTO;
}

/* Mark all bitmaps that track writes, or (`all`) all that are valid; with one barrier for all. */
static int begin(struct img *image, bool all)
{
    struct qcow2 *s = qcow2_state(image);
    bool any = false;

    for (size_t i = 0; i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        if (bitmap->flags & QCOW2_BITMAP_IN_USE || has_begun(bitmap) || !(all || follows(bitmap)))
            continue;
        int status = mark(image, bitmap);
        if (status < 0)
            return status;
        any = true;
    }
    return any ? qcow2_barrier(image) : 0;
}

int qcow2_bitmaps_track(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);

    if (s->bitmaps.count == 0 || length == 0 || s->bitmaps_paused)
        return 0;
    int status = begin(image, false);
    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++)
        if (follows(&s->bitmaps.at[i]))
            status = qcow2_bits_set(image, &s->bitmaps.at[i], offset, length);
    return status;
}

/* ---- Writing back -------------------------------------------------------------------- */

static uint64_t table_bytes(const struct qcow2 *s, uint64_t entries)
{
    return img_align_up(entries * 8, s->cluster_size);
}

void qcow2_bitmap_trash(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);

    /* Without memory they leak, which is harmless. */
    if (img_within(offset, length, img_align_up(img_size(image->file), s->cluster_size)) &&
        !IMG_VECTOR_PUSH(&s->bitmap_trash, (struct qcow2_range){ offset, length }))
        return;
}

bool qcow2_bitmap_alone(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t count = 1;

    for (uint64_t at = 0; at < length && count == 1; at += s->cluster_size)
        if (qcow2_refcount_get(image, (offset + at) >> s->h.cluster_bits, &count) < 0)
            return false;
    return count == 1;
}

/* Write the bits to clusters, and allocate the table unless it has one of the right length. */
static int place(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t entries, offset;

    int status = qcow2_bits_write(image, bitmap);
    if (status < 0)
        return status;
    qcow2_bits_table(bitmap, &entries);
    uint64_t bytes = table_bytes(s, entries), old = table_bytes(s, bitmap->table_size);
    if (bytes != old || !qcow2_bitmap_alone(image, bitmap->table_offset, bytes)) {
        if ((status = qcow2_alloc_clusters(image, bytes, &offset)) < 0)
            return status;
        if (old)
            qcow2_bitmap_trash(image, bitmap->table_offset, old);
        bitmap->table_offset = offset;
        s->bitmaps_edited = true;
    }
    if (bitmap->table_size != entries)
        s->bitmaps_edited = true;
    bitmap->table_size = (uint32_t)entries;
    return 0;
}

static int write_table(struct img *image, struct qcow2_bitmap *bitmap)
{
    uint64_t entries;
    const uint64_t *table = qcow2_bits_table(bitmap, &entries);
    CLEANUP_FREE uint64_t *raw = malloc(entries * 8 + 1);

    if (!raw)
        return -ENOMEM;
    for (uint64_t i = 0; i < entries; i++)
        raw[i] = IMG_BE64(table[i]);
    int status = qcow2_write(image, 0, raw, bitmap->table_offset, entries * 8);
    if (status == 0)
        qcow2_bits_written(bitmap);
    return status;
}

static int write_bits(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    bool any = false;
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++) {
        if (!qcow2_bits_changed(&s->bitmaps.at[i]))
            continue;
        any = true;
        status = place(image, &s->bitmaps.at[i]);
    }
    if (status < 0 || !any || (status = qcow2_sync(image)) < 0)
        return status;
    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++)
        if (qcow2_bits_changed(&s->bitmaps.at[i]))
            status = write_table(image, &s->bitmaps.at[i]);
    return status;
}

static uint8_t *build_directory(const struct qcow2 *s, uint64_t *length)
{
    uint64_t at = 0;

    for (size_t i = 0; i < s->bitmaps.count; i++)
        at += qcow2_bitmap_entry_bytes(s->bitmaps.at[i].name);
    *length = at;
    uint8_t *directory = calloc(1, at + 1), *raw = directory;
    for (size_t i = 0; raw && i < s->bitmaps.count; i++) {
        const struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        size_t name_length = strlen(bitmap->name);
        img_put_be64(raw, bitmap->table_offset);
        img_put_be32(raw + 8, bitmap->table_size);
        img_put_be32(raw + ENTRY_FLAGS, bitmap->flags);
        raw[16] = bitmap->type;
        raw[17] = bitmap->granularity_bits;
        img_put_be16(raw + 18, (uint16_t)name_length);
        memcpy(raw + QCOW2_BITMAP_ENTRY, bitmap->name, name_length);
        raw += qcow2_bitmap_entry_bytes(bitmap->name);
    }
    return directory;
}

/* Store the offset of the directory in the header, and validate it with the autoclear bit. */
static int switch_directory(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = s->bitmap_directory_offset, old_length = s->bitmap_count ? s->bitmap_directory_size : 0;
    uint32_t old_count = s->bitmap_count;
    uint64_t autoclear = s->h.autoclear;

    s->bitmap_count = (uint32_t)s->bitmaps.count;
    s->bitmap_directory_offset = offset;
    s->bitmap_directory_size = length;
    s->bitmaps_valid = s->bitmap_count > 0;
    s->h.autoclear = s->bitmap_count ? autoclear | QCOW2_AUTOCLEAR_BITMAPS
                                     : autoclear & ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
    int status = qcow2_write_header(image);
    if (status < 0) {
        s->bitmap_count = old_count;
        s->bitmap_directory_offset = old;
        s->bitmap_directory_size = old_length;
        s->bitmaps_valid = old_count > 0;
        s->h.autoclear = autoclear;
        return status;
    }
    if (old_length)
        qcow2_bitmap_trash(image, old, img_align_up(old_length, s->cluster_size));
    return qcow2_barrier(image);
}

static int write_directory(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t length, offset = 0;
    CLEANUP_FREE uint8_t *directory = build_directory(s, &length);
    int status = directory ? 0 : -ENOMEM;

    if (status == 0 && length) {
        if ((status = qcow2_alloc_clusters(image, length, &offset)) < 0 || (status = qcow2_sync(image)) < 0 ||
            (status = qcow2_write(image, 0, directory, offset, length)) < 0)
            return status;
        status = qcow2_barrier(image);
    }
    if (status < 0 || (status = switch_directory(image, offset, length)) < 0)
        return status;
    for (size_t i = 0; i < s->bitmaps.count; i++) {
        s->bitmaps.at[i].entry = offset;
        s->bitmaps.at[i].marked = s->bitmaps.at[i].flags_newer = false;
        offset += qcow2_bitmap_entry_bytes(s->bitmaps.at[i].name);
    }
    s->bitmaps_edited = false;
    return 0;
}

static int write_all_flags(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        if (!bitmap->marked && !bitmap->flags_newer)
            continue;
        bitmap->marked = bitmap->flags_newer = false;
        status = write_flags(image, bitmap);
    }
    return status < 0 ? status : qcow2_barrier(image);
}

static bool any_flags(const struct qcow2 *s)
{
    for (size_t i = 0; i < s->bitmaps.count; i++)
        if (s->bitmaps.at[i].marked || s->bitmaps.at[i].flags_newer)
            return true;
    return false;
}

/* Nothing on disk refers to these any more.  Like qemu-img, punch them out of the file. */
static int empty_trash(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);

    for (size_t i = 0; i < s->bitmap_trash.count; i++)
        qcow2_drop(image, s->bitmap_trash.at[i].offset, s->bitmap_trash.at[i].length, QCOW2_DISCARD_ALWAYS);
    s->bitmap_trash.count = 0;
    return qcow2_flush(image);
}

int qcow2_bitmaps_store(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = write_bits(image);

    /* The bits, and the data that they describe, must be on disk before they are declared valid. */
    if (status < 0 || !(s->bitmaps_edited || any_flags(s)) || (status = qcow2_sync(image)) < 0)
        return status;
    if ((status = s->bitmaps_edited ? write_directory(image) : write_all_flags(image)) < 0)
        return status;
    return empty_trash(image);
}

/* ---- Resizing ------------------------------------------------------------------------- */

int qcow2_bitmaps_before_resize(struct img *image, struct img_error *err)
{
    const struct qcow2 *s = qcow2_state(image);

    for (size_t i = 0; i < s->bitmaps.count; i++) {
        if (s->bitmaps.at[i].flags & QCOW2_BITMAP_IN_USE)
            return img_bitmap_unusable(s->bitmaps.at[i].name, err);
    }
    int status = begin(image, true);
    return status < 0 ? img_error_errno(err, -status, "Could not load persistent bitmaps") : 0;
}

int qcow2_bitmaps_after_resize(struct img *image, uint64_t old_size)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++)
        if (s->bitmaps.at[i].bits)
            status = qcow2_bits_resize(image, &s->bitmaps.at[i], old_size);
    return status;
}
