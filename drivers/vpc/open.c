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

/* Find the valid footer: the copy at the beginning, or else the one at the end of a fixed disk. */
static int read_footer(struct img *image, bool *in_front, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    uint64_t size = img_align_up(img_size(image->file), VPC_SECTOR);
    int status;

    if (size < VPC_FOOTER_BYTES)
        return img_error_set(err, EINVAL, "File too small for a VHD header");
    if ((status = vpc_read(image, s->footer, 0, VPC_FOOTER_BYTES)) < 0)
        return img_error_set(err, -status, "Unable to read VHD header");
    *in_front = vpc_is_footer(s->footer);
    if (!*in_front) {
        /* The rounding also finds a footer of 511 bytes, from old versions. */
        if ((status = vpc_read(image, s->footer, size - VPC_FOOTER_BYTES, VPC_FOOTER_BYTES)) < 0)
            return wordless(image, -status, err);
        if (!vpc_is_footer(s->footer) || img_get_be32(s->footer + VPC_TYPE) != VPC_TYPE_FIXED)
            return img_error_set(err, EINVAL, "invalid VPC image");
    }
    if (vpc_checksum(s->footer, VPC_FOOTER_BYTES, VPC_CHECKSUM) != img_get_be32(s->footer + VPC_CHECKSUM))
        return img_error_set(err, EINVAL, "Incorrect header checksum");
    return 0;
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
    if (type == VPC_TYPE_DIFFERENCING)
        return img_error_set(err, ENOTSUP, "Differencing VHD images are not supported: what is not in the image is in "
                             "its parent");
    s->fixed = type == VPC_TYPE_FIXED;
    return in_front ? vpc_open_dynamic(image, err) : 0;
}

static int vpc_close(struct img *image)
{
    struct vpc *s = vpc_state(image);
    int status = image->flags & IMG_RDWR ? vpc_flush(image) : 0;

    img_pages_free(s->table);
    return status;
}

static bool vpc_zero_initialised(struct img *image)
{
    return !vpc_state(image)->fixed || img_zero_initialised(image->file);
}

const struct img_driver img_driver_vpc = {
    IMG_ROW(
        .name = "vpc", .kind = IMG_FORMAT, .precedence = 2,
        /* Only a dynamic disk can be recognised by its beginning. */
        .marks = IMG_MARKS(IMG_AT(0, "conectix"))
    ),
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
    .zero_initialised = vpc_zero_initialised,
    .strong_options = strong_options,
};
