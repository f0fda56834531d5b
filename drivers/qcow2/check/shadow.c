/* SPDX-License-Identifier: MIT */
/*
 * Changes many tables atomically: after a kill or a power failure, the changes of a snapshot operation to refcounts,
 * copied flags and the L1 table are visible either all or not at all.
 * Specification: "Header", "Host cluster management", "Cluster mapping".
 *
 * The refcount and the flag of a cluster lie in different tables, so no order of in-place writes is consistent in
 * between.  Therefore the current tables are first copied beyond the end of the file, with refcount blocks that also
 * count the copies, and one header write makes the copies active.  The originals are then leaked clusters that may
 * be written in any order.  A second header write makes them active again, and the copies are truncated.  The image
 * is sound at all times, at worst with leaked clusters.
 *
 * If the file cannot grow (a block device, a full disk), the image is marked dirty instead, as with lazy refcounts.
 *
 * Storage for the tables to be written is allocated first: holes in them are filled, so that a full disk is detected
 * before anything changes.
 */
#include "../qcow2.h"

enum { SINK_BYTES = 1 << 20, HEADER_SIZE_AT = 24, HEADER_BYTES = 48 };

struct pair {
    uint64_t original, copy;
};

struct qcow2_shadow {
    bool switched;                  /* the header on disk refers to the copies */
    bool marked_dirty;
    bool lazy;                      /* its old value, and those of the next fields */
    uint64_t size, snapshots_offset;
    uint32_t snapshot_count;
    uint64_t *l1;
    uint64_t file_end;
    IMG_VECTOR(struct pair) pairs;  /* the tables copied, of one cluster each */

    /* The layout, in clusters: L2 tables, L1 table, refcount blocks, refcount table. */
    uint64_t base, total, first_block, last_block;
    uint64_t l1_copy, refcount_table_copy, refcount_table_clusters;
};

/* Writes tables one after the other. */
struct sink {
    struct img *image;
    uint64_t at;
    size_t fill;
    uint8_t *buffer;
};

static int drain(struct sink *sink)
{
    int status = sink->fill ? img_pwrite(sink->image->file, sink->buffer, sink->at, sink->fill) : 0;

    sink->at += sink->fill;
    sink->fill = 0;
    return status;
}

/* Get the buffer for the next cluster; *place is its offset in the file. */
static int next_cluster(struct sink *sink, uint8_t **bytes, uint64_t *place)
{
    uint32_t size = qcow2_state(sink->image)->cluster_size;
    int status = sink->fill + size > img_max(SINK_BYTES, size) ? drain(sink) : 0;

    *bytes = sink->buffer + sink->fill;
    *place = sink->at + sink->fill;
    sink->fill += size;
    return status;
}

/* ---- The layout -------------------------------------------------------------------- */

/* Number of blocks; -EINVAL: the table is invalid. */
static int count_blocks(const struct img *image, uint64_t *count)
{
    const struct qcow2 *s = qcow2_state(image);

    *count = 0;
    for (uint32_t i = 0; i < s->refcount_table_size; i++) {
        if (!img_aligned(qcow2_refblock_at(s, i), s->cluster_size))
            return -EINVAL;
        *count += qcow2_refblock_at(s, i) != 0;
    }
    return *count > img_size(image->file) / s->cluster_size ? -EINVAL : 0;
}

static int plan(struct img *image, struct qcow2_shadow *shadow, size_t l2_tables)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t blocks, missing = 0, again, cluster_bits = s->h.cluster_bits;
    uint64_t l1_clusters = img_div_up((uint64_t)s->h.l1_size * 8, s->cluster_size);

    int status = qcow2_check_refblocks(image);
    if (status < 0 || (status = count_blocks(image, &blocks)) < 0)
        return status;
    if (l2_tables > shadow->file_end >> cluster_bits)
        return -EINVAL;             /* some tables are referred to more than once */
    shadow->base = img_align_up(shadow->file_end, s->cluster_size);
    shadow->first_block = shadow->base >> (cluster_bits + s->refblock_bits);
    shadow->refcount_table_clusters = s->h.refcount_table_clusters;
    do {
        again = missing;
        shadow->total = l2_tables + l1_clusters + blocks + missing + shadow->refcount_table_clusters;
        shadow->last_block = ((shadow->base >> cluster_bits) + shadow->total - 1) >> s->refblock_bits;
        missing = 0;
        for (uint64_t i = shadow->first_block; i <= shadow->last_block; i++)
            missing += qcow2_refblock_at(s, i) == 0;
        uint64_t needed = img_div_up((shadow->last_block + 1) * 8, s->cluster_size);
        if (needed > shadow->refcount_table_clusters) {
            shadow->refcount_table_clusters = needed;
            again = UINT64_MAX;
        }
    } while (missing != again);
    if (shadow->refcount_table_clusters << cluster_bits > QCOW2_MAX_REFCOUNT_TABLE_BYTES ||
        shadow->base + (shadow->total << cluster_bits) > QCOW2_OFFSET_MASK)
        return -EFBIG;
    return 0;
}

