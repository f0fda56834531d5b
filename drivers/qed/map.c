/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges.
 * Specification: "Tables", "Data cluster", "Read" under "Operations".
 */
#include "qed.h"

#include "../../libimg/io/entries.h"

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *cluster)
{
    const struct qed *s = qed_state(image);
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
    return qed_valid_cluster(s, entry) ? 0 : -EINVAL;
}

int qed_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qed *s = qed_state(image);
    const struct img_entries entries = { .unit = s->h.cluster_size, .span = s->span, .find_table = qed_find_table,
                                         .look = look };

    return img_map_entries(image, &entries, offset, length, extent);
}
