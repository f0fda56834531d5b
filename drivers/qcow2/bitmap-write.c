/* SPDX-License-Identifier: MIT */
/*
 * Stored bitmaps that follow what is written.
 * Specification: "Bitmap directory" (flags in_use, auto), "Bitmap table", "Bitmap data".
 *
 * Before the first change of the guest disk the bits of every bitmap that tracks (flag auto)
 * are loaded, and the bitmap is marked "in use" on disk.  They go back when the image is closed; the
 * mark goes last.  Whoever dies in between leaves a bitmap that says of itself that it cannot be trusted.
 */
#include "qcow2.h"

enum { ENTRY_FLAGS = 12, ALL_ONES = 1 };

static uint64_t bytes_of(const struct qcow2 *s, const struct qcow2_bitmap *bitmap)
{
    return qcow2_bitmap_clusters(s, bitmap->granularity_bits) << s->h.cluster_bits;
}

static int load(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint64_t *table = NULL;

    int status = qcow2_read_l1(image, bitmap->table_offset, bitmap->table_size, &table);
    if (status < 0)
        return status;
    uint8_t *bits = calloc(1, bytes_of(s, bitmap) + 1);
    if (!bits)
        return -ENOMEM;
    for (uint32_t i = 0; status == 0 && i < bitmap->table_size; i++) {
        uint8_t *part = bits + ((uint64_t)i << s->h.cluster_bits);
        if (table[i] & QCOW2_OFFSET_MASK)
            status = qcow2_read(image, part, table[i] & QCOW2_OFFSET_MASK, s->cluster_size);
        else if (table[i] & ALL_ONES)
            memset(part, 0xff, s->cluster_size);
    }
    if (status < 0) {
        free(bits);
        return status;
    }
    bitmap->bits = bits;
    return 0;
}

/* Write the flags of all loaded bitmaps into the directory, with or without the mark. */
static int write_flags(struct img *image, bool in_use)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t at = s->bitmap_directory_offset;

    int status = qcow2_check_overlap(image, QCOW2_AT_BITMAP_DIRECTORY, at, s->bitmap_directory_size);
    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        uint8_t raw[16];

        if (bitmap->bits) {
            bitmap->flags = in_use ? bitmap->flags | QCOW2_BITMAP_IN_USE
                                   : bitmap->flags & ~(uint32_t)QCOW2_BITMAP_IN_USE;
            img_put_be64(raw, bitmap->table_offset);
            img_put_be32(raw + 8, bitmap->table_size);
            img_put_be32(raw + ENTRY_FLAGS, bitmap->flags);
            status = img_pwrite(image->file, raw, at, sizeof raw);
        }
        at += img_align_up(QCOW2_BITMAP_ENTRY + strlen(bitmap->name), 8);
    }
    return status < 0 ? status : qcow2_barrier(image);
}

/* Load what has to follow; `all`: also those that do not track, because their size changes. */
static int begin(struct img *image, bool all)
{
    struct qcow2 *s = qcow2_state(image);
    bool any = false;

    for (size_t i = 0; i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        if (bitmap->bits || bitmap->flags & QCOW2_BITMAP_IN_USE || !(all || bitmap->flags & QCOW2_BITMAP_AUTO))
            continue;
        int status = load(image, bitmap);
        if (status < 0)
            return status;
        any = true;
    }
    return any ? write_flags(image, true) : 0;
}

static void set_bits(struct qcow2_bitmap *bitmap, uint64_t first, uint64_t last)
{
    for (uint64_t bit = first; bit <= last; bit++) {
        if (bit % 8 == 0 && last - bit >= 7) {
            bitmap->bits[bit / 8] = 0xff;
            bit += 7;
        } else {
            bitmap->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
    }
}

int qcow2_bitmaps_track(struct img *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);

    if (s->bitmaps.count == 0 || length == 0)
        return 0;
    int status = begin(image, false);
    if (status < 0)
        return status;
    for (size_t i = 0; i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        if (bitmap->bits && bitmap->flags & QCOW2_BITMAP_AUTO)
            set_bits(bitmap, offset >> bitmap->granularity_bits,
                     (offset + length - 1) >> bitmap->granularity_bits);
    }
    return 0;
}

/* ---- Back to the image -------------------------------------------------------------- */

