/* SPDX-License-Identifier: MIT */
/*
 * Computes the size of a qcow2 image.
 * Specification: "Cluster mapping", "Host cluster management", "Bitmaps extension".
 */
#include "../qcow2.h"

#include <string.h>

enum { SECTOR = 512, L1_ENTRY = 8, TABLE_ENTRY = 8 };

struct plan {
    uint64_t cluster_size;
    unsigned entry_size;            /* of an L2 table */
    unsigned refcount_bits;
    unsigned version;
    enum qcow2_preallocation preallocation;
    uint64_t crypto_size;           /* LUKS header, in whole clusters */
};

/* ---- Options ------------------------------------------------------------------------ */

static int plan_clusters(const struct qcow2_create_options *given, struct plan *plan, struct img_error *err)
{
    plan->entry_size = given->extended_l2 == 1 ? 16 : 8;
    return qcow2_cluster_size_of(given, &plan->cluster_size, err);
}

static int plan_refcounts(const struct qcow2_create_options *given, struct plan *plan, struct img_error *err)
{
    int64_t bits = given->refcount_bits;

    plan->version = given->compat && strcmp(given->compat, "0.10") == 0 ? 2 : 3;
    if (given->compat && plan->version == 3 && strcmp(given->compat, "1.1") != 0)
        return img_error_set(err, EINVAL, "Invalid compatibility level: '%s'", given->compat);
    if (bits < 1 || bits > 64 || !img_power_of_two((uint64_t)bits))
        return img_error_set(err, EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
    if (bits != 16 && plan->version < 3)
        return img_error_set(err, EINVAL, "Different refcount widths than 16 bits require compatibility level 1.1 or "
                             "above (use compat=1.1 or greater)");
    plan->refcount_bits = (unsigned)bits;
    return 0;
}

/* The old encryption takes no room, and is not asked for its password here. */
static int plan_luks(const struct qcow2_create_options *given, struct plan *plan, struct img_error *err)
{
    struct img_luks_volume luks = { .prefix = "encrypt." };
    int status = img_luks_volume_plan(&luks, 1, &given->luks, given->encrypt_key_secret, err);

    if (status == 0)
        plan->crypto_size = img_align_up(luks.range.start, plan->cluster_size);
    return status;
}

static int plan_image(const struct qcow2_create_options *given, struct plan *plan, struct img_error *err)
{
    int status;

    if ((status = plan_clusters(given, plan, err)) < 0 || (status = plan_refcounts(given, plan, err)) < 0)
        return status;
    if (qcow2_preallocation_parse(given->preallocation, &plan->preallocation) < 0)
        return img_error_set(err, EINVAL, "invalid parameter value: %s", given->preallocation);
    if (given->encrypt_format && strcmp(given->encrypt_format, "luks") == 0)
        return plan_luks(given, plan, err);
    return 0;
}

/* ---- Metadata ------------------------------------------------------------------------- */

/* Number of refcount block and table clusters for `clusters` others and themselves. */
static uint64_t refcount_clusters(const struct plan *plan, uint64_t clusters)
{
    uint64_t counts = plan->cluster_size * 8 / plan->refcount_bits, blocks = 0, table = 0;

    for (;;) {
        uint64_t wider = img_div_up(blocks * TABLE_ENTRY, plan->cluster_size);
        uint64_t more = img_div_up(clusters + wider + blocks, counts);
        if (wider == table && more == blocks)
            return table + blocks;
        table = wider;
        blocks = more;
    }
}

/* Number of metadata clusters for a disk of `data` clusters, all allocated; 0: no such image is possible. */
static uint64_t metadata_clusters(const struct plan *plan, uint64_t data)
{
    uint64_t l2 = img_div_up(data, plan->cluster_size / plan->entry_size);
    uint64_t l1 = img_div_up(l2 * L1_ENTRY, plan->cluster_size), fixed = 1 + l1 + l2;

    if (l2 > QCOW2_MAX_L1_BYTES / L1_ENTRY)
        return 0;
    return fixed + refcount_clusters(plan, fixed + data);
}

/* ---- Data and bitmaps -------------------------------------------------------------------- */

/* Bytes in clusters that hold data of the source, as far as known without reading. */
static int count_data(struct img *source, uint64_t cluster_size, uint64_t *bytes, struct img_error *err)
{
    uint64_t size = img_size(source), counted = 0;      /* clusters before `counted` are counted */
    struct img_extent extent;

    *bytes = 0;
    for (uint64_t offset = 0; offset < size; offset = extent.offset + extent.length) {
        int status = img_map_told(source, offset, size - offset, &extent);
        if (status < 0)
            return img_error_errno(err, -status, "Unable to get block status");
        if (extent.kind != IMG_DATA && extent.kind != IMG_CODED)
            continue;
        uint64_t from = img_max(img_align_down(offset, cluster_size), counted);
        uint64_t to = img_align_up(extent.offset + extent.length, cluster_size);
        if (to > from)
            *bytes += to - from;
        counted = img_max(counted, to);
    }
    return 0;
}

/* Bytes of the bits, tables and directory for all bitmaps of the source. */
static int count_bitmaps(struct img *source, const struct plan *plan, uint64_t *bytes)
{
    struct img_bitmap *list;
    int count = img_bitmaps(source, &list);
    uint64_t directory = 0, clusters = 0;

    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        uint64_t bits = img_div_up(img_size(source), list[i].granularity);
        uint64_t parts = img_div_up(img_div_up(bits, 8), plan->cluster_size);
        clusters += parts + img_div_up(parts * TABLE_ENTRY, plan->cluster_size);
        directory += qcow2_bitmap_entry_bytes(list[i].name);
    }
    clusters += img_div_up(directory, plan->cluster_size);
    img_bitmaps_free(list, (size_t)count);
    *bytes = clusters * plan->cluster_size;
    return 0;
}

int qcow2_measure(const void *create_options, struct img *source, uint64_t size, struct img_measure *result,
                  struct img_error *err)
{
    const struct qcow2_create_options *given = create_options;
    struct plan plan = { 0 };
    uint64_t clusters, metadata, data = 0;

    int status = plan_image(given, &plan, err);
    if (status < 0)
        return status;
    clusters = img_div_up(img_align_up(size, SECTOR), plan.cluster_size);
    metadata = metadata_clusters(&plan, clusters);
    if (metadata == 0)
        return img_error_set(err, EFBIG, "The image size is too large (try using a larger cluster size)");

    if (plan.preallocation >= QCOW2_PREALLOC_FALLOC || (source && given->backing_file))
        data = clusters * plan.cluster_size;    /* the content of the backing file is not known here */
    else if (source && (status = count_data(source, plan.cluster_size, &data, err)) < 0)
        return status;
    result->fully_allocated = plan.crypto_size + (metadata + clusters) * plan.cluster_size;
    result->required = plan.crypto_size + metadata * plan.cluster_size + data;
    result->has_bitmaps = plan.version >= 3 && source && img_has_bitmaps(source);
    if (result->has_bitmaps && count_bitmaps(source, &plan, &result->bitmaps) < 0)
        return img_error_memory(err);
    return 0;
}
