/* SPDX-License-Identifier: MIT */
/* The qcow2 driver: the vtable, open and close. */
#include "qcow2.h"

#include <stdarg.h>
#include <stdio.h>

/* Limits, not reservations: a cache grows with the tables in use. */
enum { L2_CACHE_BYTES = 32 << 20, REFBLOCK_CACHE_BYTES = 8 << 20, LEAST_CACHE_BYTES = 64 << 10 };

int qcow2_signal_corrupt(struct img *image, bool fatal, const char *format, ...)
{
    struct qcow2 *s = qcow2_state(image);
    char what[256];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);

    fatal = fatal && image->flags & IMG_RDWR;
    if (s->corrupt_reported && (s->broken || !fatal))
        return -EIO;
    if (fatal)
        img_notice(IMG_NOTE, "qcow2: Marking image as corrupt: %s; further corruption events will be suppressed", what);
    else
        img_notice(IMG_NOTE, "qcow2: Image is corrupt: %s; further non-fatal corruption events will be suppressed",
                   what);
    s->corrupt_reported = true;
    if (fatal) {
        s->broken = true;
        if (s->h.version >= 3)
            qcow2_set_incompatible(image, QCOW2_INCOMPAT_CORRUPT, true);
    }
    return -EIO;
}

/* ---- Open options ----------------------------------------------------------------- */

static int check_cache_sizes(const struct qcow2 *s, const struct qcow2_open_options *given, struct img_error *err)
{
    if (given->cache_size >= 0) {
        if (given->l2_cache_size >= 0 && given->refcount_cache_size >= 0)
            return img_error_set(err, EINVAL, "cache-size, l2-cache-size and refcount-cache-size may not be set at "
                                 "the same time");
        if (given->l2_cache_size > given->cache_size)
            return img_error_set(err, EINVAL, "l2-cache-size may not exceed cache-size");
        if (given->refcount_cache_size > given->cache_size)
            return img_error_set(err, EINVAL, "refcount-cache-size may not exceed cache-size");
    }
    int64_t entry = given->l2_cache_entry_size;
    if (entry >= 0 && (entry < 512 || entry > s->cluster_size || !img_power_of_two((uint64_t)entry)))
        return img_error_set(err, EINVAL, "L2 cache entry size must be a power of two between %d and the cluster size "
                             "(%u)", 512, s->cluster_size);
    return 0;
}

/* A cache size from the caller, within our bounds. */
static size_t cache_bytes(int64_t asked, size_t standard)
{
    if (asked < 0)
        return standard;
    return (size_t)img_max(LEAST_CACHE_BYTES, img_min((uint64_t)asked, 64u * L2_CACHE_BYTES));
}

static int make_caches(struct img *image, const struct qcow2_open_options *given)
{
    struct qcow2 *s = qcow2_state(image);
    int64_t l2 = given->l2_cache_size, refblocks = given->refcount_cache_size;

    if (given->cache_size >= 0 && l2 < 0)
        l2 = given->cache_size - (refblocks > 0 ? refblocks : 0);
    s->l2_cache = qcow2_cache_new(image, QCOW2_AT_ACTIVE_L2, cache_bytes(l2, L2_CACHE_BYTES));
    s->refblock_cache = qcow2_cache_new(image, QCOW2_AT_REFBLOCK, cache_bytes(refblocks, REFBLOCK_CACHE_BYTES));
    if (!s->l2_cache || !s->refblock_cache)
        return -ENOMEM;
    qcow2_cache_depends(s->l2_cache, s->refblock_cache);
    return 0;
}

static int set_overlap(struct qcow2 *s, const struct qcow2_open_options *given, struct img_error *err)
{
    const char *name = given->overlap_check ? given->overlap_check : given->overlap_template;

    if (given->overlap_check && given->overlap_template && strcmp(given->overlap_check, given->overlap_template) != 0)
        return img_error_set(err, EINVAL, "Conflicting values for qcow2 options 'overlap-check' ('%s') and "
                             "'overlap-check.template' ('%s')", given->overlap_check, given->overlap_template);
    if (qcow2_overlap_template(name ? name : "cached", &s->overlap_sections) < 0)
        return img_error_set(err, EINVAL, "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of "
                             "the following: none, constant, cached, all", name);
    for (unsigned i = 0; i < QCOW2_SECTIONS; i++) {
        if (given->overlap[i] == 1)
            s->overlap_sections |= 1u << i;
        else if (given->overlap[i] == 0)
            s->overlap_sections &= ~(1u << i);
    }
    return 0;
}