static bool all_are(const uint8_t *bytes, size_t length, uint8_t value)
{
    return bytes[0] == value && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* One cluster of bits, into the place that it has or a new one. */
static int store_part(struct img *image, const uint8_t *part, uint64_t *entry)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = *entry & QCOW2_OFFSET_MASK;
    int status;

    if (!offset) {
        if (all_are(part, s->cluster_size, 0) || all_are(part, s->cluster_size, 0xff)) {
            *entry = part[0] ? ALL_ONES : 0;
            return 0;
        }
        if ((status = qcow2_alloc_clusters(image, s->cluster_size, &offset)) < 0)
            return status;
    }
    *entry = offset;
    status = qcow2_check_overlap(image, 0, offset, s->cluster_size);
    return status < 0 ? status : img_pwrite(image->file, part, offset, s->cluster_size);
}

/* The table as it is to be, padded to whole clusters; entries behind the disk's new end give their clusters back. */
static int new_table(struct img *image, const struct qcow2_bitmap *bitmap, uint64_t entries, uint64_t **table)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t *old;

    *table = calloc(1, img_align_up(entries * 8, s->cluster_size) + 8);
    if (!*table)
        return -ENOMEM;
    int status = qcow2_read_l1(image, bitmap->table_offset, bitmap->table_size, &old);
    if (status < 0)
        return status;
    for (uint64_t i = 0; i < bitmap->table_size && status == 0; i++) {
        if (i < entries)
            (*table)[i] = old[i];
        else if (old[i] & QCOW2_OFFSET_MASK)
            status = qcow2_free_clusters(image, old[i] & QCOW2_OFFSET_MASK, s->cluster_size);
    }
    free(old);
    return status;
}

/* Write the table; in its place when it has not outgrown or undergone it. */
static int store_table(struct img *image, struct qcow2_bitmap *bitmap, uint64_t *table, uint64_t entries)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t bytes = img_align_up(entries * 8, s->cluster_size);
    uint64_t old_bytes = img_align_up(bitmap->table_size * 8ull, s->cluster_size), offset = bitmap->table_offset;
    int status = 0;

    if (bytes != old_bytes && (status = qcow2_alloc_clusters(image, bytes, &offset)) < 0)
        return status;
    for (uint64_t i = 0; i < entries; i++)
        table[i] = IMG_BE64(table[i]);
    status = qcow2_check_overlap(image, 0, offset, bytes);
    if (status == 0)
        status = img_pwrite(image->file, table, offset, bytes);
    if (status == 0 && offset != bitmap->table_offset)
        status = qcow2_free_clusters(image, bitmap->table_offset, old_bytes);
    bitmap->table_offset = offset;
    bitmap->table_size = (uint32_t)entries;
    return status;
}

static int store(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t entries = qcow2_bitmap_clusters(s, bitmap->granularity_bits);
    CLEANUP_FREE uint64_t *table = NULL;

    int status = new_table(image, bitmap, entries, &table);
    for (uint64_t i = 0; status == 0 && i < entries; i++)
        status = store_part(image, bitmap->bits + (i << s->h.cluster_bits), &table[i]);
    return status < 0 ? status : store_table(image, bitmap, table, entries);
}

int qcow2_bitmaps_store(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    bool any = false;
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++) {
        if (!s->bitmaps.at[i].bits)
            continue;
        any = true;
        status = store(image, &s->bitmaps.at[i]);
    }
    if (status < 0 || !any)
        return status;
    if ((status = qcow2_flush(image)) < 0 || (status = qcow2_barrier(image)) < 0)
        return status;
    return write_flags(image, false);
}

/* ---- Another size --------------------------------------------------------------------- */

int qcow2_bitmaps_before_resize(struct img *image)
{
    return begin(image, true);
}

int qcow2_bitmaps_after_resize(struct img *image, uint64_t old_size)
{
    struct qcow2 *s = qcow2_state(image);

    for (size_t i = 0; i < s->bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        if (!bitmap->bits)
            continue;
        uint64_t bytes = bytes_of(s, bitmap), kept = img_div_up(img_div_up(img_min(old_size, s->h.size),
                                                                           1ull << bitmap->granularity_bits), 8);
        uint8_t *bits = calloc(1, bytes + 1);
        if (!bits)
            return -ENOMEM;
        memcpy(bits, bitmap->bits, img_min(kept, bytes));
        free(bitmap->bits);
        bitmap->bits = bits;
    }
    return 0;
}
