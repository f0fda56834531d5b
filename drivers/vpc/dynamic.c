/* SPDX-License-Identifier: MIT */
/*
 * Dynamic disks: the header, the block allocation table, and map.
 * Specification: "Dynamic Disk Header Format", "Block Allocation Table and Data Blocks".
 */
#include "vpc.h"
#include "../../libimg/io/entries.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/cleanup.h"
#include <inttypes.h>

enum { ENTRY = 4, SCAN_BYTES = 64 << 10, PAGE_BYTES = 4096, TABLE_MEMORY = 1 << 20 };
/* qemu-img's limits of a table: an array indexed by an int, read in one request. */
enum { MAX_ENTRIES = INT32_MAX / ENTRY, MAX_TABLE_BYTES = INT32_MAX / VPC_SECTOR * VPC_SECTOR };

/* ---- Opening ------------------------------------------------------------------ */

/* Read and validate the header; like qemu-img, ignore the checksum. */
static int read_header(struct img *image, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    uint8_t header[VPC_HEADER_BYTES];

    s->header_offset = img_get_be64(s->footer + VPC_DATA_OFFSET);
    int status = vpc_read(image, header, s->header_offset, sizeof header);
    if (status < 0)
        return img_error_set(err, -status, "Error reading dynamic VHD header");
    if (memcmp(header, VPC_HEADER_COOKIE, 8) != 0)
        return img_error_set(err, EINVAL, "Invalid header magic");
    s->table_offset = img_get_be64(header + VPC_TABLE_OFFSET);
    s->entries = img_get_be32(header + VPC_MAX_ENTRIES);
    s->block_size = img_get_be32(header + VPC_BLOCK_SIZE);
    if (!img_power_of_two(s->block_size) || s->block_size < VPC_SECTOR)
        return img_error_set(err, EINVAL, "Invalid block size %" PRIu32, s->block_size);
    /* One bit per sector; blocks too small for a byte of bits have none, as in qemu-img. */
    s->bitmap_bytes = (uint32_t)img_align_up(s->block_size / VPC_SECTOR / 8, VPC_SECTOR);
    if (s->differencing && s->bitmap_bytes == 0)
        return img_error_set(err, EINVAL, "Invalid block size %" PRIu32, s->block_size);
    /* A number that exceeds an int passes here, as in qemu-img; the next check is for it. */
    if (s->entries <= INT32_MAX && (uint64_t)s->entries * s->block_size < image->size)
        return img_error_set(err, EINVAL, "Page table too small");
    if (s->entries > MAX_ENTRIES)
        return img_error_set(err, EINVAL, "Max Table Entries too large (%" PRId32 ")", (int32_t)s->entries);
    return s->differencing ? vpc_read_parent(image, header, err) : 0;
}

static uint64_t block_end(const struct vpc *s, uint32_t entry)
{
    return (uint64_t)entry * VPC_SECTOR + s->bitmap_bytes + s->block_size;
}

/* Update the end of the last block from a part of the table. */
static uint64_t scan_entries(const struct vpc *s, const uint8_t *bytes, size_t length, uint64_t end)
{
    for (size_t i = 0; i < length; i += ENTRY) {
        uint32_t entry = img_get_be32(bytes + i);
        if (entry != VPC_UNUSED)
            end = img_max(end, block_end(s, entry));
    }
    return end;
}

/* Find bytes from `at` on in a hole of the file, which may be far larger than the stored data. */
static int find_hole(struct img *image, uint64_t at, uint64_t length, uint64_t *hole)
{
    struct img_extent extent;
    int status = img_map_chain(image->file, NULL, at, length, &extent);

    *hole = status == 0 && (extent.kind == IMG_ZERO || extent.kind == IMG_HOLE) ? extent.length : 0;
    return status;
}

/* Scan the part of the table inside the file. */
static int scan_table(struct img *image, uint64_t bytes, uint64_t *end)
{
    const struct vpc *s = vpc_state(image);
    uint64_t limit = img_min(s->table_offset + bytes, img_size(image->file)), at = s->table_offset, hole;
    CLEANUP_FREE uint8_t *chunk = malloc(SCAN_BYTES);
    int status = chunk ? 0 : -ENOMEM;

    while (status == 0 && at < limit) {
        size_t length = (size_t)img_min(s->table_offset + bytes - at, SCAN_BYTES);
        if ((status = find_hole(image, at, limit - at, &hole)) < 0)
            break;
        if (hole >= SCAN_BYTES) {
            *end = img_max(*end, block_end(s, 0));
            at += img_align_down(hole, SCAN_BYTES);
            continue;
        }
        status = vpc_read(image, chunk, at, length);
        if (status == 0)
            *end = scan_entries(s, chunk, length, *end);
        at += length;
    }
    return status;
}