static int apply_options(struct img *image, const struct qcow2_open_options *given, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    bool lazy = s->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;

    int status = check_cache_sizes(s, given, err);
    if (status < 0)
        return status;
    if (given->cache_clean_interval > UINT32_MAX)
        return img_error_set(err, EINVAL, "Cache clean interval too big");
    if (given->lazy_refcounts >= 0)
        lazy = given->lazy_refcounts;
    if (lazy && s->h.version < 3)
        return img_error_set(err, EINVAL, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility "
                             "level");
    if (given->discard_no_unref == 1 && s->h.version < 3)
        return img_error_set(err, EINVAL, "discard-no-unref is only supported since qcow2 version 3");
    s->lazy = lazy && image->flags & IMG_RDWR;
    s->keep_discarded = given->discard_no_unref == 1;
    s->discards[QCOW2_DISCARD_ALWAYS] = true;
    s->discards[QCOW2_DISCARD_REQUEST] = given->pass_discard_request != 0;
    s->discards[QCOW2_DISCARD_SNAPSHOT] = given->pass_discard_snapshot != 0;
    s->discards[QCOW2_DISCARD_OTHER] = given->pass_discard_other == 1;
    status = qcow2_choose_coding(s->h.compression, given->compression_level, given->compression_window, &s->coding,
                                 err);
    if (status == 0)
        status = set_overlap(s, given, err);
    if (status == 0 && make_caches(image, given) < 0)
        status = img_error_memory(err);
    return status;
}

/* ---- Opening ------------------------------------------------------------------------ */

static int read_tables(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);

    int status = qcow2_read_l1(image, s->h.l1_offset, s->h.l1_size, &s->l1);
    if (status == -ENOMEM)
        return img_error_set(err, ENOMEM, "Could not allocate L1 table");
    if (status < 0)
        return img_error_set(err, -status, "Could not read L1 table: %s", img_read_error(image, status));
    status = qcow2_read_refcount_table(image, err);
    if (status < 0 && !err->text)
        return img_error_errno(err, -status, "Could not initialize refcount handling");
    return status;
}

static int open_data_file(struct img *image, struct img_doc *options, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct img_doc *described = img_doc_take(options, "data-file");
    int status = 0;

    if (!(s->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)) {
        if (described)
            status = img_error_set(err, EINVAL, "'data-file' can only be set for images with an external data file");
        else if (s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW && !(image->flags & IMG_NO_IO))
            status = img_error_set(err, EINVAL, "data-file-raw requires a data file");
    } else if (!(image->flags & IMG_NO_IO)) {
        if (!described && !s->data_file_name)
            status = img_error_set(err, EINVAL, "'data-file' is required for this image");
        else
            status = img_open_child(image, "data-file", s->data_file_name, described, &image->data_file, err);
    }
    img_doc_free(described);
    return status;
}

static int read_lists(struct img *image, struct img_error *err)
{
    int status = qcow2_read_snapshots(image, err);

    if (status < 0 && image->flags & IMG_CHECK) {
        img_error_clear(err);       /* check reads it again and reports the error */
        qcow2_free_snapshots(qcow2_state(image));
        status = 0;
    }
    return status < 0 ? status : qcow2_read_bitmaps(image, err);
}

