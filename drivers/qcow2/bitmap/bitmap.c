/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps stored in the image: the directory and its validation.
 * Specification: "Bitmaps extension", "Bitmap directory", "Bitmap table".
 */
#include "../qcow2.h"

enum { MIN_GRANULARITY_BITS = 9, MAX_GRANULARITY_BITS = 31, MAX_TABLE = 0x8000000 };

void qcow2_free_bitmap(struct qcow2 *s, struct qcow2_bitmap *bitmap)
{
    qcow2_bits_free(s, bitmap);
    free(bitmap->name);
}

void qcow2_free_bitmaps(struct qcow2 *s)
{
    for (size_t i = 0; i < s->bitmaps.count; i++)
        qcow2_free_bitmap(s, &s->bitmaps.at[i]);
    free(s->bitmaps.at);
    free(s->bitmap_trash.at);
    memset(&s->bitmaps, 0, sizeof s->bitmaps);
    memset(&s->bitmap_trash, 0, sizeof s->bitmap_trash);
}

static bool sound(const struct qcow2 *s, const struct qcow2_bitmap *bitmap, size_t name_length)
{
    if (bitmap->table_size == 0 || bitmap->table_size > MAX_TABLE ||
        (uint64_t)bitmap->table_size * s->cluster_size > QCOW2_MAX_BITMAP_BYTES ||
        bitmap->table_offset == 0 || !img_aligned(bitmap->table_offset, s->cluster_size))
        return false;
    if (name_length == 0 || name_length > IMG_BITMAP_MAX_NAME || bitmap->type != QCOW2_BITMAP_DIRTY_TRACKING)
        return false;
    if (bitmap->granularity_bits < MIN_GRANULARITY_BITS || bitmap->granularity_bits > MAX_GRANULARITY_BITS)
        return false;
    return !(bitmap->flags & ~(uint32_t)(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO));
}

uint64_t qcow2_bitmap_clusters(const struct qcow2 *s, unsigned granularity_bits)
{
    uint64_t bits = img_div_up(s->h.size, 1ull << granularity_bits);

    return img_div_up(img_div_up(bits, 8), s->cluster_size);
}

static int parse_entry(const struct qcow2 *s, const uint8_t *raw, size_t left, struct qcow2_bitmap *bitmap,
                       size_t *used, struct img_error *err)
{
    if (left < QCOW2_BITMAP_ENTRY)
        return img_error_set(err, EINVAL, "Broken bitmap directory");
    size_t name_length = img_get_be16(raw + 18);
    uint32_t extra = img_get_be32(raw + 20);
    *used = (uint32_t)img_align_up(QCOW2_BITMAP_ENTRY + name_length + extra, 8);    /* qemu-img's width */
    if (*used > left && *used <= INT32_MAX)
        return img_error_set(err, EINVAL, "Broken bitmap directory");
    if (extra != 0)
        return img_error_set(err, ENOTSUP, "Bitmap extra data is not supported");

    bitmap->table_offset = img_get_be64(raw);
    bitmap->table_size = img_get_be32(raw + 8);
    bitmap->flags = img_get_be32(raw + 12);
    bitmap->type = raw[16];
    bitmap->granularity_bits = raw[17];
    bitmap->name = img_strndup((const char *)raw + QCOW2_BITMAP_ENTRY, name_length);
    if (!bitmap->name)
        return img_error_memory(err);
    if (!sound(s, bitmap, name_length))
        return img_error_set(err, EINVAL, "Bitmap '%s' doesn't satisfy the constraints", bitmap->name);
    return 0;
}

bool qcow2_bitmap_entry_sound(const struct qcow2 *s, uint64_t entry)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    return img_aligned(offset, s->cluster_size) && !(entry & ~QCOW2_OFFSET_MASK & (offset ? UINT64_MAX : ~1ull));
}

int qcow2_read_bitmap_table(struct img *image, const struct qcow2_bitmap *bitmap, uint64_t **table)
{
    int status = qcow2_read_l1(image, bitmap->table_offset, bitmap->table_size, table);

    if (status < 0)
        return status;
    for (uint32_t i = 0; i < bitmap->table_size && status == 0; i++)
        status = qcow2_bitmap_entry_sound(qcow2_state(image), (*table)[i]) ? 0 : -EINVAL;
    if (status < 0)
        free(*table);
    return status;
}

/* A bitmap that is not "in use" must be intact. */
static int check_table(struct img *image, const struct qcow2_bitmap *bitmap, struct img_error *err)
{
    uint64_t *table;

    if (bitmap->flags & QCOW2_BITMAP_IN_USE)
        return 0;
    int status = qcow2_read_bitmap_table(image, bitmap, &table);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read bitmap_table table from image for bitmap '%s'",
                               bitmap->name);
    free(table);
    if (bitmap->table_size != qcow2_bitmap_clusters(qcow2_state(image), bitmap->granularity_bits))
        return img_error_errno(err, EINVAL, "Could not read bitmap '%s' from image", bitmap->name);
    return 0;
}

static int parse_directory(struct qcow2 *s, const uint8_t *directory, struct img_error *err)
{
    size_t left = s->bitmap_directory_size, used = 0;

    for (const uint8_t *at = directory; left > 0; at += used, left -= used) {
        struct qcow2_bitmap bitmap = {0};
        if (left >= QCOW2_BITMAP_ENTRY && s->bitmaps.count == s->bitmap_count)
            return img_error_set(err, EINVAL, "More bitmaps found than specified in header extension");
        int status = parse_entry(s, at, left, &bitmap, &used, err);
        bitmap.entry = s->bitmap_directory_offset + (uint64_t)(at - directory);
        if (status == 0 && !IMG_VECTOR_PUSH(&s->bitmaps, bitmap))
            status = img_error_memory(err);
        if (status < 0) {
            free(bitmap.name);
            return status;
        }
    }
    if (s->bitmaps.count != s->bitmap_count)
        return img_error_set(err, EINVAL, "Less bitmaps found than specified in header extension");
    return 0;
}

int qcow2_read_bitmaps(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);

    qcow2_free_bitmaps(s);
    if (s->bitmap_count == 0)
        return 0;
    if (s->bitmap_directory_size == 0)
        return img_error_set(err, EINVAL, "Requested bitmap directory size is zero");
    CLEANUP_FREE uint8_t *directory = malloc(s->bitmap_directory_size + 1);
    if (!directory)
        return img_error_set(err, ENOMEM, "Failed to read bitmap directory");
    int status = qcow2_read(image, directory, s->bitmap_directory_offset, s->bitmap_directory_size);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to read bitmap directory");
    status = parse_directory(s, directory, err);
    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++)
        status = check_table(image, &s->bitmaps.at[i], err);
    return status;
}
