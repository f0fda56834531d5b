/* SPDX-License-Identifier: MIT */
/*
 * Compares the references counted with the stored refcounts.
 * Specification: "Host cluster management": refcount table, refcount blocks of every width.
 *
 * Each block is read once for all clusters that it counts; in blocks of the usual width many counts are compared at
 * a time.
 */
#include "check.h"
#include "../../../libimg/util/decimal.h"

#include <inttypes.h>

enum { MAX_FREED_RANGES = 1 << 20 };

/* Read the block that counts `cluster` into check->block.  Returns 0, 1 if there is none, or a negative errno. */
static int read_block(struct qcow2_check *check, uint64_t cluster)
{
    struct qcow2 *s = check->s;
    uint64_t index = cluster >> s->refblock_bits;

    if (index == check->block_index)
        return check->block_status;
    check->block_index = index;
    uint64_t offset = qcow2_refblock_at(s, index);
    if (offset == 0)
        return check->block_status = 1;
    if (img_aligned(offset, s->cluster_size))
        return check->block_status = qcow2_read(check->image, check->block, offset, s->cluster_size);
    /* Do not mark the image corrupt if it will be repaired. */
    if (!(check->repair & IMG_REPAIR_ERRORS))
        qcow2_signal_corrupt(check->image, true,
                             "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", offset, index);
    return check->block_status = -EIO;
}

int qcow2_check_stored(struct qcow2_check *check, uint64_t cluster, uint64_t *count)
{
    int status = read_block(check, cluster);

    *count = 0;
    if (status == 0)
        *count = qcow2_refcount_at(check->s, check->block, cluster & ((1ull << check->s->refblock_bits) - 1));
    return status < 0 ? status : 0;
}

/* ---- Repairing ---------------------------------------------------------------------- */

static void remember_freed(struct qcow2_check *check, uint64_t cluster)
{
    uint64_t offset = cluster << check->s->h.cluster_bits;
    size_t n = check->freed.count;

    if (n && check->freed.at[n - 1].offset + check->freed.at[n - 1].length == offset)
        check->freed.at[n - 1].length += check->s->cluster_size;
    else if (n < MAX_FREED_RANGES &&
             !IMG_VECTOR_PUSH(&check->freed, (struct qcow2_range){ offset, check->s->cluster_size }))
        return;         /* the storage keeps the room */
}

/* Store `count`; the block exists, otherwise the count could not be wrong. */
static int store(struct qcow2_check *check, uint64_t cluster, uint64_t count)
{
    struct qcow2 *s = check->s;
    uint64_t offset = s->refcount_table[cluster >> s->refblock_bits] & ~511ull;
    uint64_t index = cluster & ((1ull << s->refblock_bits) - 1);
    uint8_t *block;

    int status = qcow2_cache_get(s->refblock_cache, offset, &block);
    if (status < 0)
        return status;
    qcow2_refcount_put(s, block, index, count);
    qcow2_cache_dirty(s->refblock_cache, offset);
    qcow2_refcount_put(s, check->block, index, count);
    if (count == 0) {
        remember_freed(check, cluster);
        s->free_cluster_index = img_min(s->free_cluster_index, cluster);
    }
    return 0;
}

/* ---- Messages ----------------------------------------------------------------------- */

/*
 * After the loss of a refcount table there is one line per cluster: collect the lines, and output many at a time,
 * before any other message.
 */
enum { LINE_BYTES = 128, LINES_BYTES = 64 << 10 };

static void tell(struct qcow2_check *check)
{
    if (check->lines_length == 0)
        return;
    check->lines[check->lines_length] = '\0';
    img_notice_text(IMG_HINT, check->lines);
    check->lines_length = 0;
}

/* Inlined for the sake of the names, whose lengths are known then. */
__attribute__((always_inline))
static inline char *put_text(char *at, const char *text)
{
    size_t length = strlen(text);

    memcpy(at, text, length);
    return at + length;
}

static inline char *put_number(char *at, uint64_t value)
{
    return at + img_put_decimal(at, value);
}

/* The end of the pending lines, with space for one more; NULL: out of memory. */
static char *next_line(struct qcow2_check *check)
{
    if (!check->lines)
        check->lines = img_malloc(LINES_BYTES);
    if (check->lines_length > LINES_BYTES - LINE_BYTES)
        tell(check);
    return check->lines ? check->lines + check->lines_length : NULL;
}

static void note_difference(struct qcow2_check *check, bool fixed, uint64_t cluster, uint64_t stored, uint64_t counted)
{
    char *at = next_line(check);

    if (!at) {
        img_notice_text(IMG_NOTE, img_strerror(ENOMEM));
        return;
    }
    at = fixed ? put_text(at, "Repairing") : stored < counted ? put_text(at, "ERROR") : put_text(at, "Leaked");
    at = put_number(put_text(at, " cluster "), cluster);
    at = put_number(put_text(at, " refcount="), stored);
    at = put_number(put_text(at, " reference="), counted);
    *at++ = '\n';
    check->lines_length = (size_t)(at - check->lines);
}

/* ---- Comparing ---------------------------------------------------------------------- */

