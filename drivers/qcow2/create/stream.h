/* SPDX-License-Identifier: MIT */
/*
 * stream.h - writes an image from front to back (stream.c), by a plan (stream-plan.c).
 *
 * Layout of the file:  header | refcount table | refcount blocks | L1 table | L2 tables | data.  Everything before
 * the data follows from the plan: which units of the guest disk are data, and the length of each compressed cluster.
 */
#ifndef QCOW2_STREAM_H
#define QCOW2_STREAM_H

#include "../qcow2.h"

/* The clusters that one L2 table maps; only if there are any. */
struct qcow2_plan_table {
    uint32_t *coded;                /* length of each CODED cluster; NULL: none is compressed */
    uint8_t kinds[];                /* enum img_extent_kind of each unit, two bits each */
};

struct qcow2_plan {
    const struct qcow2 *s;
    bool coded;                     /* clusters are compressed: a unit is a cluster, otherwise a subcluster */
    uint64_t size;                  /* of the guest disk */
    unsigned units;                 /* units per cluster */
    uint64_t table_units;           /* units per table */
    struct qcow2_plan_table **tables;   /* by index in the L1 table; NULL: holes */
    uint64_t table_count, used_tables;
};

/* Call qcow2_plan_free after an error, too. */
int qcow2_plan_init(struct qcow2_plan *plan, const struct qcow2 *s, uint64_t size, bool coded);
void qcow2_plan_free(struct qcow2_plan *plan);
/* Set the kind of the units from guest `offset` on; CODED: of one cluster. */
int qcow2_plan_set(struct qcow2_plan *plan, uint64_t offset, uint64_t length, enum img_extent_kind kind, size_t coded);
enum img_extent_kind qcow2_plan_kind(const struct qcow2_plan *plan, uint64_t unit);
/* Length of a CODED cluster. */
uint32_t qcow2_plan_coded(const struct qcow2_plan *plan, uint64_t cluster);
/* Bitmap of an L2 entry with subclusters: DATA in the low half, ZERO in the high one. */
uint64_t qcow2_plan_bitmap(const struct qcow2_plan *plan, uint64_t cluster);
/* The kind of a whole cluster: DATA if any unit is, else ZERO if any is. */
enum img_extent_kind qcow2_plan_cluster(const struct qcow2_plan *plan, uint64_t cluster);

/* Places of the clusters in one piece of the guest disk, in file order. */
struct qcow2_place { uint64_t cluster, host; uint32_t coded; /* 0: a whole cluster */ };
struct qcow2_placer {
    const struct qcow2_plan *plan;
    uint64_t host;                  /* end of the last one */
    uint64_t uses;                  /* number of compressed clusters in its host cluster */
    struct qcow2_place *at;         /* the last piece */
    size_t count;
};
/* Start at `host`, the offset of a cluster. */
int qcow2_placer_init(struct qcow2_placer *placer, const struct qcow2_plan *plan, uint64_t host);
void qcow2_placer_free(struct qcow2_placer *placer);
/* Number of clusters in a piece (qcow2_piece_clusters, or fewer at the end of the disk). */
uint64_t qcow2_piece_clusters(const struct qcow2_plan *plan);
/* Place the piece that begins at this cluster.  Pieces must be placed in order; pieces without data may be skipped. */
void qcow2_place_piece(struct qcow2_placer *placer, uint64_t first);

#endif
