/* SPDX-License-Identifier: MIT */
/*
 * Preallocation: allocates the host clusters of guest clusters before they are written.
 *
 *   metadata  L2 tables and refcounts only; the file is extended
 *   falloc    first all refcount structures, then one run of data that the file system
 *   full      allocates (or that is written with zeroes), then the L2 tables
 *
 * With an external data file each guest cluster lies at its own offset there.
 */
#include "../qcow2.h"

/* Work is split as qemu-img splits it, so that new refcount blocks get the same places. */
enum { SLICE_BYTES = 64 << 10 };

int qcow2_preallocation_parse(const char *name, enum qcow2_preallocation *mode)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" };

    *mode = QCOW2_PREALLOC_OFF;
    for (unsigned i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *mode = (enum qcow2_preallocation)i;
            return 0;
        }
    }
    return name ? -EINVAL : 0;
}

static const char *file_mode(enum qcow2_preallocation mode)
{
    return mode == QCOW2_PREALLOC_FALLOC ? "falloc" : mode == QCOW2_PREALLOC_FULL ? "full" : "off";
}

/* Where to place guest clusters. */
struct placing {
    bool fixed;                     /* only at `next`; otherwise first fit */
    bool reserved;                  /* the clusters there are already allocated */
    uint64_t next;
    uint64_t end;                   /* host end of the last placed cluster */
    struct img_error *err;          /* error message of a failed resize */
};

static uint32_t unused_entries(const struct qcow2 *s, const struct qcow2_l2 *l2, uint32_t limit)
{
    uint32_t n = 0;

    while (n < limit && qcow2_l2_entry(s, l2, n) == 0 && qcow2_l2_bitmap(s, l2, n) == 0)
        n++;
    return n;
}

/* Clusters that were in use before must not expose their old content. */
static int clear_reused(struct img *image, uint64_t host, uint64_t length, uint64_t file_size)
{
    if (host >= file_size)
        return 0;
    return img_zero(image->file, host, img_min(length, file_size - host), IMG_ZERO_MAY_UNMAP);
}

/*
 * Before an L2 table on disk refers to these clusters, the file must include them, and they must read as zeroes:
 * they count as published.
 */
static int reach_end(struct img *image, struct placing *at)
{
    struct img *file = qcow2_data_node(image);

    qcow2_state(image)->published++;
    if (at->reserved || at->end <= img_size(file))
        return 0;
    return img_resize_file(file, at->end, NULL, at->err);
}

/* Nobody relies on the order of writes to a new image: there the end is reached once, after the last cluster. */
static int reach_now(struct img *image, struct placing *at)
{
    return qcow2_state(image)->creating ? 0 : reach_end(image, at);
}

/* Allocate host clusters for `count` guest clusters; fewer if the run to be continued is not free that far. */
static int place(struct img *image, struct placing *at, uint64_t guest, uint64_t *count, uint64_t *host)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t length = *count << s->h.cluster_bits, file_size = img_size(image->file);
    int status;

    if (image->data_file || at->reserved) {
        *host = image->data_file ? guest : at->next;
        return 0;
    }
    *host = at->next;
    status = at->fixed ? qcow2_alloc_at(image, at->next, &length) : qcow2_alloc_clusters(image, length, host);
    *count = length >> s->h.cluster_bits;
    if (status == 0 && (status = clear_reused(image, *host, length, file_size)) < 0)
        qcow2_free_clusters(image, *host, length);
    return status;
}

/*
 * Place the clusters of [guest, end) within one slice of the L2 table; *done becomes the guest offset where it
 * stopped.
 */
static int place_slice(struct img *image, struct placing *at, uint64_t guest, uint64_t end, uint64_t *done)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t base = img_align_down(guest, s->cluster_size), host;
    uint32_t slice = SLICE_BYTES / s->l2_entry_size;
    struct qcow2_l2 l2;

    int status = qcow2_l2_for_write(image, guest, &l2);
    if (status < 0)
        return status;
    uint32_t here = (uint32_t)img_min(l2.left, slice - l2.index % slice);
    here = (uint32_t)img_min(here, img_div_up(end - base, s->cluster_size));
    uint64_t count = unused_entries(s, &l2, here);
    if (count == 0) {
        *done = img_min(end, base + s->cluster_size);       /* already allocated */
        return 0;
    }
    /* Allocating may evict tables, so look up the L2 table again. */
    if ((status = place(image, at, base, &count, &host)) < 0)
        return status;
    if (count == 0) {
        *done = guest;
        return 0;
    }
    if ((status = qcow2_l2_for_write(image, guest, &l2)) < 0) {
        if (!image->data_file && !at->reserved)
            qcow2_free_clusters(image, host, count << s->h.cluster_bits);
        return status;
    }
    for (uint32_t i = 0; i < count; i++)
        qcow2_l2_put(s, &l2, i, (host + ((uint64_t)i << s->h.cluster_bits)) | QCOW2_COPIED, 0);
    qcow2_cache_dirty(s->l2_cache, l2.offset);
    *done = img_min(end, base + (count << s->h.cluster_bits));
    at->next = host + (count << s->h.cluster_bits);
    at->end = host + img_align_up(*done - base, s->subcluster_size);
    return reach_now(image, at);
}

