/* SPDX-License-Identifier: MIT */
/*
 * Allocation of places in the file.
 * Specification: "Data Area".
 *
 * An allocated cluster reads as zeroes, so any part of it may be written, by several threads at once, and a table
 * that is written before the data still shows zeroes.  Beyond the end of the file this is automatic.  A place that
 * was used before is zeroed, but only after the table on disk no longer refers to it.
 */
#include "parallels.h"

/* The last byte that a BAT entry can refer to. */
static uint64_t reach(const struct parallels *p)
{
    return UINT32_MAX * parallels_unit(p);
}

bool parallels_inside(const struct parallels *p, uint64_t place)
{
    uint64_t least = img_div_up(PARALLELS_HEADER + 4ull * p->entries, PARALLELS_SECTOR) * PARALLELS_SECTOR;

    return place >= least && img_within(place, p->cluster, img_size(p->file));
}

/* ---- Bits ------------------------------------------------------------------------ */

/* Allocated in small pieces, since a hostile table may have a few places far apart. */
enum { WORDS = 32, PIECE = WORDS * 64 };

static bool is_used(const struct parallels *p, uint64_t cell)
{
    uint64_t piece = cell / PIECE;

    return piece < p->used_pieces && p->used[piece] && p->used[piece][cell % PIECE / 64] >> (cell % 64) & 1;
}

static int make_room_for(struct parallels *p, uint64_t cell)
{
    uint64_t piece = cell / PIECE, count;
    uint64_t **grown;

    if (piece >= p->used_pieces) {
        count = img_max(piece + 1, 2 * p->used_pieces);
        grown = realloc(p->used, count * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        memset(grown + p->used_pieces, 0, (count - p->used_pieces) * sizeof *grown);
        p->used = grown;
        p->used_pieces = count;
    }
    if (!p->used[piece])
        p->used[piece] = calloc(WORDS, sizeof **p->used);
    return p->used[piece] ? 0 : -ENOMEM;
}

/* The grid cell of a place; those that begin a little before the grid belong to the first cell. */
static uint64_t cell_of(const struct parallels *p, uint64_t place)
{
    return place > p->grid ? (place - p->grid) / p->cluster : 0;
}

static int take(struct parallels *p, uint64_t cell)
{
    int status = make_room_for(p, cell);

    if (status == 0)
        p->used[cell / PIECE][cell % PIECE / 64] |= 1ull << (cell % 64);
    return status;
}

/* ---- Places in use ------------------------------------------------------------------- */

void parallels_forget_used(struct parallels *p)
{
    for (uint64_t i = 0; i < p->used_pieces; i++)
        free(p->used[i]);
    free(p->used);
    p->used = NULL;
    p->used_pieces = p->first_free = 0;
}

uint64_t parallels_empty_end(const struct parallels *p)
{
    return p->entries ? img_max(p->data_start, p->cluster) : p->data_start;
}

static void start_grid(struct parallels *p)
{
    parallels_forget_used(p);
    p->grid = p->wide ? img_div_up(p->data_start, p->cluster) * p->cluster : p->data_start;
    p->data_end = parallels_empty_end(p);
    p->fresh = img_size(p->file);
}

/* Clusters that are not aligned to the grid also use a second cell. */
static int take_rests(struct parallels *p)
{
    uint32_t index;
    uint64_t place;
    int status;

    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1)
        if (parallels_inside(p, place) && place + p->cluster > p->grid &&
            (status = take(p, cell_of(p, place + p->cluster - 1))) < 0)
            return status;
    return status;
}

int parallels_find_used(struct parallels *p, parallels_twice_fn *twice, void *context)
{
    bool beside = false;
    uint32_t index;
    uint64_t place;
    int status;

    start_grid(p);
    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1) {
        if (!parallels_inside(p, place))
            continue;
        p->data_end = img_max(p->data_end, place + p->cluster);
        if (place + p->cluster <= p->grid)
            continue;
        uint64_t cell = cell_of(p, place);
        beside |= p->grid + cell * p->cluster != place;
        if (!is_used(p, cell))
            status = take(p, cell);
        else if (twice)
            twice(context, index);
        if (status < 0)
            return status;
    }
    return status == 0 && beside ? take_rests(p) : status;
}

