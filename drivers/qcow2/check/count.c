/* SPDX-License-Identifier: MIT */
/*
 * Counts references, in memory.
 *
 * The file length limits the number of clusters, and a sparse file can be absurdly long.  So a group of counts is
 * allocated at its first reference, and their memory is bounded.  Nearly all counts are small; a group is widened
 * when one of its counts needs that.
 */
#include "check.h"

/* 2^22 groups of 2^14 clusters: 32 TiB of 512 byte clusters, 4 EiB of the usual ones. */
#define MAX_GROUPS (1ull << 22)
#define MAX_MEMORY (4ull << 30)

static uint64_t count_at(const struct qcow2_count_group *group, uint64_t index)
{
    switch (group->width) {
    case 1: return ((const uint8_t *)group->counts)[index];
    case 2: return ((const uint16_t *)group->counts)[index];
    default: return ((const uint64_t *)group->counts)[index];
    }
}

static void put_count(struct qcow2_count_group *group, uint64_t index, uint64_t value)
{
    switch (group->width) {
    case 1: ((uint8_t *)group->counts)[index] = (uint8_t)value; break;
    case 2: ((uint16_t *)group->counts)[index] = (uint16_t)value; break;
    default: ((uint64_t *)group->counts)[index] = value;
    }
}

uint64_t qcow2_count_get(const struct qcow2_counts *counts, uint64_t cluster)
{
    const struct qcow2_count_group *group = qcow2_count_group(counts, cluster);

    return group ? count_at(group, cluster & (QCOW2_GROUP_CLUSTERS - 1)) : 0;
}

static int need_groups(struct qcow2_counts *counts, uint64_t needed)
{
    if (needed <= counts->group_count)
        return 0;
    if (needed > MAX_GROUPS)
        return -EFBIG;
    size_t more = (size_t)img_min(img_max(needed, counts->group_count * 2), MAX_GROUPS);
    struct qcow2_count_group *groups = realloc(counts->groups, more * sizeof *groups);
    if (!groups)
        return -ENOMEM;
    memset(groups + counts->group_count, 0, (more - counts->group_count) * sizeof *groups);
    counts->groups = groups;
    counts->group_count = more;
    return 0;
}

/* Widen the counts of the group to `width` bytes, keeping their values. */
static int widen(struct qcow2_counts *counts, struct qcow2_count_group *group, uint8_t width)
{
    struct qcow2_count_group wider = { .width = width, .differs = group->differs };
    uint64_t size = (uint64_t)QCOW2_GROUP_CLUSTERS * width;

    if (counts->memory + size > MAX_MEMORY || !(wider.counts = calloc(QCOW2_GROUP_CLUSTERS, width)))
        return -ENOMEM;
    counts->memory += size;
    if (group->counts) {
        for (uint64_t i = 0; i < QCOW2_GROUP_CLUSTERS; i++)
            put_count(&wider, i, count_at(group, i));
        counts->memory -= (uint64_t)QCOW2_GROUP_CLUSTERS * group->width;
        free(group->counts);
    }
    *group = wider;
    return 0;
}

int qcow2_count_set(struct qcow2_counts *counts, uint64_t cluster, uint64_t value)
{
    uint64_t index = cluster >> QCOW2_GROUP_BITS;
    uint8_t width = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : 8;

    int status = need_groups(counts, index + 1);
    if (status < 0)
        return status;
    struct qcow2_count_group *group = &counts->groups[index];
    if ((!group->counts || group->width < width) && (status = widen(counts, group, width)) < 0)
        return status;
    put_count(group, cluster & (QCOW2_GROUP_CLUSTERS - 1), value);
    return 0;
}

int qcow2_count_differs(struct qcow2_counts *counts, uint64_t cluster)
{
    uint64_t index = cluster >> QCOW2_GROUP_BITS;

    int status = need_groups(counts, index + 1);
    if (status == 0)
        counts->groups[index].differs = true;
    return status;
}

uint64_t qcow2_count_free_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit)
{
    uint64_t run = 0;

    while (run < limit && !qcow2_count_get(counts, cluster + run)) {
        uint64_t at = cluster + run;
        run += qcow2_count_group(counts, at) ? 1 : QCOW2_GROUP_CLUSTERS - (at & (QCOW2_GROUP_CLUSTERS - 1));
    }
    return img_min(run, limit);
}

/* Compare eight counts at a time, while none of them is 0. */
static uint64_t used_words(const uint8_t *bytes, uint64_t limit)
{
    uint64_t run = 0;

    for (; run + 8 <= limit; run += 8) {
        uint64_t word;
        memcpy(&word, bytes + run, sizeof word);
        if ((word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull)
            break;
    }
    return run;
}

uint64_t qcow2_count_used_run(const struct qcow2_counts *counts, uint64_t cluster, uint64_t limit)
{
    uint64_t run = 0;

    while (run < limit) {
        uint64_t at = cluster + run, here = QCOW2_GROUP_CLUSTERS - (at & (QCOW2_GROUP_CLUSTERS - 1));
        const uint8_t *bytes = qcow2_count_bytes(counts, at);
        if (bytes)
            run += used_words(bytes, img_min(here, limit - run));
        if (run == limit || !qcow2_count_get(counts, cluster + run))
            break;
        run++;
    }
    return run;
}

void qcow2_counts_free(struct qcow2_counts *counts)
{
    for (size_t i = 0; i < counts->group_count; i++)
        free(counts->groups[i].counts);
    free(counts->groups);
    *counts = (struct qcow2_counts){ 0 };
}
