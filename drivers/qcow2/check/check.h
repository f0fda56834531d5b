/* SPDX-License-Identifier: MIT */
/*
 * check.h - shared by the files of the consistency check of a qcow2 image.
 *
 *   check.c      the order of the steps, and the result
 *   count.c      counts references, in memory
 *   tables.c     what refers to clusters: L1 tables, snapshots, refcount structures
 *   l2.c         L2 tables and their entries
 *   bitmaps.c    stored bitmaps: counts and repairs them
 *   snapshots.c  the snapshot table: reads, checks and rewrites it as a whole
 *   refcount.c   compares references counted with stored refcounts
 *   copied.c     the "refcount is exactly one" bit of L1 and L2 entries
 *   repair.c     rebuilds the refcount structures
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include "../qcow2.h"

/*
 * References to each host cluster.  Clusters are grouped; a group without references uses no memory, and one with
 * small counts a byte per cluster.
 */
enum { QCOW2_GROUP_BITS = 14, QCOW2_GROUP_CLUSTERS = 1 << QCOW2_GROUP_BITS };

struct qcow2_count_group {
    void *counts;                   /* NULL: all zero */
    uint8_t width;                  /* bytes per count: 1, 2 or 8 */
    bool differs;                   /* some stored refcount differs from the counted one */
};

struct qcow2_counts {
    struct qcow2_count_group *groups;
    size_t group_count;
    uint64_t memory;                /* bytes used by groups */
};

struct qcow2_check {
    struct img *image;
    struct qcow2 *s;
    struct img_check *result;
    unsigned repair;
    uint64_t file_size;             /* rounded up to sectors, to decide what lies beyond the end */
    uint64_t exact_size;            /* not rounded up */
    uint64_t clusters;              /* number of clusters to compare: those of the file, also after extending it */
    struct qcow2_counts counts;
    bool rebuild;                   /* the refcount structures cannot be repaired in place */
    bool plain;                     /* all active entries so far are COPIED, no cluster is used twice */
    uint64_t cut_coded;             /* the compressed cluster in which the file ends; 0: none was looked at */
    bool cut_decodable;
    bool told_old_zero;             /* advice was given */
    bool tables_changed;            /* L2 entries were repaired on disk */

    IMG_VECTOR(struct qcow2_range) outside; /* references beyond the end of the file, which a rebuild must not reuse */

    uint64_t snapshot_bytes;        /* length of the snapshot table on disk */
    bool snapshots_counted;         /* references to its clusters are counted */
    uint64_t snapshot_faults;       /* errors that rewriting the snapshot table fixes */

    IMG_VECTOR(size_t) lost_bitmaps;        /* bitmaps whose tables lie beyond the end of the file */

    uint8_t *block;                 /* a refcount block, one cluster */
    uint64_t block_index;           /* index of that block; UINT64_MAX: none */
    int block_status;               /* result of reading it; 1: no such block */
    IMG_VECTOR(struct qcow2_range) freed;  /* to discard in the storage at the end */

    char *lines;                    /* pending refcount messages (refcount.c); free() */
    size_t lines_length;
};

/* count.c */
/* Set a count.  -EFBIG (file of absurd length) or -ENOMEM. */
int qcow2_count_set(struct qcow2_counts *counts, uint64_t cluster, uint64_t value);
uint64_t qcow2_count_get(const struct qcow2_counts *counts, uint64_t cluster);
/* Group of a cluster; NULL if no cluster of it was counted. */
static inline struct qcow2_count_group *qcow2_count_group(const struct qcow2_counts *counts, uint64_t cluster)
{
    uint64_t index = cluster >> QCOW2_GROUP_BITS;

    return index < counts->group_count && counts->groups[index].counts ? &counts->groups[index] : NULL;
}
/* The counts of a group from this cluster on, if they are bytes; otherwise NULL. */
static inline uint8_t *qcow2_count_bytes(const struct qcow2_counts *counts, uint64_t cluster)
{
    const struct qcow2_count_group *group = qcow2_count_group(counts, cluster);

    return group && group->width == 1 ? (uint8_t *)group->counts + (cluster & (QCOW2_GROUP_CLUSTERS - 1)) : NULL;
}
/* Record that a stored refcount in this group differs from the counted one. */
int qcow2_count_differs(struct qcow2_counts *counts, uint64_t cluster);
/* Length of the run of counts in [cluster, +limit) that are 0 / not 0. */
uint64_t qcow2_count_free_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit);
uint64_t qcow2_count_used_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit);
void qcow2_counts_free(struct qcow2_counts *counts);

