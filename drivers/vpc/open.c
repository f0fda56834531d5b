/* SPDX-License-Identifier: MIT */
/*
 * The vtable, and open: finds the valid footer, and the disk that it describes.
 * Specification: "Overview of Virtual Hard Disk Image Types", "Hard Disk Footer Format".
 */
#include "vpc.h"

static const char *const strong_options[] = { "force_size_calc", NULL };

int vpc_read(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    return img_within(offset, length, VPC_MAX_OFFSET) ? img_pread_padded(image->file, buffer, offset, length) : -EIO;
}

/* An error for which qemu-img has no message. */
static int wordless(const struct img *image, int code, struct img_error *err)
{
    return img_error_errno(err, code, "Could not open '%s'", img_filename(image->file));
}

static bool is_sealed(const uint8_t *footer)
{
    return vpc_checksum(footer, VPC_FOOTER_BYTES, VPC_CHECKSUM) == img_get_be32(footer + VPC_CHECKSUM);
}

static int check_sum(const uint8_t *footer, struct img_error *err)
{
    return is_sealed(footer) ? 0 : img_error_set(err, EINVAL, "Incorrect header checksum");
}

/* Is it the footer of a fixed disk? */
static int check_fixed(const uint8_t *footer, struct img_error *err)
{
    if (!vpc_is_footer(footer) || img_get_be32(footer + VPC_TYPE) != VPC_TYPE_FIXED)
        return img_error_set(err, EINVAL, "invalid VPC image");
    return check_sum(footer, err);
}

/* The footer at the end.  The rounding also finds one of 511 bytes, from old versions. */
static int read_last(struct img *image, uint8_t footer[VPC_FOOTER_BYTES])
{
    uint64_t end = img_align_up(img_size(image->file), VPC_SECTOR);

    return vpc_read(image, footer, end - VPC_FOOTER_BYTES, VPC_FOOTER_BYTES);
}

/* A dynamic disk whose copy in front is damaged has the same at its end: that is what it is there for. */
static int use_last(struct img *image, uint8_t *footer)
{
    uint8_t last[VPC_FOOTER_BYTES];
    int status = read_last(image, last);

    if (status < 0 || !vpc_is_footer(last) || !is_sealed(last) || img_get_be32(last + VPC_TYPE) == VPC_TYPE_FIXED)
        return status;
    memcpy(footer, last, VPC_FOOTER_BYTES);
    return 0;
}

/* Find the valid footer: the copy at the beginning, or else the one at the end. */
static int read_footer(struct img *image, bool *in_front, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    int status;

    if (img_align_up(img_size(image->file), VPC_SECTOR) < VPC_FOOTER_BYTES)
        return img_error_set(err, EINVAL, "File too small for a VHD header");
    if ((status = vpc_read(image, s->footer, 0, VPC_FOOTER_BYTES)) < 0)
        return img_error_set(err, -status, "Unable to read VHD header");
    *in_front = vpc_is_footer(s->footer);
    if (*in_front && is_sealed(s->footer))
        return 0;
    if (image->file->limits.forward)
        return -ESPIPE;
    status = *in_front ? use_last(image, s->footer) : read_last(image, s->footer);
    if (status < 0)
        return wordless(image, -status, err);
    return *in_front ? check_sum(s->footer, err) : check_fixed(s->footer, err);
}

/* A disk of no size is one without a place for data; else somebody has forgotten the size. */
static int check_size(const struct img *image, struct img_error *err)
{
    const struct vpc *s = vpc_state(image);
    bool has_room = s->fixed ? img_size(image->file) > VPC_FOOTER_BYTES : s->entries > 0;

    if (image->size > 0 || !has_room)
        return 0;
    return img_error_set(err, EINVAL, "VHD footer does not say the size of the disk");
}

static void release(const struct vpc *s)
{
    img_pages_free(s->table);
    img_pages_free(s->bitmaps);
}

static int vpc_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const char *calc = ((const struct vpc_open_options *)parsed)->force_size_calc;
    struct vpc *s = vpc_state(image);
    bool in_front = false;
    int status;

    (void)options;
    if (calc && strcmp(calc, "chs") != 0 && strcmp(calc, "current_size") != 0)
        return img_error_set(err, EINVAL, "Invalid size calculation mode: '%s'", calc);
    if ((status = read_footer(image, &in_front, err)) < 0)
        return status;
    uint64_t sectors = vpc_disk_sectors(s->footer, calc);
    if (sectors > VPC_MAX_SECTORS)
        return wordless(image, EFBIG, err);
    image->size = sectors * VPC_SECTOR;
    image->limits.write_unit = image->limits.lock_unit = VPC_SECTOR;
    uint32_t type = img_get_be32(s->footer + VPC_TYPE);
    s->differencing = type == VPC_TYPE_DIFFERENCING;
    s->fixed = type == VPC_TYPE_FIXED;
    status = in_front ? vpc_open_dynamic(image, err) : 0;
    if (status == 0)
        status = check_size(image, err);
    if (status < 0)
        release(s);
    return status;
}

static int vpc_close(struct img *image)
{
    struct vpc *s = vpc_state(image);
    int status = image->flags & IMG_RDWR ? vpc_flush(image) : 0;

    release(s);
    return status;
}

static bool vpc_zero_initialised(struct img *image)
{
    const struct vpc *s = vpc_state(image);

    return s->fixed ? img_zero_initialised(image->file) : !s->differencing;
}

/* ---- A fixed disk that comes through a pipe --------------------------------------------- */

static bool begins_fixed(const uint8_t *head)
{
    return !vpc_is_footer(head);
}

static int judge_fixed(const uint8_t *footer, uint64_t before, uint64_t *size, struct img_error *err)
{
    int status = check_fixed(footer, err);

    (void)before;
    if (status == 0)
        *size = vpc_disk_sectors(footer, NULL) * VPC_SECTOR;
    return status;
}

/* What the geometry leaves out is less than a cylinder. */
static const struct img_trailer trailer = {
    .length = VPC_FOOTER_BYTES, .excess = 16 * 255 * VPC_SECTOR, .fits = begins_fixed, .judge = judge_fixed,
};

const struct img_driver img_driver_vpc = {
    IMG_ROW(
        .name = "vpc", .kind = IMG_FORMAT, .alias = "vhd", .precedence = 2,
        /* Only a dynamic disk can be recognised by its beginning. */
        .marks = IMG_MARKS(IMG_AT(0, "conectix"))
    ),
    .traits = IMG_CAN_BACK | IMG_READS_FORWARD,
    .trailer = &trailer,
    .state_size = sizeof(struct vpc),
    .options = vpc_options,
    .create_size = sizeof(struct vpc_create_options),
    .open_size = sizeof(struct vpc_open_options),
    .open = vpc_open,
    .close = vpc_close,
    .unflushed = "Failed to write the block allocation table",
    .create = vpc_create,
    .stream = &vpc_stream_ops,
    .zero = vpc_zero,
    .flush = vpc_flush,
    .map = vpc_map,
    .resize = vpc_resize,
    .look_for_missing = vpc_look_for_missing,
    .reserve = vpc_reserve,
    .publish = vpc_publish,
    .check_parent = vpc_check_parent,
    .zero_initialised = vpc_zero_initialised,
    .strong_options = strong_options,
};
