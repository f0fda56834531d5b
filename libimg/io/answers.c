/* SPDX-License-Identifier: MIT */
/*
 * answers.c - keeps the extents of a storage in a ring, where a new one replaces the oldest.  There are few, so a
 * linear search costs nothing compared with a round trip.
 */
#include "answers.h"
#include "util/checked.h"
#include "util/cleanup.h"

static bool covers(const struct img_extent *kept, uint64_t offset)
{
    return kept->length > 0 && offset >= kept->offset && offset - kept->offset < kept->length;
}

bool img_answers_find(struct img *image, uint64_t offset, uint64_t end, struct img_extent *extent, unsigned *generation)
{
    struct img_answers *answers = &img_node_of(image)->answers;

    LOCK_SCOPE(&answers->lock);
    *generation = answers->generation;
    for (unsigned i = 0; i < IMG_ANSWERS; i++) {
        const struct img_extent *kept = &answers->kept[i];
        if (!covers(kept, offset))
            continue;
        *extent = *kept;
        img_extent_skip(extent, offset);
        extent->length = img_min(extent->length, end - offset);
        return true;
    }
    return false;
}

/* Who shares the image with writers (IMG_SHARE) wants to see what they write into a hole; for others it may stay one as
 * long as its answer is kept.  Data that became a hole still reads the same. */
static bool stays(const struct img *image, const struct img_extent *extent)
{
    return extent->kind == IMG_DATA || !(image->flags & IMG_SHARE);
}

void img_answers_keep(struct img *image, const struct img_extent *extent, unsigned generation)
{
    struct img_answers *answers = &img_node_of(image)->answers;

    LOCK_SCOPE(&answers->lock);
    if (generation != answers->generation || !stays(image, extent))
        return;
    answers->kept[answers->next] = *extent;
    answers->next = (answers->next + 1) % IMG_ANSWERS;
}

void img_answers_forget(struct img *image, uint64_t offset, uint64_t length)
{
    struct img_answers *answers = &img_node_of(image)->answers;

    LOCK_SCOPE(&answers->lock);
    answers->generation++;
    for (unsigned i = 0; i < IMG_ANSWERS; i++) {
        struct img_extent *kept = &answers->kept[i];
        if (kept->offset < offset + length && offset < kept->offset + kept->length)
            kept->length = 0;
    }
}
