/* SPDX-License-Identifier: MIT */
/*
 * vpc - virtual hard disks (VHD) of Virtual PC, Hyper-V and Azure.
 * Specification: "Virtual Hard Disk Image Format Specification", Microsoft, version 1.0 of October 11, 2006.
 *
 * A fixed disk is its bytes followed by a footer.  A dynamic disk begins with a copy of the footer and a header; a
 * block allocation table (BAT) has the places of the blocks, each of which follows a bitmap of its sectors.  All
 * numbers are big-endian.
 */
#ifndef IMG_VPC_H
#define IMG_VPC_H

#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include <string.h>

#define VPC_COOKIE "conectix"

#define VPC_HEADER_COOKIE "cxsparse"

enum {
    VPC_SECTOR = 512, VPC_FOOTER_BYTES = 512, VPC_HEADER_BYTES = 1024, VPC_BLOCK = 2 << 20,
    VPC_MAX_GIB = 2040
};
#define VPC_MAX_SECTORS ((uint64_t)VPC_MAX_GIB << 21)
/* qemu-img's limit of a file offset. */
#define VPC_MAX_OFFSET 0x7fffffffc0000000ull
/* BAT entry of an unallocated block. */
#define VPC_UNUSED 0xffffffffu

/* "Hard Disk Footer Format": offsets of its fields. */
enum {
    VPC_FEATURES = 8, VPC_VERSION = 12, VPC_DATA_OFFSET = 16, VPC_TIME = 24, VPC_CREATOR = 28, VPC_CREATOR_VERSION = 32,
    VPC_CREATOR_SYSTEM = 36, VPC_ORIGINAL_SIZE = 40, VPC_CURRENT_SIZE = 48, VPC_CYLINDERS = 56, VPC_HEADS = 58,
    VPC_SECTORS_PER_TRACK = 59, VPC_TYPE = 60, VPC_CHECKSUM = 64, VPC_UUID = 68
};
enum { VPC_TYPE_FIXED = 2, VPC_TYPE_DYNAMIC = 3, VPC_TYPE_DIFFERENCING = 4 };

/* "Dynamic Disk Header Format" */
enum {
    VPC_HEADER_NEXT = 8, VPC_TABLE_OFFSET = 16, VPC_HEADER_VERSION = 24, VPC_MAX_ENTRIES = 28, VPC_BLOCK_SIZE = 32,
    VPC_HEADER_CHECKSUM = 36
};

struct vpc_geometry { uint16_t cylinders; uint8_t heads, sectors; };

struct vpc_open_options {
    char *force_size_calc;
};

struct vpc_create_options {
    int64_t size;
    char *subformat;
    int8_t force_size, azure;
};

struct vpc {
    bool fixed;
    uint8_t footer[VPC_FOOTER_BYTES];   /* as read: it is rewritten after each new block */
    /* the rest is for dynamic disks */
    uint64_t header_offset, table_offset;
    uint32_t entries;                   /* of the BAT */
    uint32_t block_size, bitmap_bytes;
    uint64_t free_offset;               /* place of the next block */
    uint64_t marked;                    /* place of the block whose bitmap was written last; 0: none */
    struct img_pages *table;            /* pages of the BAT */
};

static inline struct vpc *vpc_state(const struct img *image)
{
    return image->state;
}

static inline bool vpc_is_footer(const uint8_t *bytes)
{
    return memcmp(bytes, VPC_COOKIE, sizeof VPC_COOKIE - 1) == 0;
}

/* footer.c */
/* Checksum of a footer or header, whose checksum field is at `field`. */
uint32_t vpc_checksum(const uint8_t *bytes, size_t length, size_t field);
uint64_t vpc_geometry_sectors(struct vpc_geometry geometry);
/* The smallest geometry, by the specification, with room for that many sectors; or the largest there is. */
struct vpc_geometry vpc_geometry_for(uint64_t sectors);
extern const struct vpc_geometry vpc_largest;
/* The largest by the specification that is not larger than the disk; and the one in a footer. */
struct vpc_geometry vpc_geometry_within(uint64_t sectors);
struct vpc_geometry vpc_footer_geometry(const uint8_t *footer);
/* These creators use the geometry; all others the bytes. */
bool vpc_counts_by_geometry(const uint8_t *creator);
/*
 * Number of sectors of the disk that a footer describes; `calc`: how the user wants it computed, NULL: as its
 * creator does.
 */
uint64_t vpc_disk_sectors(const uint8_t *footer, const char *calc);

/* open.c */
extern const struct img_driver img_driver_vpc;
/* Beyond the end of the file bytes read as zeroes, also if another format lies below. */
int vpc_read(struct img *image, void *buffer, uint64_t offset, size_t length);

/* dynamic.c */
/* Read header and BAT, and find the end of the blocks. */
int vpc_open_dynamic(struct img *image, struct img_error *err);
/* Returns 1 if the data of block `index` begin at *host; 0: unallocated; negative errno. */
int vpc_find_block(struct img *image, uint64_t index, uint64_t *host);
/* Set the place of a block's bitmap to `place`. */
int vpc_set_block(struct img *image, uint64_t index, uint64_t place);
int vpc_look_for_missing(struct img *image);
int vpc_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* write.c */
int vpc_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int vpc_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int vpc_flush(struct img *image);

/* resize.c */
int vpc_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* create.c */
struct vpc_plan {
    bool fixed, exact;
    uint64_t sectors;
    struct vpc_geometry geometry;
    uint8_t footer[VPC_FOOTER_BYTES];
};
extern const struct img_option vpc_options[];
/* Derive the disk from these options; touches no file. */
int vpc_plan_disk(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err);
int vpc_create(const struct img_create *request, struct img_error *err);

/* stream.c */
extern const struct img_stream_ops vpc_stream_ops;

#endif