/* ---- The copies ---------------------------------------------------------------------- */

static int copy_table(struct sink *sink, struct qcow2_shadow *shadow, uint64_t original, uint8_t **bytes)
{
    struct qcow2 *s = qcow2_state(sink->image);
    struct pair pair = { .original = original };

    int status = next_cluster(sink, bytes, &pair.copy);
    if (status == 0)
        status = qcow2_read(sink->image, *bytes, original, s->cluster_size);
    if (status == 0 && !IMG_VECTOR_PUSH(&shadow->pairs, pair))
        status = -ENOMEM;
    return status;
}

/* Copy the L2 tables that will change, and the L1 table with the offsets of the copies. */
static int copy_mapping(struct sink *sink, struct qcow2_shadow *shadow, const uint32_t *indexes, size_t count)
{
    struct qcow2 *s = qcow2_state(sink->image);
    CLEANUP_FREE uint64_t *l1 = malloc((size_t)s->h.l1_size * 8 + 8);
    uint8_t *bytes;
    int status = 0;

    if (!l1)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->h.l1_size; i++)
        l1[i] = IMG_BE64(s->l1[i]);
    for (size_t i = 0; status == 0 && i < count; i++) {
        status = copy_table(sink, shadow, s->l1[indexes[i]] & QCOW2_OFFSET_MASK, &bytes);
        /* The copy is not shared, even if a snapshot shares the original. */
        if (status == 0)
            l1[indexes[i]] = IMG_BE64(shadow->pairs.at[shadow->pairs.count - 1].copy | QCOW2_COPIED);
    }
    shadow->l1_copy = sink->at + sink->fill;
    size_t length = (size_t)s->h.l1_size * 8;
    for (size_t at = 0, part; status == 0 && at < length; at += part) {
        uint64_t place;
        part = (size_t)img_min(length - at, s->cluster_size);
        if ((status = next_cluster(sink, &bytes, &place)) < 0)
            break;
        memset(bytes, 0, s->cluster_size);
        memcpy(bytes, (uint8_t *)l1 + at, part);
    }
    return status;
}

/* Count each cluster of the copies that this block counts. */
static void count_copies(const struct qcow2 *s, const struct qcow2_shadow *shadow, uint64_t index, uint8_t *block)
{
    uint64_t per_block = 1ull << s->refblock_bits, start = index << s->refblock_bits;
    uint64_t first = shadow->base >> s->h.cluster_bits, end = first + shadow->total;

    for (uint64_t cluster = img_max(first, start); cluster < img_min(end, start + per_block); cluster++)
        qcow2_refcount_put(s, block, cluster - start, 1);
}

static int copy_counts(struct sink *sink, struct qcow2_shadow *shadow)
{
    struct qcow2 *s = qcow2_state(sink->image);
    uint64_t entries = shadow->refcount_table_clusters << s->h.cluster_bits >> 3;
    CLEANUP_FREE uint64_t *table = calloc(entries, 8);
    uint64_t place;
    uint8_t *bytes;
    int status = 0;

    if (!table)
        return -ENOMEM;
    for (uint64_t i = 0; status == 0 && i < entries; i++) {
        uint64_t original = qcow2_refblock_at(s, i);
        bool counts = i >= shadow->first_block && i <= shadow->last_block;
        if (!original && !counts)
            continue;
        table[i] = IMG_BE64(sink->at + sink->fill);
        if (original) {
            status = copy_table(sink, shadow, original, &bytes);
        } else if ((status = next_cluster(sink, &bytes, &place)) == 0) {
            memset(bytes, 0, s->cluster_size);
        }
        if (status == 0 && counts)
            count_copies(s, shadow, i, bytes);
    }
    shadow->refcount_table_copy = sink->at + sink->fill;
    for (uint64_t i = 0; status == 0 && i < shadow->refcount_table_clusters; i++) {
        status = next_cluster(sink, &bytes, &place);
        if (status == 0)
            memcpy(bytes, (uint8_t *)table + (i << s->h.cluster_bits), s->cluster_size);
    }
    return status;
}

