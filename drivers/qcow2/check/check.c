/* SPDX-License-Identifier: MIT */
/*
 * Checks the consistency of a qcow2 image, and repairs it.
 *
 * References are counted through the whole image and compared with the stored refcounts, then the COPIED bits are
 * compared with those.  Each error is reported as a notice, in qemu-img's order and words, since people and scripts
 * read them.
 *
 * With `repair` the same walk repairs: refcounts in place, or, if the refcount structures are broken, by rebuilding
 * them; COPIED bits; the snapshot table.  New tables are written to free space first.
 */
#include "check.h"

static void measure_file(struct qcow2_check *check)
{
    check->file_size = img_align_up(img_size(check->image->file), 512);
    check->exact_size = img_length(check->image->file, true);
    check->clusters = img_div_up(check->file_size, check->s->cluster_size);
}

/* Tables are read past the caches, so flush the caches first. */
static int start(struct qcow2_check *check)
{
    struct qcow2 *s = check->s;
    int status;

    if ((status = qcow2_cache_write(s->refblock_cache)) < 0 || (status = qcow2_cache_write(s->l2_cache)) < 0)
        return status;
    measure_file(check);
    check->block_index = UINT64_MAX;
    check->block = malloc(s->cluster_size);
    return check->block ? 0 : -ENOMEM;
}

static void finish(struct qcow2_check *check)
{
    qcow2_counts_free(&check->counts);
    free(check->block);
    free(check->lines);
    free(check->freed.at);
    free(check->outside.at);
    free(check->lost_bitmaps.at);
}

/* Count all references from the beginning. */
static int count(struct qcow2_check *check)
{
    struct img_check *result = check->result;

    qcow2_counts_free(&check->counts);
    check->block_index = UINT64_MAX;
    check->rebuild = false;
    check->plain = true;
    check->outside.count = 0;
    check->lost_bitmaps.count = 0;
    result->allocated_clusters = result->fragmented_clusters = result->compressed_clusters = 0;
    return qcow2_check_references(check);
}

/* Errors fixed by a rebuild are those that a second walk through the image does not find any more. */
static int rebuild(struct qcow2_check *check)
{
    struct img_check *result = check->result;
    uint64_t corruptions = result->corruptions, leaks = result->leaks;
    int status;

    img_notice(IMG_NOTE, "Rebuilding refcount structure");
    if ((status = qcow2_rebuild_refcounts(check)) < 0)
        return status;
    measure_file(check);
    result->corruptions = result->leaks = 0;
    if ((status = count(check)) < 0)
        return status;
    result->leaks_fixed += leaks;
    if (corruptions > result->corruptions)
        result->corruptions_fixed += corruptions - result->corruptions;

    /* The clusters of the old structures are free now; any other leak would be new, and is reported. */
    uint64_t leaks_fixed = result->leaks_fixed;
    if ((status = qcow2_check_compare(check, IMG_REPAIR_LEAKS)) < 0)
        return status;
    result->leaks_fixed = leaks_fixed;
    if (check->rebuild)
        img_notice(IMG_NOTE, "ERROR rebuilt refcount structure is still broken");
    return qcow2_check_write_blocks(check);
}

static int check_counts(struct qcow2_check *check)
{
    struct img_check *result = check->result;
    int status = count(check);

    if (status < 0)
        return status;
    struct img_check before = *result;
    if ((status = qcow2_check_compare(check, 0)) < 0 || !check->repair)
        return status;
    if (check->rebuild && check->repair & IMG_REPAIR_ERRORS)
        return rebuild(check);
    if (check->rebuild) {
        img_notice(IMG_NOTE, "ERROR need to rebuild refcount structures");
        return -EIO;
    }
    if (result->leaks == 0 && result->corruptions == 0)
        return 0;
    /* Repair is possible: walk again, repairing. */
    uint64_t end = result->image_end_offset;
    *result = before;
    result->image_end_offset = end;
    for (size_t i = 0; i < check->counts.group_count; i++)
        check->counts.groups[i].differs = false;
    if ((status = qcow2_check_compare(check, check->repair)) < 0)
        return status;
    return qcow2_check_write_blocks(check);
}

/* Discard leaked clusters in the file, unless they are in use again.  Failure does no harm. */
static void give_back(struct qcow2_check *check)
{
    const struct qcow2 *s = check->s;
    uint64_t size = img_size(check->image->file), end, count;

    for (size_t i = 0; i < check->freed.count; i++) {
        uint64_t limit = check->freed.at[i].offset + check->freed.at[i].length;
        for (uint64_t at = check->freed.at[i].offset; at < limit && at < size; at = end + s->cluster_size) {
            for (end = at; end < limit; end += s->cluster_size)
                if (qcow2_refcount_get(check->image, end >> s->h.cluster_bits, &count) < 0 || count)
                    break;
            if (end > at)
                img_discard(check->image->file, at, img_min(end, size) - at);
        }
    }
}

static int mend_snapshots(struct qcow2_check *check)
{
    struct img_check *result = check->result;

    if (!check->snapshot_faults)
        return 0;
    if (!(check->repair & IMG_REPAIR_ERRORS)) {
        result->corruptions += check->snapshot_faults;
        return 0;
    }
    int status = qcow2_mend_snapshot_table(check);
    if (status == 0)
        result->corruptions_fixed += check->snapshot_faults;
    return status;
}

/* The refcounts are right now; if no error is left, the image is sound. */
static int clear_marks(struct qcow2_check *check)
{
    struct qcow2 *s = check->s;
    const struct img_check *result = check->result;
    int status = 0;

    if (!check->repair || result->check_errors)
        return 0;
    if (s->h.incompatible & QCOW2_INCOMPAT_DIRTY && check->repair & IMG_REPAIR_ERRORS)
        status = qcow2_set_incompatible(check->image, QCOW2_INCOMPAT_DIRTY, false);
    if (status == 0 && s->h.incompatible & QCOW2_INCOMPAT_CORRUPT && !result->corruptions)
        status = qcow2_set_incompatible(check->image, QCOW2_INCOMPAT_CORRUPT, false);
    return status;
}

static int check_all(struct qcow2_check *check)
{
    int status;

    if ((status = qcow2_check_snapshot_table(check)) < 0 || (status = check_counts(check)) < 0 ||
        (status = qcow2_check_copied(check)) < 0 || (status = mend_snapshots(check)) < 0 ||
        (status = qcow2_mend_bitmaps(check)) < 0)
        return status;
    if (check->repair)
        give_back(check);
    return clear_marks(check);
}

int qcow2_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct qcow2_check check = { .image = image, .s = qcow2_state(image), .result = result, .repair = repair };

    memset(result, 0, sizeof *result);
    result->has_clusters = true;
    result->total_clusters = img_div_up(image->size, check.s->cluster_size);
    int status = start(&check);
    if (status == 0)
        status = check_all(&check);
    finish(&check);
    return status < 0 ? img_error_errno(err, -status, "Check failed") : 0;
}
