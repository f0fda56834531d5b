/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges, and decodes compressed clusters.
 * Specification: "2-Level Lookups", "Compression" (raw deflate streams; the entry has the length in bytes).
 */
#include "qcow.h"

#include "../../libimg/codec/codec.h"
#include "../../libimg/io/entries.h"

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *cluster)
{
    const struct qcow *s = qcow_state(image);
    unsigned shift = 63 - s->h.cluster_bits;
    uint64_t entry;
    int status = qcow_get_entry(image, table, guest % s->span >> s->h.cluster_bits, &entry);

    if (status < 0 || entry == 0)
        return status;
    if (entry & QCOW_COMPRESSED) {
        cluster->kind = IMG_CODED;
        cluster->host_valid = true;
        cluster->file = image->file;
        cluster->host = entry & ((1ull << shift) - 1);
        cluster->host_length = (entry & (QCOW_COMPRESSED - 1)) >> shift;
        return 0;
    }
    cluster->kind = IMG_DATA;
    cluster->host_valid = true;
    cluster->file = qcow_data_node(image);
    cluster->host = entry + (guest & (s->cluster_size - 1));
    return qcow_valid_cluster(s, entry) ? 0 : -EIO;
}

static uint64_t count_empty(struct img *image, uint64_t table, uint64_t guest)
{
    const struct qcow *s = qcow_state(image);
    uint64_t index = table ? guest % s->span / s->cluster_size : guest / s->span;
    uint64_t entries = table ? s->l2_bytes / QCOW_ENTRY : img_div_up(image->size, s->span);

    return img_pages_zeroes(table ? s->l2 : s->l1, table ? table : s->h.l1_offset, index * QCOW_ENTRY,
                            (entries - index) * QCOW_ENTRY) / QCOW_ENTRY;
}

int qcow_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qcow *s = qcow_state(image);
    const struct img_entries entries = { .unit = s->cluster_size, .span = s->span, .find_table = qcow_find_table,
                                         .look = look, .count_empty = count_empty };
    int status = img_map_entries(image, &entries, offset, length, extent);

    /* Encrypted bytes mean nothing to others, so no place is told. */
    if (s->cipher && extent->kind == IMG_DATA)
        extent->host_valid = false;
    return status;
}

int qcow_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length)
{
    (void)image;
    return img_decode(IMG_CODEC_DEFLATE, coded, coded_length, plain, length);
}

int64_t qcow_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity)
{
    (void)image;
    return img_encode(IMG_CODEC_DEFLATE, plain, length, coded, capacity);
}