/* Before writing: clear features that this writer would break, and repair a dirty image. */
static int prepare_to_write(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct img_check found = {0};

    if (!(image->flags & IMG_RDWR))
        return 0;
    if (s->h.autoclear & ~(uint64_t)QCOW2_AUTOCLEAR_KNOWN || s->bitmaps_stale) {
        s->h.autoclear &= QCOW2_AUTOCLEAR_KNOWN;
        int status = qcow2_write_header(image);
        if (status < 0)
            return img_error_errno(err, -status, "Could not update qcow2 header");
    }
    if (!(s->h.incompatible & QCOW2_INCOMPAT_DIRTY) || image->flags & IMG_CHECK)
        return 0;

    int status = qcow2_check(image, IMG_REPAIR_ERRORS | IMG_REPAIR_LEAKS, &found, err);
    if (status < 0 || found.check_errors) {
        img_error_clear(err);
        return img_error_errno(err, status < 0 ? -status : EIO, "Could not repair dirty image");
    }
    return 0;
}

static void release(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);

    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->refblock_cache);
    free(s->l1);
    qcow2_forget_ahead(s);
    free(s->refcount_table);
    free(s->metadata_filter);
    free(s->dropped.at);
    qcow2_free_snapshots(s);
    qcow2_free_bitmaps(s);
    qcow2_free_header(s);
    qcow2_close_encryption(s);
    memset(s, 0, sizeof *s);
}

static int qcow2_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct qcow2_open_options *given = parsed;
    struct qcow2 *s = qcow2_state(image);
    int status = qcow2_read_header(image, err);

    if (status == 0) {
        image->size = img_align_down(s->h.size, 512);   /* as qemu-img: sectors */
        image->limits.cluster = s->cluster_size;
        image->limits.write_unit = s->subcluster_size;
        image->limits.write_zeroes_alignment = s->subcluster_size;
        image->limits.discard_alignment = s->cluster_size;
        image->dirty = s->h.incompatible & QCOW2_INCOMPAT_DIRTY;
    }
    if (status < 0 ||
        (status = apply_options(image, given, err)) < 0 ||
        (status = qcow2_check_encrypt_options(image, given->encrypt_format, options, err)) < 0 ||
        (status = read_tables(image, err)) < 0 ||
        (status = open_data_file(image, options, err)) < 0 ||
        (status = qcow2_open_encryption(image, given->encrypt_key_secret, err)) < 0 ||
        (status = read_lists(image, err)) < 0 ||
        (status = prepare_to_write(image, err)) < 0)
        release(image);
    return status;
}

/* Compressed clusters are counted in sectors, so the last sector must be complete in the file. */
static int fill_last_sector(struct img *image)
{
    struct img_error ignored = IMG_ERROR_INIT;
    uint64_t end = img_size(image->file);
    int status = 0;

    if (qcow2_state(image)->coded_written && !img_aligned(end, 512))
        status = img_resize_file(image->file, img_align_up(end, 512), NULL, &ignored);
    img_error_clear(&ignored);
    return status;
}

static int qcow2_close(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    if (image->flags & IMG_RDWR && !s->broken) {
        if ((status = qcow2_bitmaps_store(image)) == 0 && (status = qcow2_flush(image)) == 0)
            status = qcow2_mark_clean(image);
        if (status == 0)
            status = fill_last_sector(image);
    }
    release(image);
    return status;
}

/* Only the L2 tables: their entries would have to be read. */
static int look_for_missing(struct img *image)
{
    const struct qcow2 *s = qcow2_state(image);

    for (uint32_t i = 0; i < s->h.l1_size; i++) {
        uint64_t offset = s->l1[i] & QCOW2_OFFSET_MASK;
        if (offset)
            img_has_bytes(image, image->file, offset, s->cluster_size);
    }
    return 0;
}

/* ---- Content of a new image ----------------------------------------------- */

/* Preallocated clusters show the content of the storage, and that is noise if zeroes are decrypted. */
static bool qcow2_zero_initialised(struct img *image)
{
    const struct qcow2 *s = qcow2_state(image);
    bool allocated = false;

    for (uint32_t i = 0; i < s->h.l1_size && !allocated; i++)
        allocated = s->l1[i] & QCOW2_OFFSET_MASK;
    return !allocated || (!image->encrypted && img_zero_initialised(qcow2_storage(image)));
}

/* ---- The data path --------------------------------------------------------------------- */

