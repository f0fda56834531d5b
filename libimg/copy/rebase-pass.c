/* SPDX-License-Identifier: MIT */
/*
 * rebase-pass.c - the part of the copy engine that handles two backing chains: the
 * current one of the image, and the new one.
 *
 * The maps alone show that a range is equal in both chains if it is zero in both, or
 * if neither chain allocates it above the image that they share.  Everything else is read and compared.
 */
#include "internal.h"
#include "util/checked.h"
#include <stdlib.h>
#include <string.h>

enum content { CONTENT_ZERO, CONTENT_SHARED, CONTENT_DATA };

/* `extent` comes from a chain mapped down to `shared`.  It is shortened where the meaning of a hole changes. */
static enum content content_of(struct img *shared, uint64_t offset, struct img_extent *extent)
{
    uint64_t size = shared ? img_size(shared) : 0;

    if (extent->kind == IMG_DATA || extent->kind == IMG_CODED)
        return CONTENT_DATA;
    if (extent->kind == IMG_ZERO || offset >= size)
        return CONTENT_ZERO;
    extent->length = img_min(extent->length, size - offset);
    return CONTENT_SHARED;
}

/* The content of the new chain at `offset`; shortens *length. */
static int shown_content(const struct img_copy_rebase *rebase, uint64_t offset, uint64_t *length,
                         enum content *content)
{
    uint64_t size = rebase->shown ? img_size(rebase->shown) : 0;
    struct img_extent extent = { .offset = offset, .length = *length, .kind = IMG_HOLE };
    int ret = 0;

    *content = CONTENT_ZERO;
    if (offset >= size)
        return 0;
    extent.length = img_min(*length, size - offset);
    if (rebase->shown != rebase->new_shared)
        ret = img_map_chain(rebase->shown, rebase->new_shared, offset, extent.length, &extent);
    if (ret < 0)
        return ret;
    *content = content_of(rebase->new_shared, offset, &extent);
    *length = img_min(*length, extent.length);
    return 0;
}

/* Is the extent allocated in the image itself?  Zeroes at depth 0 may also be beyond the end of a backing file. */
static int is_own(struct img *image, const struct img_extent *extent, uint64_t offset, bool *own)
{
    struct img_extent first = *extent;
    int ret = 0;

    if (extent->depth == 0 && extent->kind == IMG_ZERO)
        ret = img_map(image, offset, extent->length, &first);
    *own = extent->depth == 0 && first.kind != IMG_HOLE;
    return ret;
}

int copy_settle_rebase(const struct copy_job *job, uint64_t inside, struct img_extent *extent)
{
    const struct img_copy_rebase *rebase = job->what->rebase;
    enum content now, then;
    bool own;
    int ret = is_own(job->what->target, extent, inside, &own);

    if (ret < 0 || own) {
        extent->kind = IMG_HOLE;
        return ret;
    }
    now = content_of(rebase->old_shared, inside, extent);
    ret = shown_content(rebase, inside, &extent->length, &then);
    if (ret < 0)
        return ret;
    if (now == then && now != CONTENT_DATA) {
        extent->kind = IMG_HOLE;
    } else if (now == CONTENT_ZERO) {
        extent->kind = IMG_ZERO;
    } else if (now == CONTENT_SHARED) {
        extent->kind = IMG_DATA;        /* read it through the image */
        extent->host_valid = false;
    }
    return 0;
}

/* Read the new backing file into the same offset of worker->other. */
static int read_shown(struct copy_worker *worker, const struct copy_window *window, uint64_t offset, uint64_t length)
{
    struct img *shown = worker->job->what->rebase->shown;
    unsigned char *at = worker->other + (offset - window->offset);
    uint64_t size = shown ? img_size(shown) : 0, there = offset < size ? img_min(length, size - offset) : 0;
    int ret;

    if (!shown)
        return 0;
    memset(at + there, 0, length - there);
    ret = img_pread(shown, at, offset, there);
    return ret < 0 ? copy_fail(worker->job, IMG_COPY_COMPARING, offset, ret) : 0;
}

/* Is this piece of the window equal in the new backing file? */
static bool shown_already(const struct copy_worker *worker, const struct copy_window *window, uint64_t offset,
                          uint64_t length, enum img_extent_kind kind)
{
    const unsigned char *now = worker->buffer + (offset - window->offset);
    const unsigned char *then = worker->other + (offset - window->offset);

    if (!worker->job->what->rebase->shown)
        return kind == IMG_ZERO || img_is_zero(now, length);
    return kind == IMG_ZERO ? img_is_zero(then, length) : img_is_equal(now, then, length);
}

/* Units that stay the same become holes: the target is not written there. */
int copy_drop_shown(struct copy_worker *worker, const struct copy_window *window)
{
    const struct spans *spans = &worker->lists.spans;
    struct spans *left = copy_next_spans(worker);
    struct copy_job *job = worker->job;
    uint64_t unit = job->what->compress ? img_cluster_size(job->what->target) : job->write_unit;
    int ret = 0;

    for (size_t i = 0; i < spans->count && ret == 0; i++) {
        const struct span *span = &spans->at[i];
        uint64_t end = span->offset + span->length, next;
        if (span->kind == IMG_HOLE) {
            copy_add_span(left, span->offset, span->length, IMG_HOLE);
            continue;
        }
        ret = read_shown(worker, window, span->offset, span->length);
        for (uint64_t offset = span->offset; offset < end && ret == 0; offset = next) {
            next = img_min(img_align_down(offset, unit) + unit, end);
            copy_add_span(left, offset, next - offset,
                     shown_already(worker, window, offset, next - offset, span->kind) ? IMG_HOLE : span->kind);
        }
    }
    copy_replace_spans(worker);
    return ret;
}
