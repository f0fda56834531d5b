/* SPDX-License-Identifier: MIT */
/*
 * Guest writes: allocates clusters, and links them in once they are written.
 * Specification: "Data cluster", "Write" under "Operations".
 *
 * There are no refcounts and nothing is ever freed: an allocated cluster is written in place, also with zeroes, and
 * new ones are appended to the file.
 */
#include "qed.h"

enum { MAX_RUN = 65536 };

/* tag[] of a reservation, for publish. */
enum { TAG_TABLE, TAG_INDEX, TAG_COUNT, TAG_HOST };

struct run {
    uint64_t table, index;          /* of the first cluster */
    uint64_t count;                 /* clusters */
    uint64_t entry;                 /* of the first one */
    bool allocated;
};

static bool is_allocated(uint64_t entry)
{
    return entry > QED_ZERO;
}

/* Find the longest run of clusters of one kind at the start of [offset, end), within the L2 table. `alike`:
 * unallocated clusters and zero clusters are of one kind. */
static int find_run(struct img *image, uint64_t offset, uint64_t end, bool alike, struct run *run)
{
    const struct qed *s = qed_state(image);
    uint64_t most, entry;
    int status;

    run->index = offset % s->span / s->h.cluster_size;
    most = img_min(s->entries - run->index,
                   img_div_up(end - img_align_down(offset, s->h.cluster_size), s->h.cluster_size));
    if ((status = qed_get_entry(image, run->table, run->index, &run->entry)) < 0)
        return status;
    run->allocated = is_allocated(run->entry);
    if (run->allocated && !qed_valid_cluster(s, run->entry))
        return -EINVAL;
    for (run->count = 1; run->count < most && run->count < MAX_RUN; run->count++) {
        if ((status = qed_get_entry(image, run->table, run->index + run->count, &entry)) < 0)
            return status;
        if (run->allocated ? entry != run->entry + run->count * s->h.cluster_size || !qed_valid_cluster(s, entry)
                           : is_allocated(entry) || (!alike && entry != run->entry))
            break;
    }
    return 0;
}

int qed_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct qed *s = qed_state(image);
    uint64_t base = img_align_down(offset, s->h.cluster_size), host;
    struct run run;
    int status;

    if ((status = qed_need_table(image, offset, &run.table)) < 0 ||
        (status = find_run(image, offset, offset + length, true, &run)) < 0)
        return status;
    host = run.entry;
    if (!run.allocated && (status = qed_allocate(image, run.count, &host)) < 0)
        return status;
    uint64_t run_end = base + run.count * s->h.cluster_size, end = img_min(offset + length, run_end);
    to->length = end - offset;
    to->file = image->file;
    to->host = host + (offset - base);
    to->published = run.allocated;
    if (!run.allocated) {
        to->head = offset - base;
        to->tail = img_min(run_end, image->size) - end;
    }
    to->tag[TAG_TABLE] = run.table;
    to->tag[TAG_INDEX] = run.index;
    to->tag[TAG_COUNT] = run.count;
    to->tag[TAG_HOST] = host;
    return 0;
}

int qed_publish(struct img *image, struct img_reservation *at)
{
    struct qed *s = qed_state(image);
    uint64_t step = s->h.cluster_size, host = at->tag[TAG_HOST], count = at->tag[TAG_COUNT];

    /* If the disk ends inside its last cluster, the file still has all of it. */
    int status = img_lengthen_file(image->file, host + count * step);
    for (uint64_t i = 0; i < count && status == 0; i++)
        status = qed_put_entry(image, at->tag[TAG_TABLE], at->tag[TAG_INDEX] + i, host + i * step);
    return status;
}

/* ---- Zeroes ---------------------------------------------------------------------------- */

static int zero_run(struct img *image, const struct run *run, uint64_t length, unsigned flags)
{
    if (run->allocated)
        return img_zero(image->file, run->entry, length, flags);
    for (uint64_t i = 0; i < run->count; i++) {
        int status = qed_put_entry(image, run->table, run->index + i, QED_ZERO);
        if (status < 0)
            return status;
    }
    return 0;
}

int qed_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct qed *s = qed_state(image);
    uint64_t end = offset + length;

    while (offset < end) {
        struct run run;
        int status;
        if ((status = qed_need_table(image, offset, &run.table)) < 0 ||
            (status = find_run(image, offset, end, false, &run)) < 0)
            return status;
        uint64_t next = img_min(end, offset + run.count * s->h.cluster_size);
        if ((run.allocated || run.entry != QED_ZERO) && (status = zero_run(image, &run, next - offset, flags)) < 0)
            return status;
        offset = next;
    }
    return 0;
}
