/* SPDX-License-Identifier: MIT */
/*
 * vhdx.h - state shared by the files of the vhdx driver.
 * Specification: [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format"; sections are named as there.
 *
 *   open.c       the vtable, open and close
 *   header.c     headers, region tables
 *   metadata.c   metadata table and its items; parent.c: the parent locator
 *   pieces.c     BAT in memory, by pieces; bat.c: its entries; map.c: guest range to extent
 *   write.c      reserve, publish, zero
 *   space.c      allocates blocks
 *   log.c        replays the log of the last writer
 *   journal.c    our own log, through which BAT pages are written
 *   check.c      checks the BAT
 *   resize.c     a larger disk
 *   create.c     new images
 *   bytes.c      checksums, reading metadata
 */
#ifndef VHDX_H
#define VHDX_H

#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/uuid.h"
#include "../../libimg/util/vector.h"

#include <string.h>

#define VHDX_SIGNATURE "vhdxfile"

#define VHDX_MIB (1u << 20)
#define VHDX_MAX_SIZE (64ull << 40)
#define VHDX_MIN_BLOCK VHDX_MIB
#define VHDX_MAX_BLOCK (256u << 20)
#define VHDX_CHUNK_BITS 23          /* log2 of the number of sectors that a sector bitmap block covers */

enum {
    VHDX_HEADER_BYTES = 4096, VHDX_HEADER_1 = 64 << 10, VHDX_HEADER_2 = 128 << 10,
    VHDX_REGIONS_1 = 192 << 10, VHDX_REGIONS_2 = 256 << 10, VHDX_TABLE_BYTES = 64 << 10,
    VHDX_MAX_ENTRIES = 2047,                /* of a region table, of the metadata table */
    VHDX_TABLE_ENTRY = 32,
    VHDX_SECTOR = 4096,                     /* of the log, and the unit that it updates */
    VHDX_LOG_HEADER = 64, VHDX_DESCRIPTOR = 32, VHDX_ENTRY_PAGES = 126,    /* maximum for one sector of descriptors */
    VHDX_GUID = 16
};

/* States of payload blocks; 5 is "unmapped" in drafts of the specification.  Only with a parent blocks are PARTIAL. */
enum { VHDX_NOT_PRESENT = 0, VHDX_UNDEFINED = 1, VHDX_ZERO = 2, VHDX_UNMAPPED = 3, VHDX_UNMAPPED_OLD = 5,
       VHDX_PRESENT = 6, VHDX_PARTIAL = 7, VHDX_STATE_MASK = 7 };
/* In memory only, in a reserved bit: the block is allocated, and none of its bytes has been published yet. */
#define VHDX_RESERVED 8ull
#define VHDX_OFFSET_MASK (~0xfffffull)

enum { VHDX_LEAVE_ALLOCATED = 1, VHDX_HAS_PARENT = 2 };     /* file parameters */
enum { VHDX_ITEM_DISK = 2, VHDX_ITEM_REQUIRED = 4 };

struct vhdx_header {                /* section 2.2.2: the fields that change or are checked */
    uint64_t sequence;
    uint8_t file_id[VHDX_GUID], data_id[VHDX_GUID], log_id[VHDX_GUID];
    uint16_t log_version, version;
    uint32_t log_length;
    uint64_t log_offset;
};

struct vhdx_range { uint64_t start, end; };

/* An update from the log that was not written to the file, because the image is read-only.  bytes NULL: zeroes */
struct vhdx_patch {
    uint64_t offset, length;
    uint8_t *bytes;
};

/* A piece of the BAT. */
struct vhdx_piece {
    uint8_t *bytes;                 /* NULL: not read */
    struct img_loading *loading;    /* somebody reads it */
    uint16_t dirty, leaving;        /* a bit for each page of it: to be written; on its way */
    uint32_t reserved;              /* entries that are VHDX_RESERVED */
};

struct vhdx {
    struct vhdx_header header;
    unsigned current;               /* index of the current header */
    IMG_VECTOR(struct vhdx_range) regions;      /* the log and the regions in the region table */
    struct vhdx_range *sorted;      /* the same sorted by offset, once all are known */
    uint64_t bat_offset, metadata_offset;
    uint32_t bat_length, metadata_length;

