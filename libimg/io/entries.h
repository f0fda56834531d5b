/* SPDX-License-Identifier: MIT */
/*
 * entries.h - what is where, for formats whose tables have an entry for each unit (cluster, block) of the guest disk:
 * how an answer of `map` is put together from them.
 */
#ifndef IMG_ENTRIES_H
#define IMG_ENTRIES_H

#include "driver.h"

struct img_entries {
    uint64_t unit;                  /* guest bytes of an entry; a power of two */
    uint64_t span;                  /* guest bytes below a table; a power of two */
    /* Both may end with IMG_LOOK_AGAIN (waiting.h).
     * Where the table for `guest` is; 0: nowhere, and all below it is a HOLE.  NULL: there is one table, always. */
    int (*find_table)(struct img *image, uint64_t guest, uint64_t *table);
    /* What the entry for `guest` says: kind; for bytes in a file host_valid, file, recurse, and host, which is that of
     * `guest`; of a CODED unit its host and host_length.  The rest of *unit is set already, and it is a HOLE. */
    int (*look)(struct img *image, uint64_t table, uint64_t guest, struct img_extent *unit);
    /*
     * An entry of zero has nothing: that of which table (table 0: of the directory) for `guest`, and how many there are
     * without another between them, as far as that is known in one step (img_pages_zeroes); 0: the entry is none, or
     * nothing is known.  Work is bounded so by what the file holds.  NULL: each entry is looked at.
     */
    uint64_t (*count_empty)(struct img *image, uint64_t table, uint64_t guest);
};

/* The run of units that begins at `offset`, of a bounded number of entries; a CODED one is a run of its own.  An error
 * behind the first unit ends the run: it is for whoever begins there. */
int img_map_entries(struct img *image, const struct img_entries *entries, uint64_t offset, uint64_t length,
                    struct img_extent *extent);

#endif
