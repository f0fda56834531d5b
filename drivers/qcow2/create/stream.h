/* SPDX-License-Identifier: MIT */
/*
 * stream.h - an image that is written from front to back (stream.c), and the plan of it (stream-plan.c).
 *
 * The file:  header | refcount table | refcount blocks | L1 table | L2 tables | data.  All before the data follows from
 * the plan: which units of the guest disk are data, and how long each compressed cluster is.
 */
#ifndef QCOW2_STREAM_H
#define QCOW2_STREAM_H

#include "../qcow2.h"

/* The clusters that one L2 table maps; only where there are any. */
struct qcow2_plan_table {
    uint32_t *coded;                /* length of each cluster that is CODED; NULL: nothing is compressed */
    uint8_t kinds[];                /* enum img_extent_kind of each unit, two bits */
};

struct qcow2_plan {
    const struct qcow2 *s;
    bool coded;                     /* clusters come compressed: a unit is a cluster, else a subcluster */
    uint64_t size;                  /* of the guest disk */
    unsigned units;                 /* of a cluster */
    uint64_t table_units;           /* units of a table */
    struct qcow2_plan_table **tables;   /* by index in the L1 table, NULL: holes */
    uint64_t table_count, used_tables;
};

/* qcow2_plan_free also after an error. */
int qcow2_plan_init(struct qcow2_plan *plan, const struct qcow2 *s, uint64_t size, bool coded);
void qcow2_plan_free(struct qcow2_plan *plan);
/* The units from guest `offset` on are of this kind; CODED: one cluster. */
int qcow2_plan_set(struct qcow2_plan *plan, uint64_t offset, uint64_t length, enum img_extent_kind kind, size_t coded);
enum img_extent_kind qcow2_plan_kind(const struct qcow2_plan *plan, uint64_t unit);
/* The length of a CODED cluster. */
uint32_t qcow2_plan_coded(const struct qcow2_plan *plan, uint64_t cluster);
/* Bitmap of an L2 entry with subclusters: those that are DATA in the low half, ZERO in the high one. */
uint64_t qcow2_plan_bitmap(const struct qcow2_plan *plan, uint64_t cluster);
/* The kind of a whole cluster: DATA where any unit is, else ZERO where any is. */
enum img_extent_kind qcow2_plan_cluster(const struct qcow2_plan *plan, uint64_t cluster);

/* Where the clusters of one piece of the guest disk go, in the order of the file. */
struct qcow2_place { uint64_t cluster, host; uint32_t coded; /* 0: a whole cluster */ };
struct qcow2_placer {
    const struct qcow2_plan *plan;
    uint64_t host;                  /* behind the last one */
    uint64_t uses;                  /* compressed clusters in the host cluster that it lies in */
    struct qcow2_place *at;         /* the last piece */
    size_t count;
};
/* From host offset `host` on, which is that of a cluster. */
int qcow2_placer_init(struct qcow2_placer *placer, const struct qcow2_plan *plan, uint64_t host);
void qcow2_placer_free(struct qcow2_placer *placer);
/* Clusters of a piece (qcow2_piece_clusters, or those up to the end of the disk). */
uint64_t qcow2_piece_clusters(const struct qcow2_plan *plan);
/* Place the piece that begins at this cluster.  Pieces are placed in order; those without any data may be left out. */
void qcow2_place_piece(struct qcow2_placer *placer, uint64_t first);

#endif
