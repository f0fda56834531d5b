/* SPDX-License-Identifier: MIT */
/*
 * entries.h - builds a `map` answer, for formats whose tables have one entry for each unit (cluster, block) of the
 * guest disk.
 */
#ifndef IMG_ENTRIES_H
#define IMG_ENTRIES_H

#include "driver.h"

struct img_entries {
    uint64_t unit;                  /* guest bytes per entry; a power of two */
    uint64_t span;                  /* guest bytes per table; a power of two */
    /* Both may return IMG_LOOK_AGAIN (waiting.h).
     * Find the table for `guest`; 0: there is none, and its whole range is a HOLE.  NULL: there is only one table. */
    int (*find_table)(struct img *image, uint64_t guest, uint64_t *table);
    /* Decode the entry for `guest`: set kind; for bytes in a file also host_valid, file, recurse and host (the offset
     * of `guest`); for a CODED unit host and host_length.  The rest of *unit is already set, and its kind is HOLE. */
    int (*look)(struct img *image, uint64_t table, uint64_t guest, struct img_extent *unit);
    /*
     * An entry of zero has nothing: that of which table (table 0: of the directory) for `guest`, and how many there are
     * without another between them, as far as that is known in one step (img_pages_zeroes); 0: the entry is none, or
     * nothing is known.  Work is bounded so by what the file holds.  NULL: each entry is looked at.
     */
    uint64_t (*count_empty)(struct img *image, uint64_t table, uint64_t guest);
};

/* Map a run of units from `offset`, looking at a bounded number of entries.  A CODED unit is a run by itself.  An error
 * after the first unit ends the run: the next call reports it. */
int img_map_entries(struct img *image, const struct img_entries *entries, uint64_t offset, uint64_t length,
                    struct img_extent *extent);

#endif
