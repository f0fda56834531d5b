/* SPDX-License-Identifier: MIT */
/*
 * check.h - shared by the files of the consistency check of a qcow2 image.
 *
 *   check.c            the order of things, and the result
 *   check-count.c      references counted, in memory
 *   check-tables.c     what refers to clusters: L1 tables, snapshots, refcount structures
 *   check-l2.c         L2 tables and their entries
 *   check-bitmaps.c    stored bitmaps, counted and mended
 *   check-snapshots.c  the snapshot table, which is read, judged and rewritten as a whole
 *   check-refcount.c   references counted against reference counts stored
 *   check-copied.c     the "refcount is exactly one" bit of L1 and L2 entries
 *   repair.c           refcount structures made anew
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include "../qcow2.h"
#include "../../../libimg/util/strbuf.h"

/*
 * References to each host cluster.  Clusters come in groups; a group without a
 * reference takes no memory, one with small counts a byte a cluster.
 */
enum { QCOW2_GROUP_BITS = 14, QCOW2_GROUP_CLUSTERS = 1 << QCOW2_GROUP_BITS };

struct qcow2_count_group {
    void *counts;                   /* NULL: all zero */
    uint8_t width;                  /* bytes a count: 1, 2 or 8 */
    bool differs;                   /* some stored count is not the same as the counted one */
};

struct qcow2_counts {
    struct qcow2_count_group *groups;
    size_t group_count;
    uint64_t memory;                /* bytes in groups */
};

struct qcow2_check {
    struct img *image;
    struct qcow2 *s;
    struct img_check *result;
    unsigned repair;
    uint64_t file_size;             /* in whole sectors, as what is behind the end is judged by it */
    uint64_t clusters;              /* that the file has or is made to have: what is compared */
    struct qcow2_counts counts;
    bool rebuild;                   /* the refcount structures cannot be mended where they are */
    bool plain;                     /* all active entries seen so far have their COPIED bit, and no cluster two uses */
    bool tables_changed;            /* L2 entries were mended on disk */

    IMG_VECTOR(struct qcow2_range) outside; /* what a rebuild keeps away from: references beyond the end of the file */

    uint64_t snapshot_bytes;        /* length of the snapshot table as it is stored */
    bool snapshots_counted;         /* references to its clusters are */
    uint64_t snapshot_faults;       /* what a rewritten snapshot table mends */

    IMG_VECTOR(size_t) lost_bitmaps;        /* those whose tables lie beyond the end of the file */

    uint8_t *block;                 /* a refcount block, one cluster */
    uint64_t block_index;           /* which one; UINT64_MAX: none */
    int block_status;               /* what reading it gave; 1: there is none */
    IMG_VECTOR(struct qcow2_range) freed;  /* given back to the storage in the end */

    struct img_strbuf lines;        /* findings about counts that are still to be told, without the last newline */
};

/* check-count.c */
/* Counting fails with -EFBIG (file of absurd length) or -ENOMEM. */
int qcow2_count_set(struct qcow2_counts *counts, uint64_t cluster, uint64_t value);
uint64_t qcow2_count_get(const struct qcow2_counts *counts, uint64_t cluster);
/* Group of a cluster; NULL when none of its clusters was counted. */
static inline struct qcow2_count_group *qcow2_count_group(const struct qcow2_counts *counts, uint64_t cluster)
{
    uint64_t index = cluster >> QCOW2_GROUP_BITS;

    return index < counts->group_count && counts->groups[index].counts ? &counts->groups[index] : NULL;
}
/* The counts of its whole group from this cluster on, where they take a byte each; NULL otherwise. */
static inline uint8_t *qcow2_count_bytes(const struct qcow2_counts *counts, uint64_t cluster)
{
    const struct qcow2_count_group *group = qcow2_count_group(counts, cluster);

    return group && group->width == 1 ? (uint8_t *)group->counts + (cluster & (QCOW2_GROUP_CLUSTERS - 1)) : NULL;
}
/* Remember that some stored count of this group is not the one counted. */
int qcow2_count_differs(struct qcow2_counts *counts, uint64_t cluster);
/* How many of the counts of [cluster, +limit) follow each other that are 0 / are not 0. */
uint64_t qcow2_count_free_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit);
uint64_t qcow2_count_used_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit);
void qcow2_counts_free(struct qcow2_counts *counts);

/* check-tables.c */
/* Does the range go beyond a file of this length, by more than the rest of a last cluster cut short? */
bool qcow2_check_exceeds(const struct qcow2_check *check, uint64_t offset, uint64_t length, uint64_t file_size);
/* One more reference to each cluster of [offset, offset+length). */
int qcow2_check_refer(struct qcow2_check *check, uint64_t offset, uint64_t length);
/* Count all references of the image. */
int qcow2_check_references(struct qcow2_check *check);

/* check-l2.c */
enum qcow2_entry_kind { QCOW2_ENTRY_NONE, QCOW2_ENTRY_ZERO, QCOW2_ENTRY_ZERO_ALLOCATED, QCOW2_ENTRY_DATA,
                        QCOW2_ENTRY_COMPRESSED };
enum qcow2_entry_kind qcow2_entry_kind(const struct img *image, uint64_t entry);
/* The L2 tables of an L1 table, read some ahead. */
struct qcow2_table_reader {
    struct img *image;
    const uint64_t *l1;
    uint32_t l1_size;
    uint32_t first, count, capacity;    /* L1 entries whose tables are in memory */
    uint64_t last;                      /* place of the table that was read last; 0: none was */
    uint32_t last_slot;                 /* where in `tables` it is */
    uint8_t *tables;
    int *status;                    /* what reading each of them gave */
};
int qcow2_reader_start(struct qcow2_table_reader *reader, struct img *image, const uint64_t *l1, uint32_t size);
/* The table of L1 entry `index`, which is not 0; calls go upwards. Good until the next call. */
int qcow2_reader_table(struct qcow2_table_reader *reader, uint32_t index, uint8_t **table);
/* Forget what was read ahead: some table was changed on disk. */
void qcow2_reader_stale(struct qcow2_table_reader *reader);
void qcow2_reader_end(struct qcow2_table_reader *reader);
/* How many entries of zero to pass over at this one, in one step: a table may be there a million times, and hardly hold
 * a thing.  They are not always looked for. */
uint32_t qcow2_empty_entries(const struct qcow2 *s, const uint8_t *table, uint32_t index);
/* Count what the L2 table that was read from `offset` refers to, and judge its entries. */
int qcow2_check_l2(struct qcow2_check *check, uint64_t offset, uint8_t *table, bool active);

/* check-bitmaps.c */
int qcow2_check_bitmaps(struct qcow2_check *check);
/* New tables for lost_bitmaps, once the counts are right. */
int qcow2_mend_bitmaps(struct qcow2_check *check);

/* check-snapshots.c */
int qcow2_check_snapshot_table(struct qcow2_check *check);
int qcow2_mend_snapshot_table(struct qcow2_check *check);

/* check-refcount.c */
/* The count of a cluster as it is stored. */
int qcow2_check_stored(struct qcow2_check *check, uint64_t cluster, uint64_t *count);
/* Compare all counts; mends what `repair` says and notes whether the structures must be rebuilt. */
int qcow2_check_compare(struct qcow2_check *check, unsigned repair);
/* Write changed refcount blocks. */
int qcow2_check_write_blocks(struct qcow2_check *check);

/* check-copied.c */
int qcow2_check_copied(struct qcow2_check *check);

/* repair.c */
/* New refcount blocks and a new table in free space, from the counts; then the header is switched to them. */
int qcow2_rebuild_refcounts(struct qcow2_check *check);

#endif
