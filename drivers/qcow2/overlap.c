/* SPDX-License-Identifier: MIT */
/*
 * The overlap check: a write that would hit metadata is refused, and the image marked corrupt.
 *
 * In a sound image no write can overlap metadata, since only clusters with a refcount of zero are allocated.  If
 * refcounts are wrong, this check protects the tables from guest writes.
 *
 * There can be many tables, so a filter runs first: a bitmap over the cluster number, folded to a bounded size, with
 * one bit for each L2 table and refcount block.  The L1 table and the refcount table are searched only if it has a
 * bit set.
 */
#include "qcow2.h"

enum { FILTER_MIN_BITS = 1 << 12, FILTER_MAX_BITS = 1 << 23, FILTER_MAX_PROBES = 1 << 13 };

enum { CONSTANT = QCOW2_AT_HEADER | QCOW2_AT_ACTIVE_L1 | QCOW2_AT_REFTABLE | QCOW2_AT_SNAPSHOT_TABLE |
                  QCOW2_AT_BITMAP_DIRECTORY,
       CACHED = CONSTANT | QCOW2_AT_ACTIVE_L2 | QCOW2_AT_REFBLOCK | QCOW2_AT_INACTIVE_L1,
       ALL = CACHED | QCOW2_AT_INACTIVE_L2 };

int qcow2_overlap_template(const char *name, unsigned *sections)
{
    static const struct { const char *name; unsigned sections; } templates[] = {
        { "none", 0 }, { "constant", CONSTANT }, { "cached", CACHED }, { "all", ALL } };

    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        if (strcmp(name, templates[i].name) == 0) {
            *sections = templates[i].sections;
            return 0;
        }
    }
    return -EINVAL;
}

/* ---- The filter ------------------------------------------------------------- */

static void set_filter(struct qcow2 *s, uint64_t offset)
{
    uint64_t bit = offset >> s->h.cluster_bits & s->metadata_filter_mask;

    s->metadata_filter[bit / 64] |= 1ull << (bit & 63);
}

static bool in_filter(const struct qcow2 *s, uint64_t cluster)
{
    uint64_t bit = cluster & s->metadata_filter_mask;

    return s->metadata_filter[bit / 64] >> (bit & 63) & 1;
}

static bool build_filter(struct qcow2 *s)
{
    uint64_t bits = FILTER_MIN_BITS, tables = (uint64_t)s->h.l1_size + s->refcount_table_size;

    while (bits < tables * 16 && bits < FILTER_MAX_BITS)
        bits *= 2;
    s->metadata_filter = img_calloc(bits / 64, sizeof *s->metadata_filter);
    if (!s->metadata_filter)
        return false;
    s->metadata_filter_mask = bits - 1;
    for (uint32_t i = 0; s->l1 && i < s->h.l1_size; i++)
        if (s->l1[i] & QCOW2_OFFSET_MASK)
            set_filter(s, s->l1[i] & QCOW2_OFFSET_MASK);
    for (uint32_t i = 0; i < s->refcount_table_size; i++)
        if (s->refcount_table[i])
            set_filter(s, s->refcount_table[i]);
    return true;
}

void qcow2_note_metadata(struct img *image, uint64_t offset)
{
    struct qcow2 *s = qcow2_state(image);

    if (s->metadata_filter)
        set_filter(s, offset);
}

/* May a table lie in the range?  A no is certain. */
static bool filter_hit(struct qcow2 *s, uint64_t offset, uint64_t length)
{
    uint64_t first = offset >> s->h.cluster_bits, last = (offset + length - 1) >> s->h.cluster_bits;

    if (last - first >= FILTER_MAX_PROBES)
        return true;
    /* Without memory for the filter each table is looked at. */
    if (!s->metadata_filter && !build_filter(s))
        return true;
    for (uint64_t cluster = first; cluster <= last; cluster++)
        if (in_filter(s, cluster))
            return true;
    return false;
}

/* ---- The sections -------------------------------------------------------------- */

struct target {
    uint64_t offset, end;
};

static bool hits(const struct target *at, uint64_t offset, uint64_t length)
{
    return length && offset < at->end && at->offset < offset + length;
}

