/* SPDX-License-Identifier: MIT */
/* open.c - the vhdx driver: the vtable, open and close. */
#include "vhdx.h"

/* [MS-VHDX] 2.2.1 "File Type Identifier" */
static int check_signature(struct img *image, struct img_error *err)
{
    uint8_t signature[8];
    int ret = vhdx_read(image, signature, 0, sizeof signature);

    if (ret == 0 && memcmp(signature, VHDX_SIGNATURE, sizeof signature) != 0)
        ret = -EINVAL;
    return ret < 0 ? vhdx_refuse(image, -ret, err) : 0;
}

static int read_all(struct img *image, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    bool writable = image->flags & IMG_RDWR, tolerant = image->flags & IMG_CHECK;
    int ret;

    s->file_end = img_size(image->file);
    if ((ret = check_signature(image, err)) < 0 ||
        (ret = vhdx_read_headers(image, err)) < 0 ||
        (ret = vhdx_replay(image, err)) < 0 ||
        (ret = vhdx_read_regions(image, err)) < 0 ||
        (ret = vhdx_check_patches(image, err)) < 0 ||
        (ret = vhdx_read_metadata(image, err)) < 0)
        return ret;
    ret = vhdx_bat_init(image);
    if (ret == 0 && s->differencing)
        ret = vhdx_open_bitmaps(image);
    if (ret == 0 && writable)
        ret = vhdx_space_init(image);
    if (ret < 0)
        return vhdx_refuse(image, -ret, err);
    return tolerant ? 0 : vhdx_scan_bat(image, err);
}

static int vhdx_close(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    int ret = vhdx_end(image);

    vhdx_bat_free(s);
    img_pages_free(s->bitmaps);
    for (size_t i = 0; i < s->patches.count; i++)
        free(s->patches.at[i].bytes);
    free(s->patches.at);
    free(s->regions.at);
    free(s->sorted);
    free(s->used);
    return ret;
}

static int vhdx_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    int ret = read_all(image, err);

    (void)parsed, (void)options;
    if (ret < 0) {
        vhdx_close(image);
        return ret;
    }
    image->size = s->disk_size & ~511ull;
    image->limits.cluster = s->block_size;
    /* Without a parent a new block needs no copy on write, and its place is the same for all who write to it. */
    image->limits.write_unit = image->limits.lock_unit = s->differencing ? s->block_size : 1;
    return 0;
}

static int vhdx_flush(struct img *image)
{
    return vhdx_commit(image);
}

/* Blocks of a fixed image may be allocated at creation, in storage with old content. */
static bool zero_initialised(struct img *image)
{
    const struct vhdx *s = vhdx_state(image);

    return !s->differencing && (!s->keeps_blocks || img_zero_initialised(image->file));
}

#define NEW(type_, name_, field, standard_, ...) NEW_IF(type_, name_, field, standard_, 0, __VA_ARGS__)
#define NEW_IF(type_, name_, field, standard_, also, ...) \
    { .name = name_, .help = __VA_ARGS__, .type = IMG_OPT_##type_, .standard = standard_, .when = IMG_AT_CREATE | (also), \
      .offset = offsetof(struct vhdx_create_options, field) }

static const struct img_option vhdx_options[] = {
    NEW(SIZE, "size", size, NULL, "Virtual disk size; max of 64TB."),
    NEW(SIZE, "log_size", log_size, "1048576", "Log size; min 1MB."),
    NEW(SIZE, "block_size", block_size, "0",
        "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."),
    NEW(STRING, "subformat", subformat, NULL,
        "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'.", .choices = "dynamic fixed"),
    NEW(BOOL, "block_state_zero", block_state_zero, NULL,
        "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using "
        "'qemu-img convert' with subformat=dynamic."),
    NEW_IF(STRING, "backing_file", backing_file, NULL, IMG_OURS, "File name of a base image"),
    NEW_IF(STRING, "backing_fmt", backing_fmt, NULL, IMG_OURS, "Must be 'vhdx' if present"),
    { .name = NULL }
};

const struct img_driver img_driver_vhdx = {
    IMG_ROW(
        .name = "vhdx", .kind = IMG_FORMAT, .alias = "hyperv hyper-v", .precedence = 2,
        .marks = IMG_MARKS(IMG_AT(0, "vhdxfile"))
    ),
    .traits = IMG_MAP_UNTOLD | IMG_CAN_BACK,
    .state_size = sizeof(struct vhdx), .options = vhdx_options, .create_size = sizeof(struct vhdx_create_options),
    .open = vhdx_open, .close = vhdx_close, .create = vhdx_create, .zero = vhdx_zero,
    .flush = vhdx_flush, .map = vhdx_map, .reserve = vhdx_reserve, .publish = vhdx_publish,
    .resize = vhdx_resize, .check = vhdx_check, .zero_initialised = zero_initialised, .check_parent = vhdx_check_parent,
    .parent_fixed = "The parent of a vhdx image cannot be written to: it would no longer be the disk that the image "
                    "was made on",
};