/* Refuse after fatal damage; otherwise update stored bitmaps. */
static int before_change(struct img *image, uint64_t offset, uint64_t length)
{
    return qcow2_state(image)->broken ? -ENOMEDIUM : qcow2_bitmaps_track(image, offset, length);
}

/* qemu-img encrypts at most so many clusters at a time, and that decides where refcount blocks go between them. */
enum { MOST_ENCRYPTED = 32 };

static int guarded_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    const struct qcow2 *s = qcow2_state(image);
    int status = before_change(image, offset, length);

    if (s->cipher)
        length = img_min(length, MOST_ENCRYPTED * (uint64_t)s->cluster_size - (offset & (s->cluster_size - 1)));
    return status < 0 ? status : qcow2_reserve(image, offset, length, to);
}

static int guarded_reserve_coded(struct img *image, uint64_t offset, size_t length, struct img_reservation *to)
{
    uint64_t cluster = qcow2_state(image)->cluster_size;
    int status = before_change(image, offset, img_min(cluster, image->size - offset));

    return status < 0 ? status : qcow2_reserve_coded(image, offset, length, to);
}

static int guarded_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int status = before_change(image, offset, length);

    return status < 0 ? status : qcow2_zero(image, offset, length, flags);
}

static int guarded_discard(struct img *image, uint64_t offset, uint64_t length)
{
    int status = before_change(image, offset, length);

    return status < 0 ? status : qcow2_discard(image, offset, length);
}

static int guarded_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    if (qcow2_state(image)->broken)
        return img_error_errno(err, ENOMEDIUM, "Failed to resize");
    return qcow2_resize(image, size, preallocation, err);
}

static int guarded_publish(struct img *image, struct img_reservation *at)
{
    return qcow2_state(image)->broken ? -ENOMEDIUM : qcow2_publish(image, at);
}

static int guarded_flush(struct img *image)
{
    return qcow2_state(image)->broken ? -ENOMEDIUM : qcow2_flush_aside(image);
}

static const char *const strong_options[] = { "encrypt.key-secret", NULL };

/* The bitmaps extension needs version 3. */
static bool has_bitmaps(const struct img *image)
{
    return qcow2_state(image)->h.version >= 3;
}

const struct img_driver img_driver_qcow2 = {
    IMG_ROW(
        .name = "qcow2", .kind = IMG_FORMAT, .alias = "qcow3",
        /* Later versions, too, so that they are refused by name. */
        .marks = IMG_MARKS(IMG_AT(0, "QFI\xfb"), IMG_AT_LEAST(4, "\0\0\0\2"))
    ),
    .has_bitmaps = has_bitmaps,
    .bitmaps = &qcow2_bitmap_ops,
    .traits = IMG_CAN_BACK | IMG_CAN_COMPRESS | IMG_SHORT_TAIL | IMG_READS_FORWARD | IMG_GROWS,
    .state_size = sizeof(struct qcow2),
    .options = qcow2_options,
    .create_size = sizeof(struct qcow2_create_options),
    .open_size = sizeof(struct qcow2_open_options),
    .open = qcow2_open,
    .close = qcow2_close,
    .unflushed = "Failed to flush the refcount block cache",
    .create = qcow2_create,
    .stream = &qcow2_stream_ops,
    .measure = qcow2_measure,
    .zero = guarded_zero,
    .discard = guarded_discard,
    .flush = guarded_flush,
    .map = qcow2_map,
    .reserve = guarded_reserve,
    .publish = guarded_publish,
    .cancel = qcow2_cancel,
    .encode = qcow2_encode,
    .decode = qcow2_decode,
    .reserve_coded = guarded_reserve_coded,
    .resize = guarded_resize,
    .amend = qcow2_amend,
    .change_backing = qcow2_change_backing,
    .make_empty = qcow2_make_empty,
    .check = qcow2_check,
    .info = qcow2_info,
    .look_for_missing = look_for_missing,
    .zero_initialised = qcow2_zero_initialised,
    .snapshots = qcow2_snapshots,
    .snapshot_load = qcow2_snapshot_load,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .strong_options = strong_options,
};
