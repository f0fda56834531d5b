/* SPDX-License-Identifier: MIT */
/*
 * vdi.h - state shared by the files of the vdi driver.
 * Description: "VirtualBox Disk Image", as published in the VirtualBox forum ("All about VDIs") and on the program's
 * web pages; the numbers are little-endian.
 *
 *     header      512 bytes
 *     block map   for each block of the disk, the number of the block in the file
 *     blocks      1 MiB each
 *
 *   open.c      the vtable, the header, open and close
 *   map.c       the block map in memory; guest range -> extent
 *   reserve.c   guest writes: a block, its bytes, then the entry of the block map; zeroes
 *   parent.c    the parent of a differencing image
 *   check.c     checks the block map
 *   resize.c    a larger disk: a longer block map
 *   create.c    new images
 */
#ifndef VDI_H
#define VDI_H

#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"

#define VDI_MAGIC 0xbeda107fu

enum {
    VDI_SIGNATURE = 0x40, VDI_VERSION = 0x44, VDI_HEADER_SIZE = 0x48, VDI_TYPE = 0x4c, VDI_MAP_OFFSET = 0x154,
    VDI_DATA_OFFSET = 0x158, VDI_SECTOR_SIZE = 0x168, VDI_DISK_SIZE = 0x170, VDI_BLOCK_SIZE = 0x178, VDI_BLOCKS = 0x180,
    VDI_BLOCKS_ALLOCATED = 0x184, VDI_UUID = 0x188, VDI_UUID_MODIFIED = 0x198, VDI_UUID_LINK = 0x1a8,
    VDI_UUID_PARENT_MODIFIED = 0x1b8, VDI_UUID_BYTES = 16, VDI_HEADER_BYTES = 512
};
enum { VDI_TYPE_DYNAMIC = 1, VDI_TYPE_STATIC = 2, VDI_TYPE_DIFFERENCING = 4 };

#define VDI_VERSION_1_1 0x00010001u
#define VDI_BLOCK_BITS 20
#define VDI_BLOCK (1u << VDI_BLOCK_BITS)
/* The usual granularity of holes in a file. */
#define VDI_HOLE_UNIT 4096
#define VDI_MAX_BLOCKS 0x1fffff80u
#define VDI_MAX_SIZE ((uint64_t)VDI_MAX_BLOCKS << VDI_BLOCK_BITS)

/* Entries of the block map from here on have no place: discarded (zeroes), and never written. */
#define VDI_DISCARDED 0xfffffffeu
#define VDI_UNALLOCATED 0xffffffffu

struct vdi {
    uint32_t type, blocks;
    uint64_t map_offset, data_offset;
    struct img_pages *pages;        /* of the block map */
    /* Identifiers, as stored: of the image and of its content; of a differencing image also those of its parent. */
    uint8_t uuid[VDI_UUID_BYTES], modified[VDI_UUID_BYTES];
    bool differencing;
    uint8_t parent_uuid[VDI_UUID_BYTES], parent_modified[VDI_UUID_BYTES];

    /* For writing, from here on. */
    uint8_t *used;                  /* a bit for each of the first `tracked` blocks of the file */
    uint32_t tracked;               /* one more than the entries of the map in the file, so at least one is always free */
    uint32_t first_free;            /* none below is free */
    uint32_t first_fresh;           /* from here on the file was never written */
    uint32_t end;                   /* end of all blocks that the map on disk refers to */
    uint32_t counted;               /* "blocks allocated" in the header on disk */
};

static inline struct vdi *vdi_state(const struct img *image)
{
    return image->state;
}

static inline bool vdi_has_place(uint32_t entry)
{
    return entry < VDI_DISCARDED;
}

/* Host offset of a block in the file. */
static inline uint64_t vdi_place(const struct vdi *s, uint32_t block)
{
    return s->data_offset + ((uint64_t)block << VDI_BLOCK_BITS);
}

/* map.c */
int vdi_open_map(struct img *image);
/* Number of map entries inside the file; those beyond its end read as 0. */
uint32_t vdi_blocks_in_file(const struct img *image);
/* Get the entries from that of `block` on, as on disk; *count of them are in memory. */
int vdi_entries(struct img *image, uint32_t block, const uint8_t **entries, uint32_t *count);
int vdi_get_entry(struct img *image, uint32_t block, uint32_t *value);
/* Change an entry in memory; img_pages_write writes it. */
int vdi_put_entry(struct img *image, uint32_t block, uint32_t value);
/* Does the file have the bytes of a block whose entry is this one? */
bool vdi_block_is_there(struct img *image, uint32_t block, uint32_t entry);
int vdi_look_for_missing(struct img *image);
/* Map one run of blocks that are adjacent in the file, or unallocated. */
int vdi_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* reserve.c */
int vdi_prepare_to_write(struct img *image);
/* Make what map entries refer to durable before they are written. */
int vdi_settle(struct img *image);
int vdi_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int vdi_publish(struct img *image, struct img_reservation *at);
void vdi_cancel(struct img *image, struct img_reservation *at);
int vdi_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);

/* parent.c */
/* What the header says of the parent of a differencing image. */
int vdi_read_parent(struct img *image, const uint8_t *head, struct img_error *err);
int vdi_check_parent(struct img *image, struct img *candidate, struct img_error *err);

/* check.c */
int vdi_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* resize.c */
int vdi_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* create.c */
struct vdi_create_options {
    int64_t size;
    int8_t fixed;
};
int vdi_create(const struct img_create *request, struct img_error *err);

#endif
