/* SPDX-License-Identifier: MIT */
/*
 * asif.h - shared by the files of the asif driver: the Apple Sparse Image Format of macOS 26, read only.
 *
 * Specification: "ASIF binary specification", https://github.com/huven/asif-format.  Numbers are big-endian.
 *
 * The file is an array of chunks, in which all that is said of the disk lies, too:
 *
 *     header        lengths of the disk, of a chunk and of a sector; the places of two directories
 *     directories   a sequence number, and the number of the chunk of each table; the higher sequence number counts
 *     tables        groups of entries, one entry for each chunk of the disk; the last entry of a group is its bitmap's
 *     bitmap        a chunk with two bits for each sector of the group, where only some sectors of a chunk have data
 *
 * Behind the end of the disk the tables go on: there is a chunk with a property list, which is not read.
 */
#ifndef ASIF_H
#define ASIF_H

#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"

enum { ASIF_ENTRY = 8 };

/* What an entry says of a chunk of the disk. */
enum asif_state { ASIF_NOTHING = 0, ASIF_WHOLE = 1, ASIF_UNKNOWN = 2, ASIF_PARTLY = 3 };

struct asif {
    struct img_pages *pages;
    uint32_t chunk, sector;
    uint64_t directory;             /* the place of the one that counts */
    uint64_t directories_end;       /* the byte behind both */
    uint64_t tables;                /* that it may have */
    uint64_t group_chunks, groups;  /* chunks of the disk in a group, groups in a table */
    uint64_t group_bytes;           /* of the entries of a group */
    uint64_t table_reach;           /* bytes of the disk that a table is for */
};

static inline struct asif *asif_state(const struct img *image)
{
    return image->state;
}

static inline enum asif_state asif_entry_state(uint64_t entry)
{
    return (enum asif_state)(entry >> 62);
}

/* The number of the chunk in the file. */
static inline uint64_t asif_entry_chunk(uint64_t entry)
{
    return entry & ((1ull << 55) - 1);
}

/* map.c: where the chunk with that number lies; -EIO: not in the file, or where the header is. */
int asif_place(const struct img *image, uint64_t number, uint64_t *place);
/* The entry of table `number` in the directory; 0: there is no such table. */
int asif_directory_entry(struct img *image, uint64_t number, uint64_t *entry);
int asif_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* check.c */
int asif_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

#endif
