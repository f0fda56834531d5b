/* SPDX-License-Identifier: MIT */
/*
 * A larger disk.  Specification: "Hard Disk Footer Format", "Dynamic Disk Header Format", "Block Allocation Table and Data
 * Blocks".
 *
 * Fixed: a footer behind the new end makes the file the larger disk; the old footer becomes zeroes afterwards.
 *
 * Dynamic: a longer BAT goes behind the last block, with a footer behind it.  The header is changed to it by a write of one
 * sector, which has all that changes.  Until the copy of the footer at the beginning has the new size, the disk has the
 * old one, with a BAT that is too long.
 */
#include "vpc.h"
#include "../../libimg/util/cleanup.h"

enum { ENTRY = 4, CHUNK = 64 << 10 };

/* The footer for a disk of at least that many sectors.  Those who count by the geometry get a whole one. */
static int plan_footer(const struct vpc *s, uint64_t sectors, uint8_t *footer, struct img_error *err)
{
    struct vpc_geometry geometry = vpc_geometry_for(sectors);
    uint64_t seen = vpc_geometry_sectors(geometry);

    memcpy(footer, s->footer, VPC_FOOTER_BYTES);
    if (!vpc_counts_by_geometry(footer + VPC_CREATOR))
        geometry = vpc_geometry_sectors(vpc_footer_geometry(footer)) == vpc_geometry_sectors(vpc_largest)
                       ? vpc_largest : vpc_geometry_within(sectors);
    else if (seen != vpc_geometry_sectors(vpc_largest))
        sectors = seen;
    if (sectors > VPC_MAX_SECTORS)
        return img_error_set(err, EFBIG, "The image size is too large for file format 'vpc'");
    img_put_be64(footer + VPC_CURRENT_SIZE, sectors * VPC_SECTOR);
    img_put_be16(footer + VPC_CYLINDERS, geometry.cylinders);
    footer[VPC_HEADS] = geometry.heads;
    footer[VPC_SECTORS_PER_TRACK] = geometry.sectors;
    img_put_be32(footer + VPC_CHECKSUM, vpc_checksum(footer, VPC_FOOTER_BYTES, VPC_CHECKSUM));
    return 0;
}

/* ---- Fixed ------------------------------------------------------------------------ */

static int grow_fixed(struct img *image, const uint8_t *footer, uint64_t size)
{
    uint64_t old = img_align_up(img_size(image->file), VPC_SECTOR) - VPC_FOOTER_BYTES;
    int status;

    if (size <= old)
        return size == image->size ? 0 : -EINVAL;
    status = img_pwrite(image->file, footer, size, VPC_FOOTER_BYTES);
    if (status == 0)
        status = img_barrier(image);
    if (status == 0)
        status = img_zero(image->file, old, img_min(VPC_FOOTER_BYTES, size - old), 0);
    return status < 0 ? status : img_barrier(image);
}

/* ---- Dynamic ---------------------------------------------------------------------- */

/* Name the table in the header, whose first sector has all that changes. */
static int put_header(struct img *image, uint64_t table, uint32_t entries)
{
    struct vpc *s = vpc_state(image);
    uint8_t header[VPC_HEADER_BYTES];
    int status = vpc_read(image, header, s->header_offset, sizeof header);

    img_put_be64(header + VPC_TABLE_OFFSET, table);
    img_put_be32(header + VPC_MAX_ENTRIES, entries);
    img_put_be32(header + VPC_HEADER_CHECKSUM, vpc_checksum(header, VPC_HEADER_BYTES, VPC_HEADER_CHECKSUM));
    if (status == 0)
        status = img_pwrite(image->file, header, s->header_offset, VPC_SECTOR);
    return status < 0 ? status : img_barrier(image);
}

