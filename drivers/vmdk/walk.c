/* SPDX-License-Identifier: MIT */
/*
 * Streams whose footer is not at the end of the file: there is padding behind it, or the end was cut off.  The markers
 * are followed from the first grain on.  Only a stream of which nothing but metadata is missing is complete: its grain
 * directory has begun, or the last of its tables was written.
 * Specification: "Stream-Optimized Compressed" (markers).
 */
#include "vmdk.h"

enum { MARKER_BYTES = 16 };

struct walk {
    struct img *file;
    const struct vmdk_header *first;    /* at the start of the file */
    uint64_t size;                      /* of the file, without its last sector, of which a part may be missing */
    uint64_t at;                        /* the next marker */
    uint64_t tables, grains;            /* of the disk */
    uint64_t next_lba;                  /* behind the grain before */
    bool in_order;                      /* the grains are in the order of the disk */
    uint32_t *places;                   /* sectors of the tables */
    bool last_table;                    /* it was found */
    uint64_t directory;                 /* where it begins, 0: it was not found */
    bool footer;
    struct vmdk_header found;
};

static bool within(const struct walk *walk, uint64_t offset, uint64_t length)
{
    return img_within(offset, length, walk->size);
}

/* Pass `sectors` after the marker. */
static bool pass(struct walk *walk, uint64_t sectors)
{
    if (sectors > walk->size / VMDK_SECTOR)
        return false;
    walk->at += (1 + sectors) * VMDK_SECTOR;
    return true;
}

static bool pass_grain(struct walk *walk, uint64_t lba, uint32_t length)
{
    if (!within(walk, walk->at, (uint64_t)length + VMDK_GRAIN_MARKER))
        return false;
    walk->in_order &= lba >= walk->next_lba;
    walk->next_lba = lba + 1;
    walk->at = img_align_up(walk->at + VMDK_GRAIN_MARKER + length, VMDK_SECTOR);
    return true;
}

/* Which table is it?  A grain that it refers to says so.  *index == walk->tables: it has none. */
static int identify(const struct walk *walk, const uint8_t *table, uint64_t *index)
{
    uint8_t marker[VMDK_GRAIN_MARKER];

    *index = walk->tables;
    for (uint32_t i = 0; i < walk->first->table_entries; i++) {
        uint64_t place = (uint64_t)img_get_le32(table + i * 4) * VMDK_SECTOR, grain;
        int ret;

        if (place == 0)
            continue;
        ret = within(walk, place, sizeof marker) ? vmdk_read(walk->file, marker, place, sizeof marker) : -EINVAL;
        if (ret < 0)
            return ret;
        grain = img_get_le64(marker) / walk->first->grain;
        *index = grain / walk->first->table_entries;
        return *index < walk->tables && grain % walk->first->table_entries == i ? 0 : -EINVAL;
    }
    return 0;
}

static int take_table(struct walk *walk)
{
    uint8_t table[VMDK_GT_ENTRIES * 4];
    size_t length = walk->first->table_entries * 4;
    uint64_t place = walk->at + VMDK_SECTOR, index = walk->tables;
    int ret = within(walk, place, length) && place / VMDK_SECTOR <= UINT32_MAX
                  ? vmdk_read(walk->file, table, place, length) : -EINVAL;

    if (ret == 0)
        ret = identify(walk, table, &index);
    if (ret < 0 || index == walk->tables)
        return ret;
    if (!walk->places)
        walk->places = calloc(walk->tables, sizeof *walk->places);
    if (!walk->places)
        return -ENOMEM;
    walk->places[index] = (uint32_t)(place / VMDK_SECTOR);
    walk->last_table |= index == walk->tables - 1;
    return 0;
}

static int take_footer(struct walk *walk)
{
    uint8_t sector[VMDK_SECTOR];
    int ret = within(walk, walk->at + VMDK_SECTOR, sizeof sector)
                  ? vmdk_read(walk->file, sector, walk->at + VMDK_SECTOR, sizeof sector) : -EINVAL;

    if (ret == 0)
        walk->footer = vmdk_get_header(sector, &walk->found) && walk->found.directory != VMDK_GD_AT_END;
    return ret;
}

/* Take one marker and what belongs to it.  1: go on; 0: nothing follows that can be used. */
static int step(struct walk *walk)
{
    uint8_t marker[MARKER_BYTES];
    int ret = within(walk, walk->at, sizeof marker) ? vmdk_read(walk->file, marker, walk->at, sizeof marker) : 1;
    uint64_t number = img_get_le64(marker);

    if (ret != 0)
        return ret < 0 ? ret : 0;
    if (img_get_le32(marker + 8))
        return pass_grain(walk, number, img_get_le32(marker + 8));
    switch (img_get_le32(marker + 12)) {
    case VMDK_MARKER_TABLE:
        ret = take_table(walk);
        return ret == 0 ? pass(walk, number) : ret == -EINVAL ? 0 : ret;
    case VMDK_MARKER_DIRECTORY:
        walk->directory = walk->at + VMDK_SECTOR;
        return pass(walk, number);
    case VMDK_MARKER_FOOTER:
        ret = take_footer(walk);
        return ret == -EINVAL ? 0 : ret;
    default:
        return 0;
    }
}

static bool begin(struct walk *walk)
{
    const struct vmdk_header *first = walk->first;
    uint64_t covered;

    if (first->grain == 0 || first->table_entries == 0 || first->table_entries > VMDK_GT_ENTRIES ||
        !img_mul(first->grain, first->table_entries, &covered) || !img_mul(first->overhead, VMDK_SECTOR, &walk->at))
        return false;
    walk->tables = img_div_up(first->capacity, covered);
    walk->grains = img_div_up(first->capacity, first->grain);
    return walk->tables > 0 && walk->tables <= VMDK_MAX_TABLES;
}

int vmdk_walk_stream(struct img *file, struct vmdk_header *header, uint32_t **rebuilt)
{
    struct walk walk = { .file = file, .first = header, .in_order = true,
                         .size = img_size(file) - img_min(img_size(file), VMDK_SECTOR) };
    int ret = begin(&walk) ? 1 : -EINVAL;

    /* Each grain has one marker, and each table; a few more are for what comes once. */
    for (uint64_t left = walk.grains + 2 * walk.tables + 8; ret > 0 && left > 0; left--)
        ret = step(&walk);
    if (ret >= 0)
        ret = 0;
    if (ret == 0 && walk.footer) {
        *header = walk.found;
    } else if (ret == 0 && walk.directory && within(&walk, walk.directory, walk.tables * 4)) {
        header->directory = walk.directory / VMDK_SECTOR;
    } else if (ret == 0 && (walk.directory || (walk.last_table && walk.in_order))) {
        header->directory = 0;
        *rebuilt = walk.places ? walk.places : calloc(walk.tables, sizeof **rebuilt);
        walk.places = NULL;
        ret = *rebuilt ? 0 : -ENOMEM;
    } else if (ret == 0) {
        ret = -EINVAL;
    }
    free(walk.places);
    return ret;
}
