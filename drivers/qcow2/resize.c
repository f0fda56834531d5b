/* SPDX-License-Identifier: MIT */
/*
 * The size of the disk.  It is in the header that the new size counts, so growing
 * writes it last, when the tables can hold it.
 */
#include "qcow2.h"

enum { SECTOR = 512 };

uint64_t qcow2_l1_entries(const struct qcow2 *s, uint64_t size)
{
    return img_div_up(size, 1ull << (s->h.cluster_bits + s->l2_bits));
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

/* ---- Growing ------------------------------------------------------------------ */

/* Does the backing file reach into what is new? */
static bool backing_shows(const struct img *image, uint64_t old_size)
{
    return image->backing ? img_size(image->backing) > old_size : image->backing_name != NULL;
}

/* What is new reads as zeroes: not as a backing file, nor as what lay behind the old end in its last cluster. */
static int zero_new_range(struct img *image, uint64_t from, uint64_t to, enum qcow2_preallocation mode,
                          struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t boundary = img_min(img_align_up(from, s->cluster_size), to);
    struct img_extent extent;
    int status = 0;

    if (backing_shows(image, from)) {
        /* Fresh clusters of these two modes are zero already. */
        uint64_t end = mode >= QCOW2_PREALLOC_FALLOC && s->subclusters == 1 ? boundary : to;
        status = img_zero(image, from, end - from, 0);
    } else if (from < boundary && (status = qcow2_map(image, from, boundary - from, &extent)) == 0 &&
               (extent.kind == IMG_DATA || extent.kind == IMG_CODED)) {
        status = img_zero(image, from, boundary - from, 0);
    }
    return status < 0 ? img_error_errno(err, -status, "Failed to zero out new clusters") : 0;
}

static int grow(struct img *image, uint64_t size, enum qcow2_preallocation mode, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t old = image->size, entries = qcow2_l1_entries(s, size);

    int status = entries > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : qcow2_grow_l1(image, entries, true);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to grow the L1 table");
    if ((status = qcow2_preallocate(image, old, size, mode, err)) < 0)
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

/* The clusters from `from` on are not mapped any more. */
static int crop_clusters(struct img *image, uint64_t from, uint64_t to)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t span = 1ull << (s->h.cluster_bits + s->l2_bits);
    int status = 0;

    for (uint64_t next; from < to && status == 0; from = next) {
        struct qcow2_l2 l2;
        next = img_min(to, img_align_down(from, span) + span);
        if (!(s->l1[from / span] & QCOW2_OFFSET_MASK))
            continue;
        if ((status = qcow2_l2_for_write(image, from, &l2)) < 0)
            break;
        for (uint32_t i = 0; from + ((uint64_t)i << s->h.cluster_bits) < next; i++) {
            uint64_t entry = qcow2_l2_entry(s, &l2, i);
            qcow2_l2_put(s, &l2, i, 0, 0);
            qcow2_drop_entry(image, entry);
        }
        qcow2_cache_dirty(s->l2_cache, l2.offset);
        status = qcow2_settle(image);
    }
    return status;
}

static int crop_l2_tables(struct img *image, uint64_t keep)
{
    struct qcow2 *s = qcow2_state(image);

    for (uint64_t i = keep; i < s->h.l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_OFFSET_MASK;
        if (table == 0)
            continue;
        qcow2_set_l1(s, i, 0);
        qcow2_drop(image, table, s->cluster_size);
    }
    return qcow2_flush(image);
}

/* Cut the file behind the last cluster that is in use. */
static int cut_file(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t size = img_size(image->file), cluster = img_div_up(size, s->cluster_size), count = 0;
    int status = 0;

    while (cluster > 0 && count == 0 && status == 0)
        status = qcow2_refcount_get(image, --cluster, &count);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to find the last cluster");
    uint64_t end = (cluster + 1) << s->h.cluster_bits;
    if (count == 0 || end >= size)
        return 0;
    /* The disk is as it should be; a file that stays too long is worth a warning only. */
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
    if ((status = crop_clusters(image, from, to)) < 0 || (status = qcow2_flush(image)) < 0)
        return img_error_errno(err, -status, "Failed to discard cropped clusters");
    if ((status = crop_l2_tables(image, qcow2_l1_entries(s, size))) < 0)
        return img_error_errno(err, -status, "Failed to reduce the number of L2 tables");
    if ((status = write_size(image, size, err)) < 0)
        return status;
    if (!image->data_file)
        return cut_file(image, err);
    return img_resize_file(image->data_file, size, NULL, err);
}

int qcow2_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    enum qcow2_preallocation mode;

    if (s->broken)
        return img_error_errno(err, ENOMEDIUM, "Failed to resize");
    if (qcow2_preallocation_parse(preallocation, &mode) < 0)
        return img_error_set(err, EINVAL, "Unsupported preallocation mode '%s'", preallocation);
    if (size % SECTOR)
        return img_error_set(err, EINVAL, "The new size must be a multiple of %u", SECTOR);
    if (s->snapshots.count && s->h.version < 3)
        return img_error_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
    if (s->bitmap_count)
        return img_error_set(err, ENOTSUP, "Cannot resize qcow2 with persistent bitmaps that were not loaded into "
                             "memory");
    return size < image->size ? shrink(image, size, mode, err) : grow(image, size, mode, err);
}
