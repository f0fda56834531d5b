/* SPDX-License-Identifier: MIT */
/*
 * Stored bitmaps: counts their references, and repairs lost bits.
 * Specification: "Bitmaps extension", "Bitmap table".
 *
 * A bitmap records what has changed since some point in time.  If its bits are lost, all of them are set: a backup
 * then copies too much, but misses nothing.
 */
#include "check.h"

#include <inttypes.h>

enum { CHUNK = 512 };                   /* table entries read at a time */

static bool goes_outside(const struct qcow2_check *check, uint64_t offset, uint64_t length)
{
    return qcow2_check_exceeds(check, offset, length, check->file_size);
}

/* Nothing else may use the clusters of the table to be written. */
static bool is_alone(const struct qcow2_check *check, uint64_t offset)
{
    return qcow2_count_get(&check->counts, offset >> check->s->h.cluster_bits) == 1;
}

/* Count a corruption as fixed. */
static void count_as_fixed(struct qcow2_check *check)
{
    check->result->corruptions--;
    check->result->corruptions_fixed++;
}

static int mend_entry(struct qcow2_check *check, const struct qcow2_bitmap *bitmap, uint64_t index)
{
    uint64_t offset = bitmap->table_offset + index * 8;
    uint8_t raw[8];

    if (!(check->repair & IMG_REPAIR_ERRORS) || !is_alone(check, offset))
        return 0;
    img_put_be64(raw, QCOW2_BITS_ALL_ONES);
    int status = qcow2_write(check->image, 0, raw, offset, sizeof raw);
    if (status < 0) {
        check->result->check_errors++;
        return status;
    }
    img_notice(IMG_NOTE, "Repairing bitmap '%s' table entry %" PRIu64 ": its bits are lost, all of them are set",
               bitmap->name, index);
    count_as_fixed(check);
    return 0;
}

static int check_entry(struct qcow2_check *check, const struct qcow2_bitmap *bitmap, uint64_t index, uint64_t entry)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if (!qcow2_bitmap_entry_sound(check->s, entry)) {
        img_notice(IMG_NOTE, "ERROR bitmap '%s' table entry %" PRIu64 " is invalid: %" PRIx64,
                   bitmap->name, index, entry);
        check->result->corruptions++;
        return mend_entry(check, bitmap, index);
    }
    if (offset == 0)
        return 0;
    bool lost = goes_outside(check, offset, check->s->cluster_size);
    int status = qcow2_check_refer(check, offset, check->s->cluster_size);
    return status == 0 && lost ? mend_entry(check, bitmap, index) : status;
}

static int check_bitmap(struct qcow2_check *check, size_t number)
{
    const struct qcow2_bitmap *bitmap = &check->s->bitmaps.at[number];
    uint64_t bytes = (uint64_t)bitmap->table_size * 8, chunk[CHUNK];

    int status = qcow2_check_refer(check, bitmap->table_offset, bytes);
    if (status == 0 && goes_outside(check, bitmap->table_offset, bytes) && check->repair & IMG_REPAIR_ERRORS) {
        return IMG_VECTOR_PUSH(&check->lost_bitmaps, number) ? 0 : -ENOMEM;
    }
    uint64_t left = bitmap->table_offset < check->file_size ? check->file_size - bitmap->table_offset : 0;
    uint64_t entries = img_min(bitmap->table_size, left / 8);
    for (uint64_t i = 0; status == 0 && i < entries; i++) {
        if (i % CHUNK == 0) {
            size_t length = (size_t)img_min(entries - i, CHUNK) * 8;
            status = qcow2_read(check->image, chunk, bitmap->table_offset + i * 8, length);
            if (status < 0) {
                check->result->check_errors++;
                return status;
            }
        }
        status = check_entry(check, bitmap, i, IMG_BE64(chunk[i % CHUNK]));
    }
    return status;
}

int qcow2_check_bitmaps(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;

    if (!s->bitmap_count || !s->bitmaps_valid)
        return 0;
    int status = qcow2_check_refer(check, s->bitmap_directory_offset, s->bitmap_directory_size);
    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++)
        status = check_bitmap(check, i);
    return status;
}

/* ---- New tables ----------------------------------------------------------------------- */

static int put_new_table(struct qcow2_check *check, struct qcow2_bitmap *bitmap)
{
    struct img *image = check->image;
    uint64_t bytes = (uint64_t)bitmap->table_size * 8, offset;
    CLEANUP_FREE uint8_t *table = malloc(bytes + 1);
    uint8_t raw[8];
    int status;

    if (!table)
        return -ENOMEM;
    for (uint32_t i = 0; i < bitmap->table_size; i++)
        img_put_be64(table + (size_t)i * 8, QCOW2_BITS_ALL_ONES);
    if ((status = qcow2_alloc_clusters(image, bytes, &offset)) < 0 ||
        (status = qcow2_write(image, 0, table, offset, bytes)) < 0 ||
        (status = qcow2_check_write_blocks(check)) < 0)
        return status;
    img_put_be64(raw, offset);
    status = qcow2_write(image, QCOW2_AT_BITMAP_DIRECTORY, raw, bitmap->entry, sizeof raw);
    if (status < 0)
        return status;
    bitmap->table_offset = offset;
    return qcow2_barrier(image);
}

int qcow2_mend_bitmaps(struct qcow2_check *check)
{
    for (size_t i = 0; i < check->lost_bitmaps.count; i++) {
        struct qcow2_bitmap *bitmap = &check->s->bitmaps.at[check->lost_bitmaps.at[i]];
        /* Check that the directory is intact. */
        if (goes_outside(check, bitmap->entry, 8) || !is_alone(check, bitmap->entry))
            continue;
        int status = put_new_table(check, bitmap);
        if (status < 0) {
            check->result->check_errors++;
            return status;
        }
        img_notice(IMG_NOTE, "Repairing bitmap '%s': its table is lost, all its bits are set", bitmap->name);
        count_as_fixed(check);
    }
    return 0;
}
