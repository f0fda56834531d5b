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
    VPC_HEADER_CHECKSUM = 36, VPC_PARENT_UUID = 40, VPC_PARENT_TIME = 56, VPC_PARENT_NAME = 64, VPC_LOCATORS = 576
};
enum { VPC_UUID_BYTES = 16, VPC_PARENT_NAME_BYTES = 512, VPC_LOCATOR_COUNT = 8, VPC_LOCATOR_BYTES = 24 };

struct vpc_geometry { uint16_t cylinders; uint8_t heads, sectors; };

struct vpc_open_options {
    char *force_size_calc;
};

struct vpc_create_options {
    int64_t size;
    char *subformat, *backing_file, *backing_fmt;
    int8_t force_size, azure;
};

struct vpc {
    bool fixed;
    bool differencing;                  /* what is not in a block, or not in its bitmap, is in the parent */
    uint8_t parent_uuid[VPC_UUID_BYTES];
    uint8_t footer[VPC_FOOTER_BYTES];   /* as read: it is rewritten after each new block */
    /* the rest is for dynamic disks */
    uint64_t header_offset, table_offset;
    uint32_t entries;                   /* of the BAT */
    uint32_t block_size, bitmap_bytes;
    uint64_t names_end;                 /* of the names of the parent; 0: none */
    uint64_t free_offset;               /* place of the next block */
    uint64_t marked;                    /* place of the block whose bitmap was written last; 0: none */
    struct img_pages *table;            /* pages of the BAT */
    struct img_pages *bitmaps;          /* of a differencing disk: pages of the bitmaps of its blocks */
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

/* bitmap.c */
/* The bitmaps of a differencing disk in memory. */
int vpc_open_bitmaps(struct img *image);
/* Are the sectors from the one at byte `inside` of the block on its own?  *length is how far that goes, at most to the
 * end of the block.  `host`: where the data of the block begin. */
int vpc_look_at_sectors(struct img *image, uint64_t host, uint64_t inside, bool *own, uint64_t *length);
/* From now on the sectors of these bytes are its own. */
int vpc_own_sectors(struct img *image, uint64_t host, uint64_t inside, uint64_t length);

/* parent.c */
/* What the dynamic header says of the parent. */
int vpc_read_parent(struct img *image, const uint8_t *header, struct img_error *err);
int vpc_check_parent(struct img *image, struct img *candidate, struct img_error *err);
/* End of the names in the file: a new block must not lie over them. */
uint64_t vpc_locators_end(const struct img *image, const uint8_t *header);

/* new-parent.c */
/* The parent of a new differencing disk: what its footer is copied from, and its name in UTF-16, in whole sectors. */
struct vpc_new_parent {
    uint8_t footer[VPC_FOOTER_BYTES];
    uint64_t size;
    uint32_t time;                      /* of its last change */
    bool relative;
    uint8_t *name;
    size_t name_bytes, room;            /* in the file: whole sectors */
    uint8_t *file_name;                 /* its last part, the high byte first */
    size_t file_name_bytes;
};
int vpc_take_parent(const struct img_create *request, struct vpc_new_parent *parent, struct img_error *err);
void vpc_free_parent(struct vpc_new_parent *parent);
/* Fill the parent's fields of a dynamic header, whose name is at `place` in the file. */
void vpc_put_parent(const struct vpc_new_parent *parent, uint64_t place, uint8_t *header);

/* write.c */
int vpc_publish(struct img *image, struct img_reservation *at);
int vpc_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int vpc_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int vpc_flush(struct img *image);

/* resize.c */
int vpc_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* The first second of the year 2000, from which the format counts. */
#define VPC_EPOCH 946684800

/* create.c */
struct vpc_plan {
    bool fixed, exact;
    uint64_t sectors;
    struct vpc_geometry geometry;
    uint8_t footer[VPC_FOOTER_BYTES];
    const struct vpc_new_parent *parent;    /* NULL: none */
};
extern const struct img_option vpc_options[];
/* Derive the disk from these options; touches no file. */
int vpc_plan_disk(const struct vpc_create_options *given, struct vpc_plan *plan, struct img_error *err);
int vpc_create(const struct img_create *request, struct img_error *err);

/* stream.c */
extern const struct img_stream_ops vpc_stream_ops;

#endif