/* ---- The file ------------------------------------------------------------------------ */

/* Like qemu-img, grow by more than is needed now; if that fails, by what is needed. */
static int grow(struct parallels *p, uint64_t end)
{
    struct img_error err = IMG_ERROR_INIT;
    uint64_t size = img_size(p->file), ahead;
    int status = -ENOTSUP;

    if (end <= size)
        return 0;
    if (!img_add(end, p->reserve, &ahead) || ahead > INT64_MAX)
        ahead = end;
    if (!p->truncate)
        status = img_zero(p->file, size, ahead - size, IMG_ZERO_NO_FALLBACK);
    if (status < 0 || img_size(p->file) < end)
        status = img_resize_file(p->file, p->truncate ? ahead : end, NULL, &err);
    img_error_clear(&err);
    return status;
}

/* Make [place, end) read as zeroes. */
static int prepare(struct parallels *p, uint64_t place, uint64_t end)
{
    int status = 0;

    if (place < p->fresh) {
        if (p->given_back) {
            status = parallels_bat_write(p, false);
            if (status == 0)
                status = img_flush(p->file);
            p->given_back = status < 0;
        }
        if (status == 0)
            status = img_zero(p->file, place, img_min(end, p->fresh) - place, IMG_ZERO_MAY_UNMAP);
        p->reused.made++;
    }
    if (status == 0)
        status = grow(p, end);
    if (status == 0)
        p->fresh = img_max(p->fresh, end);
    return status;
}

int parallels_allocate(struct parallels *p, uint64_t *count, uint64_t *place)
{
    uint64_t cell = p->first_free, end, n = 1;
    int status;

    while (is_used(p, cell))
        cell++;
    p->first_free = cell;
    while (n < *count && !is_used(p, cell + n))
        n++;
    if (!img_mul(cell + n, p->cluster, &end) || !img_add(p->grid, end, &end) || end > INT64_MAX)
        return -EFBIG;
    *place = p->grid + cell * p->cluster;
    if (end - p->cluster > reach(p))
        return -EFBIG;
    if ((status = prepare(p, *place, end)) < 0)
        return status;
    for (uint64_t i = 0; i < n; i++)
        if ((status = take(p, cell + i)) < 0)
            return status;
    p->data_end = img_max(p->data_end, end);
    *count = n;
    return 0;
}

void parallels_give_back(struct parallels *p, uint64_t place, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++, place += p->cluster) {
        uint64_t cell = cell_of(p, place);
        /* An unaligned cluster shares its cells with others, so they stay used. */
        if (p->grid + cell * p->cluster != place || !is_used(p, cell))
            continue;
        p->used[cell / PIECE][cell % PIECE / 64] &= ~(1ull << (cell % 64));
        p->first_free = img_min(p->first_free, cell);
        p->given_back = true;
    }
}

/* The end of the last used cell; clusters before the grid may have no cell. */
static uint64_t end_of_used(const struct parallels *p)
{
    uint64_t cell = p->used_pieces * PIECE;

    while (cell > 0 && !p->used[(cell - 1) / PIECE])
        cell -= PIECE;
    while (cell > 0 && !is_used(p, cell - 1))
        cell--;
    return cell ? p->grid + cell * p->cluster : img_max(p->grid, parallels_empty_end(p));
}

int parallels_trim(struct parallels *p)
{
    struct img_error err = IMG_ERROR_INIT;
    int status = 0;

    p->data_end = img_min(p->data_end, end_of_used(p));
    p->fresh = img_min(p->fresh, p->data_end);
    if (img_size(p->file) != p->data_end)
        status = img_resize_file(p->file, p->data_end, NULL, &err);
    img_error_clear(&err);
    return status;
}