/* Find the end of the last block. */
static int find_end(struct img *image, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    uint64_t bytes = (uint64_t)s->entries * ENTRY, size = img_size(image->file);

    if (bytes > MAX_TABLE_BYTES || !img_within(s->table_offset, bytes, VPC_MAX_OFFSET))
        return img_error_set(err, EINVAL, "Error reading pagetable");
    uint64_t there = s->table_offset < size ? img_min(bytes, img_align_up(size - s->table_offset, ENTRY)) : 0;
    s->free_offset = img_align_up(s->table_offset + bytes, VPC_SECTOR);
    int status = scan_table(image, there, &s->free_offset);
    if (status < 0)
        return img_error_set(err, -status, "Error reading pagetable");
    /* Entries beyond the end of the file read as 0, which is a valid place. */
    if (there < bytes)
        s->free_offset = img_max(s->free_offset, block_end(s, 0));
    if (s->free_offset > img_align_up(size, VPC_SECTOR))
        return img_error_set(err, EINVAL, "block-vpc: free_data_block_offset points after the end of file. The image "
                             "has been truncated.");
    s->free_offset = img_max(s->free_offset, img_align_up(s->header_offset + VPC_HEADER_BYTES, VPC_SECTOR));
    s->free_offset = img_max(s->free_offset, img_align_up(s->names_end, VPC_SECTOR));
    return 0;
}

int vpc_open_dynamic(struct img *image, struct img_error *err)
{
    struct vpc *s = vpc_state(image);
    int status = read_header(image, err);

    if (status == 0)
        status = find_end(image, err);
    if (status < 0 || s->fixed)
        return status;
    image->limits.cluster = s->block_size;
    s->table = img_pages_new(image, PAGE_BYTES, TABLE_MEMORY, img_barrier_aside);
    if (!s->table)
        return -ENOMEM;
    return s->differencing ? vpc_open_bitmaps(image) : 0;
}

/* ---- Mapping --------------------------------------------------------------------- */

int vpc_find_block(struct img *image, uint64_t index, uint64_t *host)
{
    const struct vpc *s = vpc_state(image);
    uint8_t *entry;
    int status = img_pages_look(s->table, s->table_offset, index * ENTRY, &entry);

    if (status < 0)
        return status;
    *host = (uint64_t)img_get_be32(entry) * VPC_SECTOR + s->bitmap_bytes;
    return img_get_be32(entry) != VPC_UNUSED;
}

int vpc_set_block(struct img *image, uint64_t index, uint64_t place)
{
    const struct vpc *s = vpc_state(image);
    uint8_t *entry;
    int status = img_pages_entry(s->table, s->table_offset, index * ENTRY, &entry);

    if (status < 0)
        return status;
    img_put_be32(entry, (uint32_t)(place / VPC_SECTOR));
    img_pages_entry_changed(s->table, entry, ENTRY);
    return 0;
}

/* A dynamic disk has no parent, so all sectors of a block are its own, whatever its bitmap says. */
static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *block)
{
    const struct vpc *s = vpc_state(image);
    uint64_t host;
    int there = vpc_find_block(image, guest / s->block_size, &host);

    (void)table;
    if (there < 0)
        return there;
    block->kind = there ? IMG_DATA : IMG_ZERO;
    block->host_valid = there;
    block->file = image->file;
    block->host = there ? host + (guest & (s->block_size - 1)) : 0;
    return 0;
}

/* On a differencing disk, a run of sectors that are the disk's own or those of the parent. */
static int look_at_sectors(struct img *image, uint64_t table, uint64_t guest, struct img_extent *run)
{
    const struct vpc *s = vpc_state(image);
    uint64_t host, inside = guest & (s->block_size - 1);
    int there = vpc_find_block(image, guest / s->block_size, &host);
    bool own = false;

    (void)table;
    run->length = s->block_size - inside;
    if (there > 0)
        there = vpc_look_at_sectors(image, host, inside, &own, &run->length);
    if (there < 0)
        return there;
    run->kind = own ? IMG_DATA : IMG_HOLE;
    run->host_valid = own;
    run->file = image->file;
    run->host = own ? host + inside : 0;
    return 0;
}

/* The places of the blocks of a dynamic disk were looked at when it was opened. */
int vpc_look_for_missing(struct img *image)
{
    if (vpc_state(image)->fixed)
        img_has_bytes(image, image->file, 0, image->size);
    return 0;
}

int vpc_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct vpc *s = vpc_state(image);
    const struct img_entries entries = { .unit = s->block_size, .look = s->differencing ? look_at_sectors : look };

    if (!s->fixed)
        return img_map_entries(image, &entries, offset, length, extent);
    *extent = (struct img_extent){ .offset = offset, .length = length, .kind = IMG_DATA, .host_valid = true,
                                   .recurse = true, .file = image->file, .host = offset };
    return 0;
}
