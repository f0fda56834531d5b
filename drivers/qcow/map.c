/* SPDX-License-Identifier: MIT */
/*
 * Guest range to extent, and compressed clusters.
 * Specification: "2-Level Lookups", "Compression" (raw deflate streams; the entry has the length in bytes).
 */
#include "qcow.h"

#include "../../libimg/codec.h"
#include <string.h>

enum { MAX_LOOKED_AT = 65536, RUN_ENDS = 1 };

struct walk {
    struct img *image;
    struct img_extent *extent;
    unsigned looked_at;
};

static enum img_extent_kind kind_of(uint64_t entry)
{
    return entry & QCOW_COMPRESSED ? IMG_CODED : entry ? IMG_DATA : IMG_HOLE;
}

/* The extent begins with this entry. */
static int start_extent(struct walk *walk, uint64_t entry, uint64_t at)
{
    const struct qcow *s = qcow_state(walk->image);
    struct img_extent *extent = walk->extent;
    unsigned shift = 63 - s->h.cluster_bits;

    extent->kind = kind_of(entry);
    if (extent->kind == IMG_HOLE)
        return 0;
    extent->host_valid = true;
    extent->file = walk->image->file;
    if (extent->kind == IMG_CODED) {
        extent->host = entry & ((1ull << shift) - 1);
        extent->host_length = (entry & (QCOW_COMPRESSED - 1)) >> shift;
        return 0;
    }
    extent->host = entry + (at & (s->cluster_size - 1));
    return qcow_valid_cluster(s, entry) ? 0 : -EIO;
}

/* Does the extent go on with this entry? */
static bool continues(const struct img_extent *extent, uint64_t entry)
{
    enum img_extent_kind kind = kind_of(entry);

    return kind == extent->kind && kind != IMG_CODED &&
           (kind == IMG_HOLE || entry == extent->host + extent->length);
}

static int walk_table(struct walk *walk, uint64_t table, uint64_t at, uint64_t limit)
{
    const struct qcow *s = qcow_state(walk->image);
    struct img_extent *extent = walk->extent;

    while (at < limit) {
        uint64_t entry = 0, next = img_min(limit, img_align_down(at, s->cluster_size) + s->cluster_size);
        int status = qcow_get_entry(walk->image, table, at % s->span >> s->h.cluster_bits, &entry);
        if (status == 0 && extent->length == 0)
            status = start_extent(walk, entry, at);
        else if (status == 0 && !continues(extent, entry))
            status = RUN_ENDS;
        if (status != 0)
            return status;
        extent->length += next - at;
        at = next;
        if (extent->kind == IMG_CODED || ++walk->looked_at >= MAX_LOOKED_AT)
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

int qcow_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qcow *s = qcow_state(image);
    struct walk walk = { .image = image, .extent = extent };
    uint64_t end = offset + length;
    int status = 0;

    memset(extent, 0, sizeof *extent);
    extent->offset = offset;
    for (uint64_t at = offset; at < end && status == 0; at = offset + extent->length) {
        uint64_t table, limit = img_min(end, (at / s->span + 1) * s->span);
        status = qcow_find_table(image, at, &table);
        if (status < 0 && extent->length)
            break;              /* for whoever begins there */
        if (status == 0)
            status = table ? walk_table(&walk, table, at, limit) : walk_nothing(&walk, at, limit);
    }
    return status < 0 ? status : 0;
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
