/* SPDX-License-Identifier: MIT */
/*
 * Guest writes: allocates clusters, and links them in once they are written.
 * Specification: "2-Level Lookups", "Compression".
 *
 * An uncompressed cluster is written in place.  A compressed one gets a new place, and its old one is leaked.
 */
#include "qcow.h"

enum { MAX_RUN = 65536 };

/* tag[] of a reservation, for publish. */
enum { TAG_TABLE, TAG_INDEX, TAG_COUNT, TAG_ENTRY };

struct run {
    uint64_t table, index;          /* of the first cluster */
    uint64_t count;                 /* clusters */
    uint64_t entry;                 /* of the first one */
    bool in_place;
};

static bool is_plain(uint64_t entry)
{
    return entry && !(entry & QCOW_COMPRESSED);
}

/* Find the longest run of clusters at the start of [offset, end), within the L2 table, that are written in place on
 * one host run, or that all must be allocated. */
static int find_run(struct img *image, uint64_t offset, uint64_t end, struct run *run)
{
    const struct qcow *s = qcow_state(image);
    uint64_t most, entry;
    int status;

    run->index = offset % s->span >> s->h.cluster_bits;
    most = img_min((1ull << s->h.l2_bits) - run->index,
                   img_div_up(end - img_align_down(offset, s->cluster_size), s->cluster_size));
    if ((status = qcow_get_entry(image, run->table, run->index, &run->entry)) < 0)
        return status;
    run->in_place = is_plain(run->entry);
    if (run->in_place && !qcow_valid_cluster(s, run->entry))
        return -EIO;
    for (run->count = 1; run->count < most && run->count < MAX_RUN; run->count++) {
        if ((status = qcow_get_entry(image, run->table, run->index + run->count, &entry)) < 0)
            return status;
        if (run->in_place ? entry != run->entry + (run->count << s->h.cluster_bits) : is_plain(entry))
            break;
    }
    return 0;
}

static void set_tag(struct img_reservation *to, const struct run *run, uint64_t entry)
{
    to->tag[TAG_TABLE] = run->table;
    to->tag[TAG_INDEX] = run->index;
    to->tag[TAG_COUNT] = run->count;
    to->tag[TAG_ENTRY] = entry;
}

int qcow_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct qcow *s = qcow_state(image);
    uint64_t base = img_align_down(offset, s->cluster_size), host;
    struct run run;
    int status;

    if ((status = qcow_need_table(image, offset, &run.table)) < 0 ||
        (status = find_run(image, offset, offset + length, &run)) < 0)
        return status;
    uint64_t bytes = run.count << s->h.cluster_bits, end = img_min(offset + length, base + bytes);
    host = run.entry;
    if (!run.in_place && (status = qcow_allocate(image, bytes, s->cluster_size, &host)) < 0)
        return status;
    to->length = end - offset;
    to->file = qcow_data_node(image);
    to->host = host + (offset - base);
    to->published = run.in_place;
    if (!run.in_place) {
        to->head = offset - base;
        to->tail = img_min(base + bytes, image->size) - end;
    }
    set_tag(to, &run, host);
    return 0;
}

int qcow_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to)
{
    struct qcow *s = qcow_state(image);
    struct run run = { .index = offset % s->span >> s->h.cluster_bits, .count = 1 };
    unsigned shift = 63 - s->h.cluster_bits;
    uint64_t host;
    int status;

    if ((status = qcow_need_table(image, offset, &run.table)) < 0 ||
        (status = qcow_allocate(image, coded_length, 1, &host)) < 0)
        return status;
    if (host >> shift)
        return -EFBIG;
    to->length = coded_length;
    to->file = image->file;
    to->host = host;
    to->coded = true;
    set_tag(to, &run, QCOW_COMPRESSED | (uint64_t)coded_length << shift | host);
    return 0;
}

int qcow_publish(struct img *image, struct img_reservation *at)
{
    struct qcow *s = qcow_state(image);
    uint64_t entry = at->tag[TAG_ENTRY], count = at->tag[TAG_COUNT];
    int status = 0;

    /* If the disk ends inside its last cluster, the file still has all of it. */
    if (!at->coded)
        status = img_lengthen_file(image->file, entry + (count << s->h.cluster_bits));
    for (uint64_t i = 0; i < count && status == 0; i++)
        status = qcow_put_entry(image, at->tag[TAG_TABLE], at->tag[TAG_INDEX] + i, entry + (i << s->h.cluster_bits));
    return status;
}

/* ---- Zeroes ---------------------------------------------------------------------------- */

/* Unallocated clusters already read as zeroes; compressed ones do when they are deallocated. */
static int zero_run(struct img *image, const struct run *run, uint64_t length, unsigned flags)
{
    int status = 0;

    if (run->in_place)
        return img_zero(image->file, run->entry, length, flags);
    for (uint64_t i = 0; i < run->count && status == 0; i++) {
        uint64_t entry;
        status = qcow_get_entry(image, run->table, run->index + i, &entry);
        if (status == 0 && entry)
            status = qcow_put_entry(image, run->table, run->index + i, 0);
    }
    return status;
}

/* The format has no zero flag: only an unallocated cluster reads as zeroes, without a backing file. */
int qcow_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct qcow *s = qcow_state(image);
    uint64_t end = offset + length;

    if (image->backing || image->backing_name || s->cipher)
        return -ENOTSUP;
    while (offset < end) {
        uint64_t next = img_min(end, (offset / s->span + 1) * s->span);
        struct run run;
        int status = qcow_find_table(image, offset, &run.table);
        if (status == 0 && run.table) {
            if ((status = find_run(image, offset, end, &run)) < 0)
                return status;
            next = img_min(end, offset + (run.count << s->h.cluster_bits));
            status = zero_run(image, &run, next - offset, flags);
        }
        if (status < 0)
            return status;
        offset = next;
    }
    return 0;
}

/* ---- Emptying ---------------------------------------------------------------------------- */

static int clear_l1(struct img *image)
{
    const struct qcow *s = qcow_state(image);

    return img_zero(image->file, s->h.l1_offset, s->l1_entries * QCOW_ENTRY, 0);
}

int qcow_make_empty(struct img *image)
{
    struct qcow *s = qcow_state(image);
    uint64_t end = s->h.l1_offset + s->l1_entries * QCOW_ENTRY;
    struct img_error err = IMG_ERROR_INIT;
    int status;

    img_pages_forget(s->l1);
    img_pages_forget(s->l2);
    if ((status = clear_l1(image)) < 0 || (status = img_barrier(image)) < 0)
        return status;
    s->end = end;
    /* If the file cannot be truncated, the rest is leaked. */
    status = img_resize_file(image->file, end, NULL, &err);
    img_error_clear(&err);
    return status;
}
