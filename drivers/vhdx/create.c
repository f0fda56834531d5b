/* SPDX-License-Identifier: MIT */
/*
 * create.c - new images: headers, log, BAT and metadata, in this order and each at a multiple of 1 MiB, then 4 MiB
 * that stay free, then the blocks.  [MS-VHDX] 2.1 "Layout".
 */
#include "vhdx.h"

enum { SECTOR = 512, RESERVE = 4 << 20, STEP = 1 << 20 };
/* Hyper-V's, and small, since a whole block is copied from the parent with the first write to it. */
enum { DIFFERENCING_BLOCK = 2 << 20 };

struct plan {
    struct vhdx s;                  /* the image being created */
    bool fixed, zero_state;
    uint64_t payload;               /* offset of the first block */
    uint64_t size;
    uint8_t *locator;               /* of the parent; NULL: none */
    size_t locator_length;
};

/* ---- Options ------------------------------------------------------------------------ */

/* A value too large for the option parser arrives as the maximum; qemu-img continues with its 64-bit value. */
static uint64_t number_of(int64_t given)
{
    return given == INT64_MAX ? UINT64_MAX : given < 0 ? 0 : (uint64_t)given;
}

/* (the sum may overflow, as in qemu-img) */
static uint64_t to_mib(uint64_t value)
{
    return (value + VHDX_MIB - 1) & ~(uint64_t)(VHDX_MIB - 1);
}

static uint32_t usual_block_size(uint64_t size)
{
    if (size > 32ull << 40)
        return 64 << 20;
    if (size > 100ull << 30)
        return 32 << 20;
    return size > 1ull << 30 ? 16 << 20 : 8 << 20;
}

static int choose_block_size(struct plan *plan, int64_t given, struct img_error *err)
{
    uint64_t size = to_mib(number_of(given));

    if (size == 0)
        size = plan->s.differencing ? DIFFERENCING_BLOCK : usual_block_size(plan->size);
    size = img_min(size, VHDX_MAX_BLOCK);
    if (!img_power_of_two(size))
        return img_error_set(err, EINVAL, "Block size must be a power of two");
    plan->s.block_size = (uint32_t)size;
    return 0;
}

static int choose_log_size(struct plan *plan, int64_t given, struct img_error *err)
{
    uint64_t size = given == -1 ? VHDX_MIB : to_mib(number_of(given));

    if (size < VHDX_MIB)
        return img_error_set(err, EINVAL, "Log size must be a multiple of 1 MB");
    if (size >= UINT32_MAX)
        return img_error_set(err, EINVAL, "Log size must be smaller than 4 GB");
    plan->s.header.log_length = (uint32_t)size;
    return 0;
}

static int check_options(struct plan *plan, const struct vhdx_create_options *given, struct img_error *err)
{
    int ret;

    if (given->subformat && strcmp(given->subformat, "dynamic") != 0 && strcmp(given->subformat, "fixed") != 0)
        return img_error_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'", given->subformat);
    plan->fixed = given->subformat && strcmp(given->subformat, "fixed") == 0;
    plan->zero_state = plan->s.differencing ? given->block_state_zero == 1 : given->block_state_zero != 0;
    plan->size = given->size == -1 ? 0 : img_align_up((uint64_t)given->size, plan->s.logical_sector);
    if (plan->size > VHDX_MAX_SIZE)
        return img_error_set(err, EINVAL, "Image size too large; max of 64TB");
    ret = choose_log_size(plan, given->log_size, err);
    return ret < 0 ? ret : choose_block_size(plan, given->block_size, err);
}

