/* SPDX-License-Identifier: MIT */
/*
 * Changes the size of the disk.  The size in the header decides: growing writes it last, when the tables are large
 * enough, and shrinking first, before anything is removed from them.  So after a crash the disk has its old or its
 * new size.
 * Specification: "Header" (size), "Cluster mapping".
 */
#include "../qcow2.h"

enum { SECTOR = 512 };

uint64_t qcow2_l1_entries(const struct qcow2 *s, uint64_t size)
{
    return img_div_up(size, 1ull << (s->h.cluster_bits + s->l2_bits));
}

uint64_t qcow2_largest_disk(const struct qcow2 *s)
{
    return (uint64_t)(QCOW2_MAX_L1_BYTES / 8) << (s->h.cluster_bits + s->l2_bits);
}

static int write_size(struct img *image, uint64_t size, struct img_error *err)
{
    uint8_t raw[8];
    int status;

    img_put_be64(raw, size);
    if ((status = qcow2_barrier(image)) < 0 || (status = img_pwrite(image->file, raw, 24, sizeof raw)) < 0)
        return img_error_errno(err, -status, "Failed to update the image size");
    qcow2_state(image)->h.size = size;
    image->size = size;
    return 0;
}

/* ---- Beyond the end -------------------------------------------------------------- */

/* Unmap the clusters from `from` on. */
static int crop_clusters(struct img *image, uint64_t from, uint64_t to)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t span = 1ull << (s->h.cluster_bits + s->l2_bits);
    int status = 0;

    for (uint64_t next; from < to && status == 0; from = next) {
        struct qcow2_l2 l2;
        next = img_min(to, img_align_down(from, span) + span);
        if (!qcow2_has_l2(s, from))
            continue;
        if ((status = qcow2_l2_for_write(image, from, &l2)) < 0)
            break;
        for (uint32_t i = 0; from + ((uint64_t)i << s->h.cluster_bits) < next; i++) {
            uint64_t entry = qcow2_l2_entry(s, &l2, i);
            qcow2_l2_put(s, &l2, i, 0, 0);
            qcow2_drop_entry(image, entry, QCOW2_DISCARD_ALWAYS);
        }
        qcow2_cache_dirty(s->l2_cache, l2.offset);
        status = qcow2_settle(image);
    }
    return status;
}

/* Does the table that covers [from, to) map anything there? */
static int any_mapped(struct img *image, uint64_t from, uint64_t to, bool *any)
{
    struct qcow2 *s = qcow2_state(image);
    uint32_t first = (uint32_t)(from >> s->h.cluster_bits) & ((1u << s->l2_bits) - 1);
    size_t bytes = (size_t)((to - from + s->cluster_size - 1) >> s->h.cluster_bits) * s->l2_entry_size;
    uint8_t *table;

    int status = qcow2_cache_get(s->l2_cache, s->l1[from >> (s->h.cluster_bits + s->l2_bits)] & QCOW2_OFFSET_MASK,
                                 &table);
    *any = status == 0 && !img_is_zero(table + (size_t)first * s->l2_entry_size, bytes);
    return status;
}

/* Free clusters beyond the old end, left by an interrupted resize: the guest must not see them. */
static int drop_leftover(struct img *image, uint64_t old, uint64_t size)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t span = 1ull << (s->h.cluster_bits + s->l2_bits), from = img_align_up(old, s->cluster_size);
    int status = 0;

    for (uint64_t next; from < size && status == 0; from = next) {
        bool any = false;
        next = img_min(img_align_up(size, s->cluster_size), img_align_down(from, span) + span);
        if (qcow2_has_l2(s, from))
            status = any_mapped(image, from, next, &any);
        if (status == 0 && any)
            status = crop_clusters(image, from, next);
    }
    return status;
}

/* ---- Growing ------------------------------------------------------------------ */

/* Does the backing file reach into the new range? */
static bool backing_shows(const struct img *image, uint64_t old_size)
{
    return image->backing ? img_size(image->backing) > old_size : image->backing_name != NULL;
}

/* Version 2 cannot make clusters read as zeroes over a backing file, and qemu-img does not write zeroes. */
static bool zeroes_impossible(const struct img *image, uint64_t from, uint64_t to)
{
    return qcow2_state(image)->h.version < 3 && from < to;
}