/* Place one request: its first part by first fit, the rest directly after it. */
static int place_window(struct img *image, struct placing *at, uint64_t guest, uint64_t end, uint64_t *done)
{
    bool fixed = at->fixed;
    int status = 0;

    *done = guest;
    while (*done < end && status == 0) {
        uint64_t start = *done;
        status = place_slice(image, at, start, end, done);
        if (*done == start)
            break;
        at->fixed = true;
    }
    at->fixed = fixed;
    return status;
}

static int place_all(struct img *image, struct placing *at, uint64_t guest, uint64_t end)
{
    uint64_t window = img_align_down(INT32_MAX, qcow2_state(image)->cluster_size);

    while (guest < end) {
        uint64_t done;
        int status = place_window(image, at, guest, img_min(end, guest + window), &done);
        if (status < 0)
            return status;
        if (done == guest)
            return -EIO;
        guest = done;
    }
    return 0;
}

static int preallocate_metadata(struct img *image, uint64_t guest, uint64_t end, struct img_error *err)
{
    struct placing at = { .err = err };

    int status = place_all(image, &at, guest, end);
    if (status < 0 || (status = reach_end(image, &at)) < 0 || (status = qcow2_flush(image)) < 0)
        return img_error_errno(err, -status, "Allocating clusters failed");
    return 0;
}

/* Skip guest clusters from `guest` on that are already allocated. */
static int skip_placed(struct img *image, uint64_t *guest, uint64_t end)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t base = img_align_down(*guest, s->cluster_size);

    if (base < *guest) {
        if (qcow2_has_l2(s, base)) {
            struct qcow2_l2 l2;
            int status = qcow2_l2_for_write(image, base, &l2);
            if (status < 0)
                return status;
            if (unused_entries(s, &l2, 1) == 0)
                base += s->cluster_size;
        }
        *guest = base;
    }
    *guest = img_min(*guest, end);
    return 0;
}

/* Extend the file from `start`, for the data. */
static int grow_file(struct img *file, uint64_t start, uint64_t bytes, enum qcow2_preallocation mode,
                     struct img_error *err)
{
    struct img_error cut = IMG_ERROR_INIT;

    /* Bytes after the last cluster in use must not become data; a device cannot be truncated. */
    if (img_size(file) > start)
        img_resize_file(file, start, NULL, &cut);
    img_error_clear(&cut);
    int status = img_resize_file(file, start + bytes, file_mode(mode), err);
    return status < 0 ? img_error_prefix(err, "Failed to resize underlying file: ") : 0;
}

static int preallocate_data(struct img *image, uint64_t guest, uint64_t end, enum qcow2_preallocation mode,
                            struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_refcount_area area = { .exact = true };
    struct placing at = { .fixed = true, .reserved = true };
    int status;

    /* Looking may have copied an L2 table that a snapshot shares: the file must include that, too. */
    if ((status = skip_placed(image, &guest, end)) < 0 || (status = qcow2_flush(image)) < 0)
        return img_error_errno(err, -status, "Failed to flush the L2 table cache");
    if ((status = qcow2_end_of_use(image, &area.start)) < 0 || area.start == 0)
        return img_error_errno(err, status < 0 ? -status : EIO, "Failed to find the last cluster");
    uint64_t count = img_div_up(end - guest, s->cluster_size), bytes = count << s->h.cluster_bits;
    area.clusters = count + img_div_up(count, 1ull << s->l2_bits);
    if ((status = qcow2_write_refcount_area(image, &area, &at.next)) < 0)
        return img_error_errno(err, -status, "Failed to resize refcount structures");
    if ((status = grow_file(image->file, at.next, bytes, mode, err)) < 0)
        return status;
    /* Allocate the data before the tables, which then lie around them. */
    if (count > 0 && ((status = qcow2_alloc_at(image, at.next, &bytes)) < 0 || bytes >> s->h.cluster_bits != count))
        return img_error_errno(err, status < 0 ? -status : EIO, "Failed to allocate data clusters");
    uint64_t run_end = at.next + bytes;
    if ((status = place_all(image, &at, guest, end)) < 0 && at.next < run_end)
        qcow2_free_clusters(image, at.next, run_end - at.next);
    if (status < 0 || (status = qcow2_flush(image)) < 0)
        return img_error_errno(err, -status, "Failed to allocate data clusters");
    return 0;
}

int qcow2_preallocate(struct img *image, uint64_t offset, uint64_t end, enum qcow2_preallocation mode,
                      struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    bool raw = s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;

    /* The start of the old disk's last cluster may still show the backing file. */
    if ((image->backing || image->backing_name) && !img_aligned(offset, s->cluster_size)) {
        offset = img_align_up(offset, s->cluster_size);
        if (offset >= end && !image->data_file)
            return 0;
    }
    if (image->data_file) {
        /* A data file that is already longer stays so. */
        if (img_size(image->data_file) < end) {
            int status = img_resize_file(image->data_file, end, file_mode(mode), err);
            if (status < 0)
                return status;
        }
        return mode != QCOW2_PREALLOC_OFF || raw ? preallocate_metadata(image, offset, end, err) : 0;
    }
    switch (mode) {
    case QCOW2_PREALLOC_OFF:
        return 0;
    case QCOW2_PREALLOC_METADATA:
        return preallocate_metadata(image, offset, end, err);
    default:
        return preallocate_data(image, offset, end, mode, err);
    }
}