/* A differencing disk goes on where its parent ends: identity, sectors, and the name of the disk for its guest. */
static int take_parent(struct plan *plan, const struct img_create *request, struct img_error *err)
{
    const struct vhdx_create_options *given = request->options;
    struct vhdx *s = &plan->s;
    struct img_error closing = IMG_ERROR_INIT;
    struct img *parent;
    int ret;

    s->logical_sector = SECTOR;
    s->physical_sector = SECTOR;
    img_uuid_make(s->disk_id);
    if (!given->backing_file)
        return 0;
    if (given->block_state_zero == 1 || (given->subformat && strcmp(given->subformat, "fixed") == 0))
        return img_error_set(err, EINVAL, "An image with a backing file is dynamic, with block_state_zero=off");
    ret = img_open_parent(request, &img_driver_vhdx, given->backing_file, given->backing_fmt, &parent, err);
    if (ret < 0)
        return ret;
    s->differencing = true;
    memcpy(s->parent_id, vhdx_state(parent)->header.data_id, VHDX_GUID);
    memcpy(s->disk_id, vhdx_state(parent)->disk_id, VHDX_GUID);
    s->logical_sector = vhdx_state(parent)->logical_sector;
    s->physical_sector = vhdx_state(parent)->physical_sector;
    img_close(parent, &closing);
    img_error_clear(&closing);
    plan->locator = vhdx_build_locator(s, given->backing_file, &plan->locator_length, err);
    return plan->locator ? 0 : -err->code;
}

/* ---- Layout --------------------------------------------------------------------------- */

static void lay_out(struct plan *plan)
{
    struct vhdx *s = &plan->s;
    uint8_t random[VHDX_GUID];

    s->keeps_blocks = plan->fixed;
    s->disk_size = plan->size;
    s->block_bits = (unsigned)__builtin_ctz(s->block_size);
    s->ratio_bits = VHDX_CHUNK_BITS + (unsigned)__builtin_ctz(s->logical_sector) - s->block_bits;
    s->blocks = img_div_up(plan->size, s->block_size);
    s->entries = vhdx_bat_entries(s, s->blocks);

    img_uuid_make(random);
    s->header.sequence = img_get_le32(random);
    img_uuid_make(s->header.file_id);
    img_uuid_make(s->header.data_id);
    s->header.version = 1;
    s->header.log_offset = VHDX_MIB;
    s->bat_offset = VHDX_MIB + s->header.log_length;
    s->bat_length = (uint32_t)to_mib(s->entries * 8);
    s->metadata_offset = s->bat_offset + s->bat_length;
    plan->payload = s->metadata_offset + VHDX_MIB + RESERVE;
}

/* "vhdxfile" and the creator, in UTF-16. */
static int write_signature(struct img *file)
{
    static const char creator[] = "imgbox v" IMGBOX_VERSION;
    uint8_t bytes[SECTOR + 8] = VHDX_SIGNATURE;

    for (size_t i = 0; i < sizeof creator - 1; i++)
        bytes[8 + 2 * i] = (uint8_t)creator[i];
    return img_pwrite(file, bytes, 0, sizeof bytes);
}

static int write_headers(struct img *file, const struct vhdx *s)
{
    struct vhdx_header header = s->header;
    int ret = 0;

    for (unsigned i = 0; i < 2 && ret == 0; i++, header.sequence++) {
        uint8_t bytes[VHDX_HEADER_BYTES];
        vhdx_build_header(&header, bytes);
        ret = img_pwrite(file, bytes, vhdx_header_place(i), sizeof bytes);
    }
    return ret;
}

/* (as in qemu-img, neither is marked as required: every program knows them) */
static int write_region_tables(struct img *file, const struct vhdx *s, struct img_error *err)
{
    CLEANUP_FREE uint8_t *table = calloc(1, VHDX_TABLE_BYTES);
    int ret;

    if (!table)
        return img_error_errno(err, ENOMEM, "Failed to write first region table");
    memcpy(table, "regi", 4);
    img_put_le32(table + 8, 2);
    memcpy(table + 16, vhdx_bat_guid, VHDX_GUID);
    img_put_le64(table + 32, s->bat_offset);
    img_put_le32(table + 40, s->bat_length);
    memcpy(table + 48, vhdx_metadata_guid, VHDX_GUID);
    img_put_le64(table + 64, s->metadata_offset);
    img_put_le32(table + 72, VHDX_MIB);
    vhdx_seal(table, VHDX_TABLE_BYTES);
    ret = img_pwrite(file, table, VHDX_REGIONS_1, VHDX_TABLE_BYTES);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to write first region table");
    ret = img_pwrite(file, table, VHDX_REGIONS_2, VHDX_TABLE_BYTES);
    return ret < 0 ? img_error_errno(err, -ret, "Failed to write second region table") : 0;
}