static int differ(struct qcow2_check *check, uint64_t cluster, uint64_t stored, uint64_t counted, unsigned repair)
{
    uint64_t *fixed = NULL;

    if (stored == 0)
        check->rebuild = true;
    else if (stored > counted && repair & IMG_REPAIR_LEAKS)
        fixed = &check->result->leaks_fixed;
    else if (stored < counted && repair & IMG_REPAIR_ERRORS)
        fixed = &check->result->corruptions_fixed;

    note_difference(check, fixed, cluster, stored, counted);
    if (fixed) {
        tell(check);
        if (store(check, cluster, counted) == 0) {
            ++*fixed;
            return 0;
        }
        check->result->check_errors++;
    }
    if (stored < counted)
        check->result->corruptions++;
    else
        check->result->leaks++;
    return qcow2_count_differs(&check->counts, cluster);
}

enum { PER_COMPARISON = 64 };

/* Are these two-byte stored counts equal to the one-byte counts? */
static bool are_equal(const uint8_t *block, const uint8_t *counts, uint8_t *any)
{
    uint16_t stored[PER_COMPARISON], differences = 0;
    uint8_t used = 0;

    memcpy(stored, block, sizeof stored);
    for (unsigned i = 0; i < PER_COMPARISON; i++) {
        differences |= (uint16_t)(stored[i] ^ IMG_BE16((uint16_t)counts[i]));
        used |= counts[i];
    }
    *any = used;
    return differences == 0;
}

/* Number of clusters from `cluster` on, in steps of a comparison, that are right.  `highest` as below. */
static uint64_t skip_equal(const struct qcow2_check *check, uint64_t cluster, uint64_t end, uint64_t *highest)
{
    const struct qcow2 *s = check->s;
    const uint8_t *counts = qcow2_count_bytes(&check->counts, cluster), *used_at = NULL;
    uint64_t index = cluster & ((1ull << s->refblock_bits) - 1), n = 0;
    uint64_t limit = img_min(end - cluster, QCOW2_GROUP_CLUSTERS - (cluster & (QCOW2_GROUP_CLUSTERS - 1)));
    uint8_t any;

    if (s->h.refcount_order != 4 || !counts)
        return 0;
    for (; n + PER_COMPARISON <= limit && are_equal(check->block + (index + n) * 2, counts + n, &any);
         n += PER_COMPARISON)
        if (any)
            used_at = counts + n;
    if (used_at) {
        unsigned last = PER_COMPARISON - 1;
        while (!used_at[last])
            last--;
        *highest = cluster + (uint64_t)(used_at - counts) + last;
    }
    return n;
}

/* Compare the clusters of [first, end), which one block counts.  `highest` becomes the last one in use. */
static int compare_block(struct qcow2_check *check, uint64_t first, uint64_t end, unsigned repair, uint64_t *highest)
{
    const struct qcow2 *s = check->s;
    uint64_t start = first & ~((1ull << s->refblock_bits) - 1);
    int status = read_block(check, first);

    for (uint64_t cluster = first; cluster < end; cluster++) {
        if (status == 0 && cluster % PER_COMPARISON == 0)
            cluster += skip_equal(check, cluster, end, highest);
        if (cluster == end)
            break;
        if (status < 0) {
            img_notice(IMG_NOTE, "Can't get refcount for cluster %" PRIu64 ": %s", cluster, img_strerror(status));
            check->result->check_errors++;
            int noted = qcow2_count_differs(&check->counts, cluster);
            if (noted < 0)
                return noted;
            continue;
        }
        uint64_t counted = qcow2_count_get(&check->counts, cluster);
        uint64_t stored = status == 0 ? qcow2_refcount_at(s, check->block, cluster - start) : 0;
        if (stored || counted)
            *highest = cluster;
        if (stored != counted) {
            int differs = differ(check, cluster, stored, counted, repair);
            if (differs < 0)
                return differs;
        }
    }
    return 0;
}

/* End of a run of clusters that one block counts, or that no block counts and nothing refers to. */
static uint64_t skip_unused(const struct qcow2_check *check, uint64_t cluster)
{
    const struct qcow2 *s = check->s;
    uint64_t next = cluster;

    while (next < check->clusters) {
        uint64_t index = next >> s->refblock_bits;
        if (index < s->refcount_table_size && s->refcount_table[index])
            break;
        if (qcow2_count_group(&check->counts, next))
            break;
        uint64_t group_end = (next | (QCOW2_GROUP_CLUSTERS - 1)) + 1;
        uint64_t block_end = (index + 1) << s->refblock_bits;
        next = img_min(group_end, block_end);
    }
    return next;
}

int qcow2_check_compare(struct qcow2_check *check, unsigned repair)
{
    const struct qcow2 *s = check->s;
    uint64_t highest = 0;
    int status = 0;

    for (uint64_t cluster = 0; status == 0 && cluster < check->clusters; ) {
        cluster = skip_unused(check, cluster);
        uint64_t block_end = ((cluster >> s->refblock_bits) + 1) << s->refblock_bits;
        uint64_t end = img_min(block_end, check->clusters);
        if (cluster < end)
            status = compare_block(check, cluster, end, repair, &highest);
        tell(check);
        cluster = end;
    }
    check->result->image_end_offset = (highest + 1) << s->h.cluster_bits;
    return status;
}

int qcow2_check_write_blocks(struct qcow2_check *check)
{
    int status = qcow2_cache_write(check->s->refblock_cache);

    return status < 0 ? status : qcow2_barrier(check->image);
}