/* Write the entries from `first` on, up to the end of a sector, to the table at `table`. */
static int put_entries(struct img *image, uint64_t table, uint32_t first, uint32_t entries)
{
    struct vpc *s = vpc_state(image);
    uint64_t at = (uint64_t)first * ENTRY, end = img_align_up((uint64_t)entries * ENTRY, VPC_SECTOR);
    CLEANUP_FREE uint8_t *chunk = malloc(CHUNK);
    int status = chunk ? 0 : -ENOMEM;

    while (at < end && status == 0) {
        size_t length = (size_t)img_min(end - at, CHUNK);
        uint64_t old = (uint64_t)s->entries * ENTRY;
        memset(chunk, 0xff, length);
        if (at < old)
            status = vpc_read(image, chunk, s->table_offset + at, (size_t)img_min(length, old - at));
        if (status == 0)
            status = img_pwrite(image->file, chunk, table + at, length);
        at += length;
    }
    return status < 0 ? status : img_barrier(image);
}

/* A new table over the old footer; a footer is behind it before. */
static int move_table(struct img *image, uint32_t entries)
{
    struct vpc *s = vpc_state(image);
    uint64_t place = s->free_offset, end = place + img_align_up((uint64_t)entries * ENTRY, VPC_SECTOR);
    int status = img_pwrite(image->file, s->footer, end, VPC_FOOTER_BYTES);

    if (status == 0)
        status = img_barrier(image);
    if (status == 0)
        status = put_entries(image, place, 0, entries);
    if (status == 0)
        status = put_header(image, place, entries);
    if (status < 0)
        return status;
    img_pages_forget(s->table);
    s->table_offset = place;
    s->free_offset = end;
    s->entries = entries;
    return 0;
}

static int lengthen_table(struct img *image, uint32_t entries)
{
    struct vpc *s = vpc_state(image);
    int status;

    if (entries <= s->entries)
        return 0;
    if ((status = img_pages_write(s->table)) < 0 || (status = img_barrier(image)) < 0)
        return status;
    if ((uint64_t)entries * ENTRY > img_align_up((uint64_t)s->entries * ENTRY, VPC_SECTOR))
        return move_table(image, entries);
    /* The rest of the last sector is free. */
    if ((status = put_entries(image, s->table_offset, s->entries, entries)) < 0 ||
        (status = put_header(image, s->table_offset, entries)) < 0)
        return status;
    img_pages_forget(s->table);
    s->entries = entries;
    return 0;
}

/* What is behind the end of the disk in its last block must not appear. */
static int clear_tail(struct img *image)
{
    struct vpc *s = vpc_state(image);
    uint64_t inside = image->size & (s->block_size - 1), host;
    int there = inside ? vpc_find_block(image, image->size / s->block_size, &host) : 0;

    return there > 0 ? img_zero(image->file, host + inside, s->block_size - inside, IMG_ZERO_MAY_UNMAP) : there;
}

static int grow_dynamic(struct img *image, const uint8_t *footer, uint64_t size)
{
    struct vpc *s = vpc_state(image);
    uint64_t entries = img_div_up(size, s->block_size);
    int status = entries <= INT32_MAX / ENTRY ? clear_tail(image) : -EFBIG;

    if (status == 0)
        status = lengthen_table(image, (uint32_t)entries);
    /* The copy in front decides. */
    if (status == 0)
        status = img_pwrite(image->file, footer, 0, VPC_FOOTER_BYTES);
    if (status == 0)
        status = img_barrier(image);
    if (status == 0)
        status = img_pwrite(image->file, footer, img_align_up(img_size(image->file), VPC_SECTOR) - VPC_FOOTER_BYTES,
                            VPC_FOOTER_BYTES);
    return status < 0 ? status : img_barrier(image);
}

int vpc_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    uint8_t footer[VPC_FOOTER_BYTES];
    int status;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (s->differencing)
        return img_error_set(err, ENOTSUP, "A differencing disk has the size of its parent");
    if (size < image->size)
        return img_error_set(err, ENOTSUP, "Shrinking images is currently not supported");
    if (size == image->size)
        return 0;
    if ((status = plan_footer(s, img_div_up(size, VPC_SECTOR), footer, err)) < 0)
        return status;
    size = vpc_disk_sectors(footer, NULL) * VPC_SECTOR;
    status = s->fixed ? grow_fixed(image, footer, size) : grow_dynamic(image, footer, size);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to resize");
    memcpy(s->footer, footer, sizeof footer);
    image->size = size;
    return 0;
}