static bool hits_table(const struct qcow2 *s, const struct target *at, const uint64_t *entries, uint32_t count,
                       uint64_t mask)
{
    for (uint32_t i = 0; i < count; i++)
        if (entries[i] & mask && hits(at, entries[i] & mask, s->cluster_size))
            return true;
    return false;
}

static bool hits_inactive_l1(const struct qcow2 *s, const struct target *at)
{
    for (size_t i = 0; i < s->snapshots.count; i++) {
        uint64_t bytes = (uint64_t)s->snapshots.at[i].l1_size * 8;
        /* A length beyond all bounds is damage, and would only obstruct a repair. */
        if (bytes <= QCOW2_MAX_L1_BYTES && hits(at, s->snapshots.at[i].l1_offset, bytes))
            return true;
    }
    return false;
}

static int hits_inactive_l2(struct img *image, const struct target *at, bool *hit)
{
    struct qcow2 *s = qcow2_state(image);

    for (size_t i = 0; i < s->snapshots.count && !*hit; i++) {
        uint64_t *l1;
        int status = qcow2_read_l1(image, s->snapshots.at[i].l1_offset, s->snapshots.at[i].l1_size, &l1);
        if (status < 0)
            return status;
        *hit = hits_table(s, at, l1, s->snapshots.at[i].l1_size, QCOW2_OFFSET_MASK);
        free(l1);
    }
    return 0;
}

/* Name of the metadata hit, or NULL. */
static const char *constant_hit(const struct qcow2 *s, unsigned sections, const struct target *at)
{
    if (sections & QCOW2_AT_HEADER && hits(at, 0, s->cluster_size))
        return "qcow2_header";
    if (sections & QCOW2_AT_ACTIVE_L1 && hits(at, s->h.l1_offset, (uint64_t)s->h.l1_size * 8))
        return "active L1 table";
    if (sections & QCOW2_AT_REFTABLE && hits(at, s->h.refcount_table_offset, (uint64_t)s->refcount_table_size * 8))
        return "refcount table";
    if (sections & QCOW2_AT_SNAPSHOT_TABLE &&
        hits(at, s->h.snapshots_offset, img_align_up(qcow2_snapshot_table_length(s), 8)))
        return "snapshot table";
    if (sections & QCOW2_AT_BITMAP_DIRECTORY && s->bitmaps_valid &&
        hits(at, s->bitmap_directory_offset, s->bitmap_directory_size))
        return "bitmap directory";
    if (sections & QCOW2_AT_INACTIVE_L1 && hits_inactive_l1(s, at))
        return "inactive L1 table";
    return NULL;
}

static const char *table_hit(struct qcow2 *s, unsigned sections, const struct target *at)
{
    if (!(sections & (QCOW2_AT_ACTIVE_L2 | QCOW2_AT_REFBLOCK)) || !filter_hit(s, at->offset, at->end - at->offset))
        return NULL;
    if (sections & QCOW2_AT_ACTIVE_L2 && s->l1 && hits_table(s, at, s->l1, s->h.l1_size, QCOW2_OFFSET_MASK))
        return "active L2 table";
    if (sections & QCOW2_AT_REFBLOCK && hits_table(s, at, s->refcount_table, s->refcount_table_size, ~511ull))
        return "refcount block";
    return NULL;
}

int qcow2_check_overlap(struct img *image, unsigned except, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);
    unsigned sections = s->overlap_sections & ~except;
    struct target at = { .offset = offset };

    if (sections == 0 || length == 0 || !img_add(offset, length, &at.end))
        return 0;
    const char *what = constant_hit(s, sections, &at);
    if (!what)
        what = table_hit(s, sections, &at);
    if (!what && sections & QCOW2_AT_INACTIVE_L2 && s->snapshots.count) {
        bool hit = false;
        int status = hits_inactive_l2(image, &at, &hit);
        if (status < 0)
            return status;
        what = hit ? "inactive L2 table" : NULL;
    }
    if (!what)
        return 0;
    return qcow2_signal_corrupt(image, true, "Preventing invalid write on metadata (overlaps with %s)", what);
}

int qcow2_write(struct img *image, unsigned except, const void *bytes, uint64_t offset, size_t length)
{
    int status = qcow2_check_overlap(image, except, offset, length);

    return status < 0 ? status : img_pwrite(image->file, bytes, offset, length);
}