/* Is the rest of the old disk's last cluster already zero?  Then a snapshot may keep sharing it. */
static int shows_zeroes(struct img *image, uint64_t from, uint64_t to, bool *zero)
{
    struct img_extent extent;
    int status = qcow2_map(image, from, to - from, &extent);

    *zero = status == 0 && extent.kind != IMG_DATA && extent.kind != IMG_CODED && extent.length >= to - from;
    if (status < 0 || *zero)
        return status;
    CLEANUP_FREE uint8_t *rest = malloc(to - from);
    if (!rest)
        return -ENOMEM;
    status = img_pread(image, rest, from, to - from);
    *zero = status >= 0 && img_is_zero(rest, to - from);
    return status < 0 ? status : 0;
}

/*
 * Preallocation omits the old disk's last cluster if that shows the backing file.  A write allocates it, and copies
 * what it shows.
 */
static int place_last(struct img *image, uint64_t from, uint64_t boundary, enum qcow2_preallocation mode)
{
    struct img_extent extent;

    if (mode == QCOW2_PREALLOC_OFF || from >= boundary || !image->backing || image->data_file)
        return 0;
    int status = qcow2_map(image, from, boundary - from, &extent);
    if (status < 0 || extent.host_valid)
        return status;
    CLEANUP_FREE uint8_t *zeroes = calloc(1, (size_t)(boundary - from));
    return zeroes ? img_pwrite(image, zeroes, from, (size_t)(boundary - from)) : -ENOMEM;
}

/*
 * The new range must read as zeroes: neither as the backing file, nor as old bytes beyond the end in the last
 * cluster.
 */
static int zero_new_range(struct img *image, uint64_t from, uint64_t to, enum qcow2_preallocation mode,
                          struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t boundary = img_min(img_align_up(from, s->cluster_size), to);
    bool zero = true;
    int status = place_last(image, from, boundary, mode);

    if (status < 0) {
        return img_error_errno(err, -status, "Failed to zero out new clusters");
    } else if (backing_shows(image, from)) {
        /* New clusters of these two modes are already zero. */
        uint64_t end = mode >= QCOW2_PREALLOC_FALLOC && s->subclusters == 1 ? boundary : to;
        status = zeroes_impossible(image, boundary, end) ? -ENOTSUP : img_zero(image, from, end - from, 0);
    } else if (from < boundary && (status = shows_zeroes(image, from, boundary, &zero)) == 0 && !zero) {
        status = img_zero(image, from, boundary - from, 0);
    }
    return status < 0 ? img_error_errno(err, -status, "Failed to zero out new clusters") : 0;
}

/* Truncate a data file longer than the disk, unless it is raw or was preallocated. */
static int fit_data_file(struct img *image, uint64_t size, enum qcow2_preallocation mode, struct img_error *err)
{
    bool raw = qcow2_state(image)->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;

    if (!image->data_file || raw || mode != QCOW2_PREALLOC_OFF || img_size(image->data_file) <= size)
        return 0;
    return img_resize_file(image->data_file, size, NULL, err);
}

static int grow(struct img *image, uint64_t size, enum qcow2_preallocation mode, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = image->size, entries = qcow2_l1_entries(s, size);

    int status = entries > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : qcow2_grow_l1(image, entries);
    if (status == -EFBIG)
        img_limit_advise(qcow2_largest_disk(s), err);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to grow the L1 table");
    if ((status = drop_leftover(image, old, size)) < 0)
        return img_error_errno(err, -status, "Failed to zero out new clusters");
    if ((status = qcow2_preallocate(image, old, size, mode, err)) < 0 ||
        (status = fit_data_file(image, size, mode, err)) < 0)
        return status;
    if (old > 0) {
        image->size = size;
        status = zero_new_range(image, old, size, mode, err);
        image->size = old;
        if (status < 0)
            return status;
    }
    status = qcow2_flush(image);
    return status < 0 ? img_error_errno(err, -status, "Failed to update L2 tables") : write_size(image, size, err);
}

/* ---- Shrinking ------------------------------------------------------------------- */

static int crop_l2_tables(struct img *image, uint64_t keep)
{
    struct qcow2 *s = qcow2_state(image);

    for (uint64_t i = keep; i < s->h.l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_OFFSET_MASK;
        if (table == 0)
            continue;
        qcow2_set_l1(s, i, 0);
        qcow2_drop(image, table, s->cluster_size, QCOW2_DISCARD_ALWAYS);
    }
    return qcow2_flush(image);
}

/* Does a refcount block count nothing, or only itself? */
static int block_unused(struct img *image, uint64_t index, bool *unused)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = qcow2_refblock_at(s, index), cluster = offset >> s->h.cluster_bits;
    uint64_t per_block = 1ull << s->refblock_bits;
    uint8_t *block;

    *unused = false;
    int status = qcow2_cache_get(s->refblock_cache, offset, &block);
    for (uint64_t i = 0; status == 0 && i < per_block; i++)
        if (qcow2_refcount_at(s, block, i) > (index * per_block + i == cluster))
            return 0;
    *unused = status == 0;
    return status;
}

