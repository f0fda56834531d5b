/* SPDX-License-Identifier: MIT */
/*
 * Options of the vpc driver, and new disks.
 * Specification: "Hard Disk Footer Format", "Dynamic Disk Header Format".
 */
#include "vpc.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/uuid.h"
#include <time.h>

/* The table follows the header, or the name of the parent that does. */
enum { HEADER_END = VPC_FOOTER_BYTES + VPC_HEADER_BYTES, AZURE_UNIT = 1 << 20 };

#define NEW(kind, key, member, ...) NEW_IF(kind, key, member, 0, __VA_ARGS__)
#define NEW_IF(kind, key, member, also, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##kind, .when = IMG_AT_CREATE | (also), \
      .offset = offsetof(struct vpc_create_options, member) }

const struct img_option vpc_options[] = {
    NEW(SIZE, "size", size, "Virtual disk size"),
    NEW(STRING, "subformat", subformat,
        "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ",
        .choices = "dynamic fixed"),
    NEW(BOOL, "force_size", force_size, "Force disk size calculation to use the actual size specified, rather than "
        "using the nearest CHS-based calculation"),
    NEW_IF(STRING, "backing_file", backing_file, IMG_OURS, "File name of a base image"),
    NEW_IF(STRING, "backing_fmt", backing_fmt, IMG_OURS, "Must be 'vpc' if present"),
    NEW_IF(BOOL, "azure", azure, IMG_OURS, "Make what Azure takes: a fixed disk of exactly a whole number of MiB"),
    { .name = "force_size_calc", .help = "Force disk size calculation to use either CHS geometry, or use the disk "
      "current_size specified in the VHD footer. {chs, current_size}", .type = IMG_OPT_STRING, .when = IMG_AT_OPEN,
      .offset = offsetof(struct vpc_open_options, force_size_calc) },
    { .name = NULL }
};

/* ---- Options ------------------------------------------------------------------ */

static int choose_type(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err)
{
    const char *type = given->subformat;
    bool azure = given->azure == 1;

    if (type && strcmp(type, "dynamic") != 0 && strcmp(type, "fixed") != 0)
        return img_error_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'", type);
    plan->fixed = type ? strcmp(type, "fixed") == 0 : azure;
    plan->exact = given->force_size == 1 || azure;
    if (azure && (!plan->fixed || given->force_size == 0))
        return img_error_set(err, EINVAL, "azure=on is for disks with subformat=fixed and force_size=on");
    if (given->backing_file && plan->fixed)
        return img_error_set(err, EINVAL, "A fixed disk cannot have a backing file");
    return 0;
}

static int choose_size(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err)
{
    uint64_t size = given->size < 0 ? 0 : (uint64_t)given->size;

    plan->sectors = img_align_up(size, given->azure == 1 ? AZURE_UNIT : VPC_SECTOR) / VPC_SECTOR;
    if (plan->sectors > VPC_MAX_SECTORS) {
        img_limit_advise(VPC_MAX_SECTORS * VPC_SECTOR, err);
        return img_error_set(err, EFBIG, "The image size is too large for file format 'vpc'");
    }
    plan->geometry = plan->exact ? vpc_largest : vpc_geometry_for(plan->sectors);
    /* Guests see the size of the geometry; at the largest one, the size in bytes. */
    uint64_t seen = vpc_geometry_sectors(plan->geometry);
    if (seen != vpc_geometry_sectors(vpc_largest))
        plan->sectors = seen;
    return 0;
}

/* A differencing disk has the size of its parent, by the same rule, so the footer is a copy of the parent's. */
static int inherit(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err)
{
    const struct vpc_new_parent *parent = plan->parent;
    uint8_t *to = plan->footer;

    if (given->size >= 0 && (uint64_t)given->size != parent->size)
        return img_error_set(err, EINVAL, "A vpc image has the size of its backing file, which is %llu bytes",
                             (unsigned long long)parent->size);
    plan->sectors = parent->size / VPC_SECTOR;
    memcpy(to, parent->footer, VPC_FOOTER_BYTES);
    memset(to + VPC_UUID + VPC_UUID_BYTES, 0, VPC_FOOTER_BYTES - VPC_UUID - VPC_UUID_BYTES);
    img_put_be64(to + VPC_DATA_OFFSET, VPC_FOOTER_BYTES);
    img_put_be32(to + VPC_TIME, (uint32_t)(time(NULL) - VPC_EPOCH));
    img_put_be32(to + VPC_TYPE, VPC_TYPE_DIFFERENCING);
    img_uuid_make(to + VPC_UUID);
    img_put_be32(to + VPC_CHECKSUM, vpc_checksum(to, VPC_FOOTER_BYTES, VPC_CHECKSUM));
    return 0;
}

