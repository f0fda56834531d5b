/* SPDX-License-Identifier: MIT */
/*
 * Guest range to extent.  Specification: "Tables", "Data cluster", "Read" under "Operations".
 *
 * An answer runs over as many entries as continue it, also into the next L2 tables, but looks at a bounded number.
 */
#include "qed.h"

#include <string.h>

enum { MAX_LOOKED_AT = 65536, RUN_ENDS = 1 };

struct walk {
    struct img *image;
    struct img_extent *extent;
    unsigned looked_at;
};

static enum img_extent_kind kind_of(uint64_t entry)
{
    return entry == QED_UNALLOCATED ? IMG_HOLE : entry == QED_ZERO ? IMG_ZERO : IMG_DATA;
}

/* One more cluster, from guest offset `at`: does the extent go on with it? */
static int look_at(struct walk *walk, uint64_t entry, uint64_t at)
{
    const struct qed *s = qed_state(walk->image);
    struct img_extent *extent = walk->extent;
    enum img_extent_kind kind = kind_of(entry);
    uint64_t host = entry + (at & (s->h.cluster_size - 1));

    if (extent->length)
        return kind == extent->kind && (kind != IMG_DATA || host == extent->host + extent->length) ? 0 : RUN_ENDS;
    if (kind == IMG_DATA && !qed_valid_cluster(s, entry))
        return -EINVAL;
    extent->kind = kind;
    if (kind == IMG_DATA) {
        extent->host_valid = true;
        extent->file = walk->image->file;
        extent->host = host;
    }
    return 0;
}

static int walk_table(struct walk *walk, uint64_t table, uint64_t at, uint64_t limit)
{
    const struct qed *s = qed_state(walk->image);

    while (at < limit) {
        uint64_t entry = 0, next = img_min(limit, img_align_down(at, s->h.cluster_size) + s->h.cluster_size);
        int status = qed_get_entry(walk->image, table, at % s->span / s->h.cluster_size, &entry);
        if (status == 0)
            status = look_at(walk, entry, at);
        /* The run ends before a cluster outside the file, which is a fault only for whoever begins with it. */
        if (status == 0 && entry > QED_ZERO && !qed_valid_cluster(s, entry))
            status = RUN_ENDS;
        if (status != 0)
            return status;
        walk->extent->length += next - at;
        at = next;
        if (++walk->looked_at >= MAX_LOOKED_AT)
            return RUN_ENDS;
    }
    return 0;
}

/* Where no L2 table is. */
static int walk_nothing(struct walk *walk, uint64_t at, uint64_t limit)
{
    if (walk->extent->length && walk->extent->kind != IMG_HOLE)
        return RUN_ENDS;
    walk->extent->kind = IMG_HOLE;
    walk->extent->length += limit - at;
    return ++walk->looked_at >= MAX_LOOKED_AT ? RUN_ENDS : 0;
}

int qed_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qed *s = qed_state(image);
    struct walk walk = { .image = image, .extent = extent };
    uint64_t end = offset + length;
    int status = 0;

    memset(extent, 0, sizeof *extent);
    extent->offset = offset;
    for (uint64_t at = offset; at < end && status == 0; at = offset + extent->length) {
        uint64_t table, limit = img_min(end, (at / s->span + 1) * s->span);
        status = qed_find_table(image, at, &table);
        if (status < 0 && extent->length)
            break;              /* for whoever begins there */
        if (status == 0)
            status = table ? walk_table(&walk, table, at, limit) : walk_nothing(&walk, at, limit);
    }
    return status < 0 ? status : 0;
}