    uint64_t disk_size;             /* as stored */
    uint64_t size_place;            /* where, in the file */
    uint32_t block_size;
    unsigned block_bits, ratio_bits;            /* log2 of the block size, and of the chunk ratio */
    uint32_t logical_sector, physical_sector;
    uint8_t disk_id[VHDX_GUID];     /* the same in all disks of a chain */
    bool keeps_blocks;              /* a fixed image */
    bool differencing;              /* what is not present is in the parent */
    uint8_t parent_id[VHDX_GUID], parent_id_2[VHDX_GUID];   /* data_id of the parent: either; the second may be 0 */
    struct img_pages *bitmaps;      /* of a differencing disk: pages of the sector bitmap blocks */
    uint64_t blocks, entries;       /* payload blocks; entries of the BAT, including those of sector bitmap blocks */

    bool replayed;                  /* the log of the last writer was replayed, into the file */
    IMG_VECTOR(struct vhdx_patch) patches;      /* or into memory */
    uint64_t patch_bytes;
    uint64_t file_end;              /* of the file, including what the log adds */

    struct vhdx_piece *pieces;
    size_t piece_count, loaded, next_victim;
    bool dirty;                     /* pages of the BAT are */
    bool committing;                /* some of them are on their way to the disk */

    /* Writing. */
    bool writing;                   /* the headers name our log, and the identifiers are new */
    uint32_t log_at;                /* where to write the next entry */
    uint64_t log_sequence;
    uint8_t *used;                  /* space.c: one bit per MiB of the file; NULL: not known */
    uint64_t used_count;            /* number of MiB in it */
    uint64_t next_free;             /* there is no space for a block below this MiB */
};

static inline struct vhdx *vhdx_state(const struct img *image)
{
    return image->state;
}

/* bytes.c ------------------------------------------------------------------------ */
/* CRC-32C (section 2.2.2.1 and others) of more bytes, after `sum`; start with 0. */
uint32_t vhdx_checksum(uint32_t sum, const void *bytes, size_t length);
/* Verify, or set, the checksum at offset 4 of a structure. */
bool vhdx_sealed(uint8_t *bytes, size_t length);
void vhdx_seal(uint8_t *bytes, size_t length);
/* Read metadata, including updates from a log that is not in the file.  Beyond the end of the file they are zeroes. */
int vhdx_read(struct img *image, void *buffer, uint64_t offset, size_t length);
/* "Could not open 'x': ..." */
int vhdx_refuse(struct img *image, int code, struct img_error *err);

/* header.c */
int vhdx_read_headers(struct img *image, struct img_error *err);
int vhdx_read_regions(struct img *image, struct img_error *err);
/* The file offset of header 0 or 1, and its bytes. */
uint64_t vhdx_header_place(unsigned which);
void vhdx_build_header(const struct vhdx_header *header, uint8_t bytes[VHDX_HEADER_BYTES]);
/* Write both headers, one after the other, each durably before the other is touched. */
int vhdx_write_headers(struct img *image);
/* Let both copies of the region table name another place of the BAT, durably. */
int vhdx_name_bat(struct img *image, uint64_t offset, uint32_t length);
/* Does the range overlap a region?  *with is the one to report. */
bool vhdx_overlaps(const struct vhdx *s, uint64_t start, uint64_t end, struct vhdx_range *with);
void vhdx_tell_overlap(uint64_t start, uint64_t end, const struct vhdx_range *with);

/* metadata.c */
extern const uint8_t vhdx_bat_guid[VHDX_GUID], vhdx_metadata_guid[VHDX_GUID];
int vhdx_read_metadata(struct img *image, struct img_error *err);
/* Build the table and the items of a new image, the last of them the parent locator if there is one; `table` is
 * VHDX_TABLE_BYTES + VHDX_SECTOR + locator_length long and zeroed. */
void vhdx_build_metadata(const struct vhdx *s, const uint8_t *locator, size_t locator_length, uint8_t *table);
/* Number of BAT entries that a disk needs. */
uint64_t vhdx_bat_entries(const struct vhdx *s, uint64_t blocks);

