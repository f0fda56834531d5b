/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges.
 * Specification: "Tables", "Data cluster", "Read" under "Operations".
 */
#include "qed.h"

#include "../../libimg/io/entries.h"

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *cluster)
{
    struct qed *s = qed_state(image);
    uint64_t entry;
    int status = qed_get_entry(image, table, guest % s->span / s->h.cluster_size, &entry);

    if (status < 0 || entry == QED_UNALLOCATED)
        return status;
    if (entry == QED_ZERO) {
        cluster->kind = IMG_ZERO;
        return 0;
    }
    cluster->kind = IMG_DATA;
    cluster->host_valid = true;
    cluster->file = image->file;
    cluster->host = entry + (guest & (s->h.cluster_size - 1));
    if (qed_valid_cluster(s, entry) || (qed_has_grown(image) && qed_valid_cluster(s, entry)))
        return 0;
    return qed_is_missing(image, entry, img_min(s->h.cluster_size, image->size - guest)) ? -IMG_ETRUNCATED : -EINVAL;
}

static uint64_t count_empty(struct img *image, uint64_t table, uint64_t guest)
{
    const struct qed *s = qed_state(image);
    uint64_t index = table ? guest % s->span / s->h.cluster_size : guest / s->span;
    uint64_t entries = s->table_bytes / QED_ENTRY;

    return img_pages_zeroes(table ? s->l2 : s->l1, table ? table : s->h.l1_offset, index * QED_ENTRY,
                            (entries - index) * QED_ENTRY) / QED_ENTRY;
}

int qed_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qed *s = qed_state(image);
    const struct img_entries entries = { .unit = s->h.cluster_size, .span = s->span, .find_table = qed_find_table,
                                         .look = look, .count_empty = count_empty };

    return img_map_entries(image, &entries, offset, length, extent);
}
