/* SPDX-License-Identifier: MIT */
/* Guest range to extent. */
#include "asif.h"

/* The caller may need only the beginning of an answer. */
enum { MAX_LOOKED_AT = 4096 };

/* What two bits of a bitmap say of a sector. */
enum { SECTOR_NOTHING = 0, SECTOR_DATA = 1 };
enum { SECTORS_PER_BYTE = 4 };

int asif_place(const struct img *image, uint64_t number, uint64_t *place)
{
    bool there = number && img_mul(number, asif_state(image)->chunk, place) && *place < img_size(image->file);

    return there ? 0 : -EIO;
}

static int read_entry(struct img *image, uint64_t table, uint64_t at, uint64_t *entry)
{
    uint8_t *bytes;
    int ret = img_pages_entry(asif_state(image)->pages, table, at, &bytes);

    if (ret == 0)
        *entry = img_get_be64(bytes);
    return ret;
}

int asif_directory_entry(struct img *image, uint64_t number, uint64_t *entry)
{
    int ret = read_entry(image, asif_state(image)->directory, ASIF_ENTRY * (number + 1), entry);

    *entry = ret < 0 ? 0 : asif_entry_chunk(*entry);
    return ret;
}

/* The state of a sector, by the byte of the bitmap that has it. */
static unsigned sector_state(uint8_t byte, uint64_t sector)
{
    return byte >> 2 * (sector % SECTORS_PER_BYTE) & 3;
}

/* How many sectors from `first` on are alike, of at most `count`.  *state: what they are. */
static int like_sectors(struct img *image, uint64_t bitmap, uint64_t first, uint64_t count, unsigned *state,
                        uint64_t *alike)
{
    struct img_pages *pages = asif_state(image)->pages;
    uint64_t sector = first, end = first + count;

    while (sector < end) {
        uint8_t *byte;
        int ret = img_pages_entry(pages, bitmap, sector / SECTORS_PER_BYTE, &byte);
        if (ret < 0)
            return ret;
        if (sector == first)
            *state = sector_state(*byte, sector);
        uint64_t zeroes = sector % SECTORS_PER_BYTE == 0 && *state == SECTOR_NOTHING
                              ? img_pages_zeroes(pages, bitmap, sector / SECTORS_PER_BYTE,
                                                 img_div_up(end - sector, SECTORS_PER_BYTE)) : 0;
        if (zeroes) {
            sector = img_min(end, sector + zeroes * SECTORS_PER_BYTE);
            continue;
        }
        do {
            if (sector_state(*byte, sector) != *state) {
                *alike = sector - first;
                return 0;
            }
            sector++;
        } while (sector < end && sector % SECTORS_PER_BYTE != 0);
    }
    *alike = count;
    return 0;
}

/*
 * The run at byte `inside` of a group, in one chunk of which only some sectors have data; `group`: the place of its
 * entries, relative to the table.
 */
static int map_partly(struct img *image, uint64_t table, uint64_t group, uint64_t inside, uint64_t data,
                      struct img_extent *run)
{
    const struct asif *s = asif_state(image);
    uint64_t entry, bitmap, alike = 0, from = inside % s->sector, first = inside / s->sector;
    unsigned state = SECTOR_NOTHING;
    int ret = read_entry(image, table, group + ASIF_ENTRY * s->group_chunks, &entry);

    if (ret == 0)
        ret = asif_place(image, asif_entry_chunk(entry), &bitmap);
    if (ret == 0)
        ret = like_sectors(image, bitmap, first, img_div_up(from + run->length, s->sector), &state, &alike);
    if (ret < 0)
        return ret;
    if (state != SECTOR_NOTHING && state != SECTOR_DATA)
        return -ENOTSUP;
    run->length = img_min(run->length, alike * s->sector - from);
    run->kind = state == SECTOR_DATA ? IMG_DATA : IMG_HOLE;
    run->host = data;
    return 0;
}

/*
 * The bytes of the disk that entries of zero are for, from byte `inside` of those of a table on: all that the table has
 * left, or those of the group.  `at`: the place of the first of `entries` of the group.
 */