static void put_footer(struct vpc_plan *plan)
{
    uint8_t *to = plan->footer;
    uint64_t size = plan->sectors * VPC_SECTOR;

    memcpy(to, VPC_COOKIE, 8);
    img_put_be32(to + VPC_FEATURES, 2);
    img_put_be32(to + VPC_VERSION, 0x10000);
    img_put_be64(to + VPC_DATA_OFFSET, plan->fixed ? UINT64_MAX : VPC_FOOTER_BYTES);
    img_put_be32(to + VPC_TIME, (uint32_t)(time(NULL) - VPC_EPOCH));
    memcpy(to + VPC_CREATOR, plan->exact ? "qem2" : "qemu", 4);
    img_put_be32(to + VPC_CREATOR_VERSION, 0x50003);
    memcpy(to + VPC_CREATOR_SYSTEM, "Wi2k", 4);
    img_put_be64(to + VPC_ORIGINAL_SIZE, size);
    img_put_be64(to + VPC_CURRENT_SIZE, size);
    img_put_be16(to + VPC_CYLINDERS, plan->geometry.cylinders);
    to[VPC_HEADS] = plan->geometry.heads;
    to[VPC_SECTORS_PER_TRACK] = plan->geometry.sectors;
    img_put_be32(to + VPC_TYPE, plan->fixed ? VPC_TYPE_FIXED : VPC_TYPE_DYNAMIC);
    img_uuid_make(to + VPC_UUID);
    img_put_be32(to + VPC_CHECKSUM, vpc_checksum(to, VPC_FOOTER_BYTES, VPC_CHECKSUM));
}

int vpc_plan_disk(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err)
{
    int status = choose_type(given, plan, err);

    if (status == 0 && plan->parent)
        return inherit(given, plan, err);
    if (status == 0)
        status = choose_size(given, plan, err);
    if (status == 0)
        put_footer(plan);
    return status;
}

/* ---- Writing ---------------------------------------------------------------------- */

/* Write the copy of the footer, header, empty BAT, footer; at most 4 MiB. */
static int write_dynamic(struct img *file, const struct vpc_plan *plan)
{
    uint32_t entries = (uint32_t)img_div_up(plan->sectors, VPC_BLOCK / VPC_SECTOR);
    size_t table = (size_t)img_align_up(4ull * entries, VPC_SECTOR), name = plan->parent ? plan->parent->room : 0;
    size_t place = HEADER_END + name, length = place + table + VPC_FOOTER_BYTES;
    CLEANUP_FREE uint8_t *all = calloc(1, length);

    if (!all)
        return -ENOMEM;
    uint8_t *header = all + VPC_FOOTER_BYTES;
    memcpy(all, plan->footer, VPC_FOOTER_BYTES);
    memcpy(header, VPC_HEADER_COOKIE, 8);
    img_put_be64(header + VPC_HEADER_NEXT, UINT64_MAX);
    img_put_be64(header + VPC_TABLE_OFFSET, place);
    img_put_be32(header + VPC_HEADER_VERSION, 0x10000);
    img_put_be32(header + VPC_MAX_ENTRIES, entries);
    img_put_be32(header + VPC_BLOCK_SIZE, VPC_BLOCK);
    if (plan->parent) {
        vpc_put_parent(plan->parent, HEADER_END, header);
        memcpy(all + HEADER_END, plan->parent->name, plan->parent->name_bytes);
    }
    img_put_be32(header + VPC_HEADER_CHECKSUM, vpc_checksum(header, VPC_HEADER_BYTES, VPC_HEADER_CHECKSUM));
    memset(all + place, 0xff, table);
    memcpy(all + place + table, plan->footer, VPC_FOOTER_BYTES);
    return img_pwrite(file, all, 0, length);
}

static int write_fixed(struct img *file, const struct vpc_plan *plan)
{
    return img_pwrite(file, plan->footer, plan->sectors * VPC_SECTOR, VPC_FOOTER_BYTES);
}

static int make_file(const struct img_create *request, const struct vpc_plan *plan, struct img_error *err)
{
    struct img *file = NULL;
    /* Set the length first, so that it can be preallocated. */
    uint64_t length = plan->fixed ? plan->sectors * VPC_SECTOR + VPC_FOOTER_BYTES : 0;
    int status = img_create_file(request->name, length, IMG_PERM_ALL, request->rest, &file, err);

    if (status < 0)
        return status;
    status = plan->fixed ? write_fixed(file, plan) : write_dynamic(file, plan);
    if (status < 0)
        img_error_errno(err, -status, "Could not create image");
    return img_close_file(file, status, err);
}

int vpc_create(const struct img_create *request, struct img_error *err)
{
    const struct vpc_create_options *given = request->options;
    struct vpc_new_parent parent = { .size = 0 };
    struct vpc_plan plan = { .parent = given->backing_file ? &parent : NULL };
    int status = img_check_target(request->name, err);

    if (status == 0 && plan.parent)
        status = vpc_take_parent(request, &parent, err);
    if (status == 0)
        status = vpc_plan_disk(given, &plan, err);
    if (status == 0)
        status = make_file(request, &plan, err);
    vpc_free_parent(&parent);
    return status;
}