static int write_copies(struct img *image, struct qcow2_shadow *shadow, const uint32_t *indexes, size_t count)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *buffer = malloc((size_t)img_max(SINK_BYTES, s->cluster_size));
    struct sink sink = { .image = image, .at = shadow->base, .buffer = buffer };
    int status;

    if (!buffer)
        return -ENOMEM;
    if ((status = copy_mapping(&sink, shadow, indexes, count)) < 0 || (status = copy_counts(&sink, shadow)) < 0 ||
        (status = drain(&sink)) < 0)
        return status;
    return sink.at == shadow->base + (shadow->total << s->h.cluster_bits) ? 0 : -EIO;
}

/* ---- Storage for the originals ------------------------------------------------------------ */

static bool has_hole(struct img *image, uint64_t offset, uint64_t length)
{
    struct img_extent extent;

    if (offset >= img_size(image->file))
        return false;               /* damage */
    if (offset + length > img_size(image->file))
        return true;
    return img_map(image->file, offset, length, &extent) == 0 && (extent.kind != IMG_DATA || extent.length < length);
}

/* Rewrite the content, so that its storage is allocated and a later write cannot fail. */
static int fill_in(struct img *image, uint64_t offset, uint64_t length)
{
    CLEANUP_FREE uint8_t *bytes = NULL;

    if (!has_hole(image, offset, length))
        return 0;
    bytes = malloc(length + 1);
    int status = bytes ? qcow2_read(image, bytes, offset, (size_t)length) : -ENOMEM;
    return status < 0 ? status : img_pwrite(image->file, bytes, offset, (size_t)length);
}

static int fill_in_tables(struct img *image, const uint32_t *indexes, size_t count)
{
    struct qcow2 *s = qcow2_state(image);
    int status = s->h.l1_size ? fill_in(image, s->h.l1_offset, (uint64_t)s->h.l1_size * 8) : 0;

    for (size_t i = 0; status == 0 && i < count; i++)
        status = fill_in(image, s->l1[indexes[i]] & QCOW2_OFFSET_MASK, s->cluster_size);
    for (uint32_t i = 0; status == 0 && i < s->refcount_table_size; i++)
        if (qcow2_refblock_at(s, i))
            status = fill_in(image, qcow2_refblock_at(s, i), s->cluster_size);
    return status;
}

/* ---- The header ------------------------------------------------------------------------- */

/* Size, L1 table, refcount table and snapshots are adjacent in the first sector, so one write changes them together. */
static int write_pointers(struct img *image, const struct qcow2_shadow *copies)
{
    struct qcow2 *s = qcow2_state(image);
    uint8_t raw[HEADER_BYTES];

    img_put_be64(raw, s->h.size);
    img_put_be32(raw + 8, s->h.crypt_method);
    img_put_be32(raw + 12, s->h.l1_size);
    img_put_be64(raw + 16, copies ? copies->l1_copy : s->h.l1_offset);
    img_put_be64(raw + 24, copies ? copies->refcount_table_copy : s->h.refcount_table_offset);
    img_put_be32(raw + 32, copies ? (uint32_t)copies->refcount_table_clusters : s->h.refcount_table_clusters);
    img_put_be32(raw + 36, s->h.snapshot_count);
    img_put_be64(raw + 40, s->h.snapshots_offset);
    int status = qcow2_barrier(image);
    if (status == 0)
        status = img_pwrite(image->file, raw, HEADER_SIZE_AT, sizeof raw);
    return status < 0 ? status : qcow2_barrier(image);
}

/*
 * The copies are not (or no longer) part of the image.  The file size does not include the remains of a failed
 * write.
 */
static void cut_off(struct img *image, const struct qcow2_shadow *shadow)
{
    struct img_error err = IMG_ERROR_INIT;

    img_resize_file(image->file, shadow->file_end, NULL, &err);
    img_error_clear(&err);
}

static void release(struct img *image, struct qcow2_shadow *shadow)
{
    qcow2_state(image)->lazy = shadow->lazy;
    qcow2_state(image)->shadowed = false;
    free(shadow->l1);
    free(shadow->pairs.at);
    free(shadow);
}