static uint64_t empty_bytes(struct img *image, uint64_t table, uint64_t inside, uint64_t at, uint64_t entries)
{
    const struct asif *s = asif_state(image);
    uint64_t left = s->groups * s->group_bytes - at, zeroes = img_pages_zeroes(s->pages, table, at, left);

    if (zeroes == left)
        return s->table_reach - inside;
    zeroes = img_min(zeroes / ASIF_ENTRY, entries);
    return (zeroes ? zeroes : 1) * s->chunk - inside % s->chunk;
}

/* Data that a file which was cut off lacks are an error, not zeroes. */
static int point_to_data(struct img *image, struct img_extent *run)
{
    uint64_t end = img_size(image->file);

    if (run->host >= end)
        return -EIO;
    run->length = img_min(run->length, end - run->host);
    run->host_valid = run->recurse = true;
    run->file = image->file;
    return 0;
}

struct spot {
    uint64_t table;                 /* the place of the table in the file; 0: there is none */
    uint64_t group;                 /* the place of the entries of the group in the table */
    uint64_t number;                /* of the entry in the group */
    uint64_t entry;
};

static int find_entry(struct img *image, uint64_t offset, struct spot *spot)
{
    const struct asif *s = asif_state(image);
    uint64_t inside = offset % s->table_reach, group_reach = s->group_chunks * s->chunk, chunk = 0;
    int ret = asif_directory_entry(image, offset / s->table_reach, &chunk);

    *spot = (struct spot){ .group = inside / group_reach * s->group_bytes, .number = inside % group_reach / s->chunk };
    if (ret < 0 || chunk == 0)
        return ret;
    ret = asif_place(image, chunk, &spot->table);
    return ret < 0 ? ret : read_entry(image, spot->table, spot->group + ASIF_ENTRY * spot->number, &spot->entry);
}

/* The run at its offset in a chunk that is there, at least in part; it has its length already. */
static int map_chunk(struct img *image, const struct spot *spot, struct img_extent *run)
{
    const struct asif *s = asif_state(image);
    uint64_t from = run->offset % s->chunk, place = 0;
    int ret = asif_place(image, asif_entry_chunk(spot->entry), &place);

    if (ret < 0)
        return ret;
    switch (asif_entry_state(spot->entry)) {
    case ASIF_WHOLE:
        run->kind = IMG_DATA;
        run->host = place + from;
        break;
    case ASIF_PARTLY:
        ret = map_partly(image, spot->table, spot->group, spot->number * s->chunk + from, place + from, run);
        break;
    case ASIF_NOTHING:
    case ASIF_UNKNOWN:
        /* Seen by nobody yet. */
        return -ENOTSUP;
    }
    return ret == 0 && run->kind == IMG_DATA ? point_to_data(image, run) : ret;
}

/* The run at its offset that one entry tells, or several of zero. */
static int map_run(struct img *image, struct img_extent *run)
{
    const struct asif *s = asif_state(image);
    uint64_t inside = run->offset % s->table_reach, length = s->table_reach - inside;
    struct spot spot;
    int ret = find_entry(image, run->offset, &spot);

    run->kind = IMG_HOLE;
    if (ret < 0)
        return ret;
    if (spot.entry)
        length = s->chunk - run->offset % s->chunk;
    else if (spot.table)
        length = empty_bytes(image, spot.table, inside, spot.group + ASIF_ENTRY * spot.number,
                             s->group_chunks - spot.number);
    run->length = img_min(run->length, length);
    return spot.entry ? map_chunk(image, &spot, run) : 0;
}

static bool continues(const struct img_extent *extent, const struct img_extent *run)
{
    return run->kind == extent->kind && (run->kind != IMG_DATA || run->host == extent->host + extent->length);
}

int asif_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct img_extent run = { .offset = offset, .length = length };
    int ret = map_run(image, &run);

    if (ret < 0)
        return ret;
    *extent = run;
    for (unsigned looked_at = 0; extent->length < length && looked_at < MAX_LOOKED_AT; looked_at++) {
        run = (struct img_extent){ .offset = offset + extent->length, .length = length - extent->length };
        /* An error is for who asks for the rest. */
        if (map_run(image, &run) < 0 || !continues(extent, &run))
            break;
        extent->length += run.length;
    }
    return 0;
}
