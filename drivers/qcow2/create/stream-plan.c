/* SPDX-License-Identifier: MIT */
/*
 * The plan of a stream: two bits per unit and, if compressed, four bytes per cluster; and the placement of clusters.
 * Specification: "Cluster mapping", "Compressed Clusters Descriptor".
 */
#include "stream.h"
#include <stdlib.h>

/* ---- The plan ----------------------------------------------------------------------- */

int qcow2_plan_init(struct qcow2_plan *plan, const struct qcow2 *s, uint64_t size, bool coded)
{
    *plan = (struct qcow2_plan){ .s = s, .coded = coded, .size = size, .units = coded ? 1 : s->subclusters };
    plan->table_units = (uint64_t)plan->units << s->l2_bits;
    plan->table_count = qcow2_l1_entries(s, size);
    plan->tables = calloc(plan->table_count + 1, sizeof(void *));
    return plan->tables ? 0 : -ENOMEM;
}

void qcow2_plan_free(struct qcow2_plan *plan)
{
    for (uint64_t i = 0; plan->tables && i < plan->table_count; i++) {
        if (plan->tables[i])
            free(plan->tables[i]->coded);
        free(plan->tables[i]);
    }
    free(plan->tables);
    plan->tables = NULL;
}

static struct qcow2_plan_table *table_for(struct qcow2_plan *plan, uint64_t unit)
{
    struct qcow2_plan_table **table = &plan->tables[unit / plan->table_units];

    if (*table)
        return *table;
    *table = calloc(1, sizeof **table + (size_t)img_div_up(plan->table_units, 4));
    if (!*table)
        return NULL;
    if (plan->coded && !((*table)->coded = calloc(plan->table_units, sizeof *(*table)->coded))) {
        free(*table);
        *table = NULL;
        return NULL;
    }
    plan->used_tables++;
    return *table;
}

int qcow2_plan_set(struct qcow2_plan *plan, uint64_t offset, uint64_t length, enum img_extent_kind kind, size_t coded)
{
    uint64_t unit_size = plan->s->cluster_size / plan->units;
    uint64_t unit = offset / unit_size, end = img_div_up(offset + length, unit_size);

    if (kind == IMG_HOLE)
        return 0;
    for (; unit < end; unit++) {
        struct qcow2_plan_table *table = table_for(plan, unit);
        uint64_t index = unit % plan->table_units;
        if (!table)
            return -ENOMEM;
        table->kinds[index / 4] = (uint8_t)(table->kinds[index / 4] | kind << index % 4 * 2);
        if (kind == IMG_CODED)
            table->coded[index] = (uint32_t)coded;
    }
    return 0;
}

enum img_extent_kind qcow2_plan_kind(const struct qcow2_plan *plan, uint64_t unit)
{
    const struct qcow2_plan_table *table = plan->tables[unit / plan->table_units];
    uint64_t index = unit % plan->table_units;

    return table ? table->kinds[index / 4] >> index % 4 * 2 & 3 : IMG_HOLE;
}

uint32_t qcow2_plan_coded(const struct qcow2_plan *plan, uint64_t cluster)
{
    return plan->tables[cluster / plan->table_units]->coded[cluster % plan->table_units];
}

uint64_t qcow2_plan_bitmap(const struct qcow2_plan *plan, uint64_t cluster)
{
    uint64_t bitmap = 0;

    for (unsigned i = 0; i < plan->units; i++) {
        enum img_extent_kind kind = qcow2_plan_kind(plan, cluster * plan->units + i);
        bitmap |= kind == IMG_DATA ? 1ull << i : kind == IMG_ZERO ? 1ull << (32 + i) : 0;
    }
    return bitmap;
}

enum img_extent_kind qcow2_plan_cluster(const struct qcow2_plan *plan, uint64_t cluster)
{
    enum img_extent_kind kind = IMG_HOLE;

    for (unsigned i = 0; i < plan->units && kind != IMG_DATA; i++) {
        enum img_extent_kind unit = qcow2_plan_kind(plan, cluster * plan->units + i);
        if (unit != IMG_HOLE)
            kind = unit;
    }
    return kind;
}

/* ---- The places --------------------------------------------------------------------------- */

uint64_t qcow2_piece_clusters(const struct qcow2_plan *plan)
{
    return img_max((plan->coded ? IMG_STREAM_CODED_PIECE : IMG_STREAM_PIECE) >> plan->s->h.cluster_bits, 1);
}

int qcow2_placer_init(struct qcow2_placer *placer, const struct qcow2_plan *plan, uint64_t host)
{
    *placer = (struct qcow2_placer){ .plan = plan, .host = host };
    placer->at = calloc(qcow2_piece_clusters(plan), sizeof *placer->at);
    return placer->at ? 0 : -ENOMEM;
}

void qcow2_placer_free(struct qcow2_placer *placer)
{
    free(placer->at);
    placer->at = NULL;
}

static void place_whole(struct qcow2_placer *placer, uint64_t cluster)
{
    uint64_t host = img_align_up(placer->host, placer->plan->s->cluster_size);

    placer->at[placer->count++] = (struct qcow2_place){ .cluster = cluster, .host = host };
    placer->host = host + placer->plan->s->cluster_size;
}

/* Place it directly after the previous one, as long as the refcount of their shared host cluster allows it. */
static void place_coded(struct qcow2_placer *placer, uint64_t cluster)
{
    const struct qcow2 *s = placer->plan->s;
    uint32_t length = qcow2_plan_coded(placer->plan, cluster);

    if (placer->uses >= s->refcount_max)
        placer->host = img_align_up(placer->host, s->cluster_size);
    if (img_aligned(placer->host, s->cluster_size))
        placer->uses = 0;
    placer->at[placer->count++] = (struct qcow2_place){ .cluster = cluster, .host = placer->host, .coded = length };
    uint64_t last = placer->host + length - 1;
    placer->uses = last >> s->h.cluster_bits == placer->host >> s->h.cluster_bits ? placer->uses + 1 : 1;
    placer->host = last + 1;
}

/*
 * Compressed and uncompressed clusters are grouped: between the two, the rest of a host cluster is lost.  A piece
 * begins with the kind that avoids this gap.
 */
void qcow2_place_piece(struct qcow2_placer *placer, uint64_t first)
{
    const struct qcow2_plan *plan = placer->plan;
    uint64_t clusters = img_div_up(plan->size, plan->s->cluster_size);
    uint64_t end = img_min(first + qcow2_piece_clusters(plan), clusters);
    bool whole = img_aligned(placer->host, plan->s->cluster_size);

    placer->count = 0;
    for (int turn = 0; turn < 2; turn++, whole = !whole) {
        for (uint64_t cluster = first; cluster < end; cluster++) {
            enum img_extent_kind kind = qcow2_plan_cluster(plan, cluster);
            if (kind == IMG_DATA && whole)
                place_whole(placer, cluster);
            else if (kind == IMG_CODED && !whole)
                place_coded(placer, cluster);
        }
    }
}