/* tables.c */
/* Does the range exceed a file of this length, by more than the rest of a truncated last cluster? */
bool qcow2_check_exceeds(const struct qcow2_check *check, uint64_t offset, uint64_t length, uint64_t file_size);
/* Count one more reference to each cluster of [offset, offset+length). */
int qcow2_check_refer(struct qcow2_check *check, uint64_t offset, uint64_t length);
/* Count all references of the image. */
int qcow2_check_references(struct qcow2_check *check);

/* l2.c */
enum qcow2_entry_kind { QCOW2_ENTRY_NONE, QCOW2_ENTRY_ZERO, QCOW2_ENTRY_ZERO_ALLOCATED, QCOW2_ENTRY_DATA,
                        QCOW2_ENTRY_COMPRESSED };
enum qcow2_entry_kind qcow2_entry_kind(const struct img *image, uint64_t entry);
/* Reads the L2 tables of an L1 table, several ahead. */
struct qcow2_table_reader {
    struct img *image;
    const uint64_t *l1;
    uint32_t l1_size;
    uint32_t first, count, capacity;    /* L1 entries whose tables are in memory */
    uint64_t last;                      /* place of the table that was read last; 0: none was */
    uint32_t last_slot;                 /* where in `tables` it is */
    uint8_t *tables;
    int *status;                    /* result of reading each */
};
int qcow2_reader_start(struct qcow2_table_reader *reader, struct img *image, const uint64_t *l1, uint32_t size);
/* Get the table of L1 entry `index`, which must not be 0; indexes must ascend.  Valid until the next call. */
int qcow2_reader_table(struct qcow2_table_reader *reader, uint32_t index, uint8_t **table);
/* Forget the tables read ahead: one was changed on disk. */
void qcow2_reader_stale(struct qcow2_table_reader *reader);
void qcow2_reader_end(struct qcow2_table_reader *reader);
enum { QCOW2_EMPTY_STEP = 64 };     /* entries; so often a run of empty ones is looked for */
/* How many entries of zero begin here. */
uint32_t qcow2_empty_run(const struct qcow2 *s, const uint8_t *table, uint32_t index);
/* How many entries of zero to pass over at this one, in one step: a table may be there a million times, and hardly hold
 * a thing.  They are not always looked for. */
static inline uint32_t qcow2_empty_entries(const struct qcow2 *s, const uint8_t *table, uint32_t index)
{
    bool look = index % QCOW2_EMPTY_STEP == 0 && img_get_be64(table + (size_t)index * s->l2_entry_size) == 0;

    return look ? qcow2_empty_run(s, table, index) : 0;
}
/* Count what the L2 table that was read from `offset` refers to, and judge its entries. */
/* Count an error if the file ends inside a table or a cluster where no writer ends it. */
void qcow2_check_end(struct qcow2_check *check, uint64_t host, uint64_t length, bool coded);
int qcow2_check_l2(struct qcow2_check *check, uint64_t offset, uint8_t *table, bool active);

/* bitmaps.c */
int qcow2_check_bitmaps(struct qcow2_check *check);
/* Write new tables for lost_bitmaps, once the refcounts are right. */
int qcow2_mend_bitmaps(struct qcow2_check *check);

/* snapshots.c */
int qcow2_check_snapshot_table(struct qcow2_check *check);
int qcow2_mend_snapshot_table(struct qcow2_check *check);

/* refcount.c */
/* The stored refcount of a cluster. */
int qcow2_check_stored(struct qcow2_check *check, uint64_t cluster, uint64_t *count);
/* Compare all refcounts; fix those that `repair` allows, and note whether the structures must be rebuilt. */
int qcow2_check_compare(struct qcow2_check *check, unsigned repair);
/* Write changed refcount blocks. */
int qcow2_check_write_blocks(struct qcow2_check *check);

/* copied.c */
int qcow2_check_copied(struct qcow2_check *check);

/* repair.c */
/* Write new refcount blocks and a new table to free space, from the counts; then switch the header to them. */
int qcow2_rebuild_refcounts(struct qcow2_check *check);

#endif
