/* SPDX-License-Identifier: MIT */
/*
 * New images: a header and an empty table, always in the newer variant.
 * Specification: "Header", "BAT".
 */
#include "parallels.h"

enum { HEADS = 16, SECTORS_PER_CYLINDER = 16 * 32 };

struct plan {
    uint64_t sectors, tracks, entries, table_sectors;
};

static int make_plan(struct plan *plan, const struct parallels_create_options *options, struct img_error *err)
{
    uint64_t sectors = options->size == -1 ? 0 : img_div_up((uint64_t)options->size, PARALLELS_SECTOR);
    uint64_t cluster = img_align_up((uint64_t)options->cluster_size, PARALLELS_SECTOR);

    plan->sectors = sectors;
    plan->tracks = cluster / PARALLELS_SECTOR;
    if (cluster > INT32_MAX)
        return img_error_set(err, E2BIG, "Cluster size is too large");
    if (plan->tracks == 0 || sectors >= plan->tracks << 32) {
        if (plan->tracks > 0)
            img_limit_advise(((plan->tracks << 32) - 1) * PARALLELS_SECTOR, err);
        return img_error_set(err, E2BIG, "Image size is too large for this cluster size");
    }
    plan->entries = img_div_up(sectors, plan->tracks);
    plan->table_sectors = img_div_up(PARALLELS_HEADER + 4 * plan->entries, cluster) * plan->tracks;
    return 0;
}

static void fill_header(uint8_t header[PARALLELS_HEADER], const struct plan *plan)
{
    memset(header, 0, PARALLELS_HEADER);
    memcpy(header, "WithouFreSpacExt", 16);
    img_put_le32(header + PARALLELS_AT_VERSION, 2);
    img_put_le32(header + PARALLELS_AT_HEADS, HEADS);
    img_put_le32(header + PARALLELS_AT_CYLINDERS, (uint32_t)(plan->sectors / SECTORS_PER_CYLINDER));
    img_put_le32(header + PARALLELS_AT_TRACKS, (uint32_t)plan->tracks);
    img_put_le32(header + PARALLELS_AT_ENTRIES, (uint32_t)plan->entries);
    img_put_le64(header + PARALLELS_AT_SECTORS, plan->sectors);
    img_put_le32(header + PARALLELS_AT_DATA_OFF, (uint32_t)plan->table_sectors);
}

/* A new file is empty and grows with zeroes; a device may hold old data. */
static int write_image(struct img *file, const struct plan *plan, struct img_error *err)
{
    uint64_t length = plan->table_sectors * PARALLELS_SECTOR;
    uint8_t header[PARALLELS_HEADER];
    int status;

    fill_header(header, plan);
    if (img_size(file) == 0)
        status = img_resize_file(file, length, NULL, err);
    else
        status = img_zero(file, 0, length, 0);
    if (status == 0)
        status = img_pwrite(file, header, 0, sizeof header);
    if (status < 0 && !err->text)
        img_error_errno(err, -status, "Failed to create Parallels image");
    return status;
}

int parallels_create(const struct img_create *request, struct img_error *err)
{
    struct img *file = NULL;
    struct plan plan = { 0 };
    int status = img_check_target(request->name, err);

    if (status == 0)
        status = make_plan(&plan, request->options, err);
    if (status == 0)
        status = img_create_file(request->name, 0, IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED, request->rest, &file, err);
    if (status < 0)
        return status;
    return img_close_file(file, write_image(file, &plan, err), err);
}