int qcow2_shadow_begin(struct img *image, const uint32_t *indexes, size_t count, struct qcow2_shadow **made)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_shadow *shadow;

    *made = NULL;
    int status = qcow2_flush(image);
    if (status < 0 || (status = qcow2_mark_clean(image)) < 0)
        return status;
    qcow2_cache_clear(s->l2_cache);
    shadow = img_calloc(1, sizeof *shadow);
    if (!shadow)
        return -ENOMEM;
    *shadow = (struct qcow2_shadow){
        .lazy = s->lazy, .size = s->h.size, .snapshots_offset = s->h.snapshots_offset,
        .snapshot_count = s->h.snapshot_count, .file_end = img_size(image->file),
        .l1 = img_calloc((size_t)s->h.l1_size + 1, 8) };
    if (!shadow->l1) {
        free(shadow);
        return -ENOMEM;
    }
    if (s->h.l1_size)
        memcpy(shadow->l1, s->l1, (size_t)s->h.l1_size * 8);
    s->lazy = false;
    status = plan(image, shadow, count);
    if (s->broken) {
        release(image, shadow);
        return status;
    }
    int room = status == -EINVAL ? 0 : fill_in_tables(image, indexes, count);
    if (room < 0) {
        release(image, shadow);
        return room;
    }
    if (status == 0 && (status = write_copies(image, shadow, indexes, count)) < 0)
        cut_off(image, shadow);
    if (status == 0) {
        if ((status = write_pointers(image, shadow)) < 0) {
            write_pointers(image, NULL);
            cut_off(image, shadow);
            release(image, shadow);
            return status;
        }
        shadow->switched = true;
    } else if (s->h.version >= 3) {
        /* (fails if the disk cannot be used at all) */
        if ((status = qcow2_mark_dirty(image)) < 0 || (status = qcow2_barrier(image)) < 0) {
            release(image, shadow);
            return status;
        }
        shadow->marked_dirty = true;
    }
    s->shadowed = true;
    qcow2_forget_derived(s);
    *made = shadow;
    return 0;
}

/* ---- Commit and rollback --------------------------------------------------------------------- */

int qcow2_shadow_commit(struct img *image, struct qcow2_shadow *shadow)
{
    struct qcow2 *s = qcow2_state(image);

    s->l1_dirty_from = 0;
    s->l1_dirty_to = s->h.l1_size;
    int status = qcow2_flush(image);
    if (status == 0) {
        s->shadowed = false;
        status = write_pointers(image, NULL);
    }
    if (status < 0) {
        qcow2_shadow_rollback(image, shadow);
        return status;
    }
    if (shadow->switched)
        cut_off(image, shadow);
    if (shadow->marked_dirty)
        status = qcow2_set_incompatible(image, QCOW2_INCOMPAT_DIRTY, false);
    release(image, shadow);
    qcow2_forget_derived(s);
    return status;
}

static int restore(struct img *image, const struct qcow2_shadow *shadow)
{
    struct qcow2 *s = qcow2_state(image);
    CLEANUP_FREE uint8_t *bytes = malloc(s->cluster_size + (size_t)s->h.l1_size * 8);
    uint64_t first = shadow->base >> s->h.cluster_bits;
    int status = bytes ? 0 : -ENOMEM;

    for (size_t i = 0; status == 0 && i < shadow->pairs.count; i++) {
        const struct pair *pair = &shadow->pairs.at[i];
        status = qcow2_read(image, bytes, pair->copy, s->cluster_size);
        /* The blocks at the end also count the copies. */
        for (uint64_t index = shadow->first_block; index <= shadow->last_block; index++) {
            if (qcow2_refblock_at(s, index) != pair->original)
                continue;
            uint64_t start = index << s->refblock_bits, end = start + (1ull << s->refblock_bits);
            for (uint64_t n = img_max(first, start); n < img_min(first + shadow->total, end); n++)
                qcow2_refcount_put(s, bytes, n - start, 0);
        }
        if (status == 0)
            status = img_pwrite(image->file, bytes, pair->original, s->cluster_size);
    }
    if (status < 0 || !s->h.l1_size)
        return status;
    for (uint32_t i = 0; i < s->h.l1_size; i++)
        img_put_be64(bytes + (size_t)i * 8, shadow->l1[i]);
    return img_pwrite(image->file, bytes, s->h.l1_offset, (size_t)s->h.l1_size * 8);
}

void qcow2_shadow_rollback(struct img *image, struct qcow2_shadow *shadow)
{
    struct qcow2 *s = qcow2_state(image);

    s->h.size = shadow->size;
    s->h.snapshot_count = shadow->snapshot_count;
    s->h.snapshots_offset = shadow->snapshots_offset;
    s->shadowed = false;
    if (shadow->switched) {
        qcow2_cache_clear(s->refblock_cache);
        qcow2_cache_clear(s->l2_cache);
        s->l1_dirty_from = s->l1_dirty_to = 0;
        memcpy(s->l1, shadow->l1, (size_t)s->h.l1_size * 8);
        /* If this fails too, the copies stay active. */
        if (restore(image, shadow) == 0 && write_pointers(image, NULL) == 0)
            cut_off(image, shadow);
        else
            s->broken = true;
    } else {
        qcow2_flush(image);
        /* Without copies refcounts may be wrong now: the dirty bit stays set, and the next writer repairs them. */
        s->broken |= shadow->marked_dirty;
    }
    s->free_cluster_index = 0;
    release(image, shadow);
    qcow2_forget_derived(s);
}