/* Remove the block from the table, and free its cluster. */
static int remove_block(struct img *image, uint64_t index)
{
    static const uint8_t none[8];
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = qcow2_refblock_at(s, index), at = s->h.refcount_table_offset + index * 8;
    uint64_t cluster = offset >> s->h.cluster_bits;
    int status;

    IMG_EVENT(image->file, reftable_update);
    if ((status = qcow2_barrier(image)) < 0 ||
        (status = qcow2_write(image, QCOW2_AT_REFTABLE, none, at, sizeof none)) < 0)
        return status;
    s->refcount_table[index] = 0;
    qcow2_cache_forget(s->refblock_cache, offset);
    s->free_cluster_index = img_min(s->free_cluster_index, index << s->refblock_bits);
    if (cluster >> s->refblock_bits == index)
        return 0;
    return (status = qcow2_barrier(image)) < 0 ? status : qcow2_free_clusters(image, offset, s->cluster_size);
}

/* From the end, since a removed block may be the only cluster that an earlier one counts. */
static int crop_refcount_blocks(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (uint64_t i = s->refcount_table_size; i-- > 0 && status == 0;) {
        bool unused;
        if (qcow2_refblock_at(s, i) == 0)
            continue;
        status = block_unused(image, i, &unused);
        if (status == 0 && unused)
            status = remove_block(image, i);
    }
    return status < 0 ? status : qcow2_flush(image);
}

/* Truncate the file after the last cluster in use. */
static int cut_file(struct img *image, struct img_error *err)
{
    uint64_t end;
    int status = qcow2_end_of_use(image, &end);

    if (status < 0)
        return img_error_errno(err, -status, "Failed to find the last cluster");
    if (end == 0 || end >= img_size(image->file))
        return 0;
    /* Everything that referred to the tail is off the disk, including a refcount block that counted only itself. */
    if ((status = qcow2_barrier(image)) < 0)
        return img_error_errno(err, -status, "Failed to find the last cluster");
    /* The disk is correct; a file that stays too long only deserves a warning. */
    struct img_error cut = IMG_ERROR_INIT;
    if (img_resize_file(image->file, end, NULL, &cut) < 0)
        img_notice(IMG_WARNING, "Failed to truncate the tail of the image: %s", cut.text);
    img_error_clear(&cut);
    return 0;
}

static int shrink(struct img *image, uint64_t size, enum qcow2_preallocation mode, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t from = img_align_up(size, s->cluster_size), to = img_align_up(image->size, s->cluster_size);
    int status;

    if (mode != QCOW2_PREALLOC_OFF)
        return img_error_set(err, EINVAL, "Preallocation can't be used for shrinking an image");
    if ((status = write_size(image, size, err)) < 0)
        return status;
    if ((status = qcow2_barrier(image)) < 0 || (status = crop_clusters(image, from, to)) < 0 ||
        (status = qcow2_flush(image)) < 0)
        return img_error_errno(err, -status, "Failed to discard cropped clusters");
    if ((status = crop_l2_tables(image, qcow2_l1_entries(s, size))) < 0)
        return img_error_errno(err, -status, "Failed to reduce the number of L2 tables");
    if ((status = crop_refcount_blocks(image)) < 0)
        return img_error_errno(err, -status, "Failed to discard unused refblocks");
    status = image->data_file ? img_resize_file(image->data_file, size, NULL, err) : 0;
    return status < 0 ? status : cut_file(image, err);
}

static int change_size(struct img *image, uint64_t size, enum qcow2_preallocation mode, struct img_error *err)
{
    return size < image->size ? shrink(image, size, mode, err) : grow(image, size, mode, err);
}

int qcow2_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = s->h.size;
    enum qcow2_preallocation mode;

    if (qcow2_preallocation_parse(preallocation, &mode) < 0)
        return img_error_set(err, EINVAL, "Unsupported preallocation mode '%s'", preallocation);
    if (size % SECTOR)
        return img_error_set(err, EINVAL, "The new size must be a multiple of %u", SECTOR);
    if (s->snapshots.count && s->h.version < 3)
        return img_error_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
    int status = qcow2_bitmaps_before_resize(image, err);
    if (status < 0)
        return status;
    s->bitmaps_paused = true;       /* the new range was not written by the guest */
    status = change_size(image, size, mode, err);
    s->bitmaps_paused = false;
    if (status < 0)
        return status;
    status = qcow2_bitmaps_after_resize(image, old);
    return status < 0 ? img_error_errno(err, -status, "Could not resize persistent bitmaps") : 0;
}