/* parent.c */
/* What the item "parent locator" says; `length` bytes. */
int vhdx_read_locator(struct img *image, const uint8_t *locator, size_t length);
/* That item for a new disk: s->parent_id, and the name of its backing file.  Caller frees; NULL with *err set. */
uint8_t *vhdx_build_locator(const struct vhdx *s, const char *backing, size_t *length, struct img_error *err);
int vhdx_check_parent(struct img *image, struct img *candidate, struct img_error *err);

/* log.c */
/* Replay the log, if any: into the file, or into memory if the image is read-only. */
int vhdx_replay(struct img *image, struct img_error *err);
/* Data are read from the file itself, so a log that updates more than BAT and metadata must be replayed there. */
int vhdx_check_patches(struct img *image, struct img_error *err);

/* journal.c */
/* Before the first change: write new identifiers, and start our own log. */
int vhdx_begin(struct img *image);
/* All dirty pages of the BAT, through the log, to their places.  In an armed flush (io/waiting.h) image->lock is released
 * while the file is synced, and pages that are dirty by then are for the next commit. */
int vhdx_commit(struct img *image);
/* The size of the disk, through the log. */
int vhdx_write_size(struct img *image, uint64_t size);
/* At close: leave nothing to replay. */
int vhdx_end(struct img *image);

/* pieces.c */
enum { VHDX_PIECE = 64 << 10, VHDX_PIECE_PAGES = VHDX_PIECE / VHDX_SECTOR };
int vhdx_bat_init(struct img *image);
void vhdx_bat_free(struct vhdx *s);
/* The next dirty page at or behind `page`, as it is to be on disk; false: there is none. */
bool vhdx_bat_next_dirty(struct vhdx *s, uint64_t *page, uint8_t bytes[VHDX_SECTOR]);
/* That page is on its way to the disk from now on; until it is there, or failed to get there. */
void vhdx_bat_leaves(struct vhdx *s, uint64_t page);
void vhdx_bat_left(struct vhdx *s, uint64_t page, bool there);

/* bat.c */
/* The entry of a payload block; reserved bits are cleared, but for VHDX_RESERVED.  get may end with IMG_LOOK_AGAIN. */
int vhdx_bat_get(struct img *image, uint64_t block, uint64_t *entry);
int vhdx_bat_put(struct img *image, uint64_t block, uint64_t entry);
/* The entry of the sector bitmap block that belongs to a payload block. */
int vhdx_bat_get_bitmap(struct img *image, uint64_t block, uint64_t *entry);
/* Where in the BAT the entry of a block is. */
static inline uint64_t vhdx_bat_index(const struct vhdx *s, uint64_t block)
{
    return block + (block >> s->ratio_bits);
}

/* map.c */
/* Of a differencing disk: the sector bitmaps in memory. */
int vhdx_open_bitmaps(struct img *image);
int vhdx_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
/* Do blocks of that state read as zeroes? */
bool vhdx_reads_zero(uint64_t entry);
/* Is it a valid host offset for a block? */
bool vhdx_host_good(const struct vhdx *s, uint64_t host);

/* write.c */
int vhdx_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int vhdx_publish(struct img *image, struct img_reservation *at);
int vhdx_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);

/* space.c */
int vhdx_space_init(struct img *image);
void vhdx_space_take(struct vhdx *s, uint64_t start, uint64_t length);
/* Allocate a block, which reads as zeroes and lies within the file. */
int vhdx_allocate(struct img *image, uint64_t *host);

/* check.c */
/* Check all entries of the BAT, up to the first error: for open. */
int vhdx_scan_bat(struct img *image, struct img_error *err);
int vhdx_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* resize.c */
int vhdx_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* open.c */
extern const struct img_driver img_driver_vhdx;

/* create.c */
struct vhdx_create_options {
    int64_t size, log_size, block_size;
    char *subformat, *backing_file, *backing_fmt;
    int8_t block_state_zero;
};
int vhdx_create(const struct img_create *request, struct img_error *err);

#endif
