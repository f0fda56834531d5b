/* SPDX-License-Identifier: MIT */
/*
 * New qed images: the header, the name of the backing file, and an empty L1 table.  All options are checked before
 * any file is touched, in qemu-img's order.
 */
#include "qed.h"

#include <string.h>

#define NEW(kind, key, member, value, text) \
    { .name = key, .help = text, .type = IMG_OPT_##kind, .standard = value, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct qed_create_options, member) }

const struct img_option qed_options[] = {
    NEW(SIZE, "size", size, NULL, "Virtual disk size"),
    NEW(STRING, "backing_file", backing_file, NULL, "File name of a base image"),
    NEW(STRING, "backing_fmt", backing_fmt, NULL, "Image format of the base image"),
    NEW(SIZE, "cluster_size", cluster_size, "65536", "Cluster size (in bytes)"),
    NEW(SIZE, "table_size", table_size, NULL, "L1/L2 table size (in clusters)"),
    { .name = NULL }
};

static bool in_range(int64_t value, int64_t low, int64_t high)
{
    return value >= low && value <= high && img_power_of_two((uint64_t)value);
}

static int plan_header(const struct qed_create_options *given, struct qed_header *h, struct img_error *err)
{
    int64_t cluster_size = given->cluster_size < 0 ? QED_DEFAULT_CLUSTER : given->cluster_size;
    int64_t table_size = given->table_size < 0 ? QED_DEFAULT_TABLE : given->table_size;
    uint64_t size = img_align_up(given->size < 0 ? 0 : (uint64_t)given->size, QED_SECTOR);

    if (given->backing_fmt && !img_driver_find(given->backing_fmt))
        return img_error_set(err, EINVAL, "Parameter 'backing-fmt' does not accept value '%s'", given->backing_fmt);
    if (!in_range(cluster_size, QED_MIN_CLUSTER, QED_MAX_CLUSTER))
        return img_error_set(err, EINVAL, "QED cluster size must be within range [%u, %u] and power of 2",
                             QED_MIN_CLUSTER, QED_MAX_CLUSTER);
    if (!in_range(table_size, QED_MIN_TABLE, QED_MAX_TABLE))
        return img_error_set(err, EINVAL, "QED table size must be within range [%u, %u] and power of 2",
                             QED_MIN_TABLE, QED_MAX_TABLE);
    uint64_t limit = qed_max_size((uint32_t)cluster_size, (uint32_t)table_size);
    if (size > limit)
        return img_error_set(err, EINVAL, "QED image size must be a non-zero multiple of cluster size and less than "
                             "%llu bytes", (unsigned long long)limit);
    *h = (struct qed_header){ .cluster_size = (uint32_t)cluster_size, .table_size = (uint32_t)table_size,
                              .header_size = 1, .l1_offset = (uint64_t)cluster_size, .size = size };
    return 0;
}

static int plan_backing(const struct qed_create_options *given, struct qed_header *h, struct img_error *err)
{
    size_t length = given->backing_file ? strlen(given->backing_file) : 0;

    if (length == 0)
        return 0;
    if (!img_within(QED_HEADER_BYTES, length, h->cluster_size))
        return img_error_set(err, EINVAL, "QED backing filename offset is invalid");
    h->features = QED_BACKING_FILE;
    if (given->backing_fmt && strcmp(given->backing_fmt, "raw") == 0)
        h->features |= QED_BACKING_NO_PROBE;
    h->backing_offset = QED_HEADER_BYTES;
    h->backing_length = (uint32_t)length;
    return 0;
}

static int write_image(struct img *file, const struct qed_header *h, const char *backing_file)
{
    size_t length = QED_HEADER_BYTES + h->backing_length;
    CLEANUP_FREE uint8_t *bytes = malloc(length);

    if (!bytes)
        return -ENOMEM;
    qed_encode_header(h, bytes);
    if (h->backing_length)
        memcpy(bytes + QED_HEADER_BYTES, backing_file, h->backing_length);
    int status = img_pwrite(file, bytes, 0, length);
    /* A device may hold old data there. */
    return status < 0 ? status : img_zero(file, h->l1_offset, (uint64_t)h->table_size * h->cluster_size,
                                          IMG_ZERO_MAY_UNMAP);
}

int qed_create(const struct img_create *request, struct img_error *err)
{
    const struct qed_create_options *given = request->options;
    struct qed_header h;
    struct img *file;
    int status;

    if ((status = img_check_target(request->name, err)) < 0 || (status = plan_header(given, &h, err)) < 0 ||
        (status = plan_backing(given, &h, err)) < 0 || (status = img_check_can_grow("qed", request->name, err)) < 0)
        return status;
    /* Extend the file over the header and the L1 table, as zeroes. */
    uint64_t length = h.cluster_size + (uint64_t)h.table_size * h.cluster_size;
    status = img_create_file(request->name, length, IMG_PERM_ALL, request->rest, &file, err);
    if (status < 0)
        return status;
    status = write_image(file, &h, given->backing_file);
    if (status < 0)
        img_error_errno(err, -status, "Could not write QED header");
    return img_close_file(file, status, err);
}
