/* SPDX-License-Identifier: MIT */
/*
 * The header of a qed image.
 * Specification: "Header", with the feature bits and the backing file's name.
 */
#include "qed.h"

#include <string.h>

bool qed_valid_cluster(const struct qed *s, uint64_t offset)
{
    return img_aligned(offset, s->h.cluster_size) &&
           offset >= (uint64_t)s->h.header_size * s->h.cluster_size && offset < s->end;
}

/* qemu-img takes a table of one cluster for one that wraps around, so none is ever opened. */
bool qed_valid_table(const struct qed *s, uint64_t offset)
{
    uint64_t last;

    return s->h.table_size > 1 && img_add(offset, s->table_bytes - s->h.cluster_size, &last) &&
           qed_valid_cluster(s, offset) && qed_valid_cluster(s, last);
}

static void decode_header(const uint8_t *bytes, struct qed_header *h)
{
    h->cluster_size = img_get_le32(bytes + 4);
    h->table_size = img_get_le32(bytes + 8);
    h->header_size = img_get_le32(bytes + 12);
    h->features = img_get_le64(bytes + 16);
    h->compat_features = img_get_le64(bytes + 24);
    h->autoclear_features = img_get_le64(bytes + 32);
    h->l1_offset = img_get_le64(bytes + 40);
    h->size = img_get_le64(bytes + 48);
    h->backing_offset = img_get_le32(bytes + 56);
    h->backing_length = img_get_le32(bytes + 60);
}

void qed_encode_header(const struct qed_header *h, uint8_t bytes[QED_HEADER_BYTES])
{
    img_put_le32(bytes, QED_MAGIC);
    img_put_le32(bytes + 4, h->cluster_size);
    img_put_le32(bytes + 8, h->table_size);
    img_put_le32(bytes + 12, h->header_size);
    img_put_le64(bytes + 16, h->features);
    img_put_le64(bytes + 24, h->compat_features);
    img_put_le64(bytes + 32, h->autoclear_features);
    img_put_le64(bytes + 40, h->l1_offset);
    img_put_le64(bytes + 48, h->size);
    img_put_le32(bytes + 56, h->backing_offset);
    img_put_le32(bytes + 60, h->backing_length);
}

int qed_write_header(struct img *image)
{
    uint8_t bytes[QED_HEADER_BYTES];

    qed_encode_header(&qed_state(image)->h, bytes);
    return img_pwrite(image->file, bytes, 0, sizeof bytes);
}

uint64_t qed_max_size(uint32_t cluster_size, uint32_t table_size)
{
    uint64_t entries = (uint64_t)cluster_size * table_size / QED_ENTRY;

    return entries * entries * cluster_size;
}

static bool in_range(uint32_t value, uint32_t low, uint32_t high)
{
    return img_power_of_two(value) && value >= low && value <= high;
}

static void derive(struct img *image)
{
    struct qed *s = qed_state(image);

    s->table_bytes = (uint64_t)s->h.table_size * s->h.cluster_size;
    s->entries = s->table_bytes / QED_ENTRY;
    s->span = s->entries * s->h.cluster_size;
    /* The file length as qemu-img computes it: whole sectors, then whole clusters. */
    s->end = img_align_down(img_align_up(img_size(image->file), QED_SECTOR), s->h.cluster_size);
}

static int check_header(struct img *image, struct img_error *err)
{
    struct qed *s = qed_state(image);
    const struct qed_header *h = &s->h;

    if (h->features & ~(uint64_t)QED_FEATURES)
        return img_error_set(err, ENOTSUP, "Unsupported QED features: %llx",
                             (unsigned long long)(h->features & ~(uint64_t)QED_FEATURES));
    if (!in_range(h->cluster_size, QED_MIN_CLUSTER, QED_MAX_CLUSTER))
        return img_error_set(err, EINVAL, "QED cluster size is invalid");
    derive(image);
    if (!in_range(h->table_size, QED_MIN_TABLE, QED_MAX_TABLE))
        return img_error_set(err, EINVAL, "QED table size is invalid");
    if (!img_aligned(h->size, QED_SECTOR) || h->size > qed_max_size(h->cluster_size, h->table_size) ||
        h->size > INT64_MAX)
        return img_error_set(err, EINVAL, "QED image size is invalid");
    if (!qed_valid_table(s, h->l1_offset))
        return img_error_set(err, EINVAL, "QED table offset is invalid");
    if (h->size > QED_MAX_LENGTH)
        return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    return 0;
}

static int read_backing(struct img *image, struct img_error *err)
{
    const struct qed_header *h = &qed_state(image)->h;
    uint64_t room = (uint64_t)h->header_size * h->cluster_size;
    size_t length = h->backing_length;
    char name[QED_MAX_BACKING_NAME + 1];

    if (!(h->features & QED_BACKING_FILE))
        return 0;
    if (!img_within(h->backing_offset, h->backing_length, img_min(room, UINT32_MAX)))
        return img_error_set(err, EINVAL, "QED backing filename offset is invalid");
    if (length > QED_MAX_BACKING_NAME || img_pread(image->file, name, h->backing_offset, length) < 0)
        return img_error_set(err, EINVAL, "Failed to read backing filename");
    name[length] = '\0';
    if (!name[0])
        return 0;
    if (img_replace_text(&image->backing_name, name) < 0 ||
        img_replace_text(&image->backing_format, h->features & QED_BACKING_NO_PROBE ? "raw" : NULL) < 0)
        return img_error_memory(err);
    return 0;
}

int qed_read_header(struct img *image, struct img_error *err)
{
    uint8_t bytes[QED_HEADER_BYTES];

    int status = img_pread(image->file, bytes, 0, sizeof bytes);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to read QED header");
    if (img_get_le32(bytes) != QED_MAGIC)
        return img_error_set(err, EINVAL, "Image not in QED format");
    decode_header(bytes, &qed_state(image)->h);
    status = check_header(image, err);
    return status < 0 ? status : read_backing(image, err);
}