static uint64_t first_entry(const struct plan *plan, uint64_t block)
{
    if (plan->zero_state)
        return VHDX_ZERO;
    return plan->fixed ? (plan->payload + (block << plan->s.block_bits)) | VHDX_PRESENT : VHDX_NOT_PRESENT;
}

/* A table of zeroes is already a hole. */
static int write_bat(struct img *file, const struct plan *plan)
{
    const struct vhdx *s = &plan->s;
    CLEANUP_FREE uint8_t *bytes = malloc(STEP);
    uint64_t block = 0;

    if (!bytes)
        return -ENOMEM;
    while (block < s->blocks && first_entry(plan, block)) {
        uint64_t first = vhdx_bat_index(s, block), index = first;
        memset(bytes, 0, STEP);
        for (; block < s->blocks && (index = vhdx_bat_index(s, block)) - first < STEP / 8; block++)
            img_put_le64(bytes + (index - first) * 8, first_entry(plan, block));
        uint64_t count = block < s->blocks ? STEP / 8 : index + 1 - first;
        int ret = img_pwrite(file, bytes, s->bat_offset + first * 8, count * 8);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int write_metadata(struct img *file, const struct plan *plan)
{
    size_t length = VHDX_TABLE_BYTES + VHDX_SECTOR + plan->locator_length;
    CLEANUP_FREE uint8_t *table = calloc(1, length);

    if (!table)
        return -ENOMEM;
    vhdx_build_metadata(&plan->s, plan->locator, plan->locator_length, table);
    return img_pwrite(file, table, plan->s.metadata_offset, length);
}

/* Extend the file to its full length, with holes. */
static int lengthen(struct img *file, const struct plan *plan, struct img_error *err)
{
    struct img_error why = IMG_ERROR_INIT;
    int ret = img_resize_file(file, plan->payload + (plan->fixed ? plan->size : 0), NULL, &why);

    if (ret == -EFBIG)
        img_error_set(err, EFBIG, "The image size is too large for file format 'vhdx'");
    else if (ret < 0)
        img_error_set(err, -ret, "%s", why.text);
    img_error_clear(&why);
    return ret;
}

static int write_image(struct img *file, const struct plan *plan, struct img_error *err)
{
    const struct vhdx *s = &plan->s;
    int ret = lengthen(file, plan, err);

    if (ret < 0)
        return ret;
    if ((ret = write_headers(file, s)) < 0)
        return img_error_errno(err, -ret, "Failed to write image headers");
    if ((ret = write_region_tables(file, s, err)) < 0)
        return ret;
    if ((ret = write_bat(file, plan)) < 0)
        return img_error_errno(err, -ret, "Failed to write the BAT");
    if ((ret = write_metadata(file, plan)) < 0)
        return img_error_errno(err, -ret, "Failed to initialize metadata");
    /* Last: without it the file is not an image. */
    ret = write_signature(file);
    return ret < 0 ? img_error_errno(err, -ret, "Failed to write file signature") : 0;
}

int vhdx_create(const struct img_create *request, struct img_error *err)
{
    struct plan plan = { .fixed = false };
    struct img *file = NULL;
    int ret = img_check_target(request->name, err);

    if (ret == 0)
        ret = take_parent(&plan, request, err);
    if (ret == 0)
        ret = check_options(&plan, request->options, err);
    if (ret == 0) {
        lay_out(&plan);
        ret = img_create_file(request->name, 0, IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED, request->rest, &file, err);
    }
    if (ret == 0)
        ret = img_close_file(file, write_image(file, &plan, err), err);
    free(plan.locator);
    return ret;
}
