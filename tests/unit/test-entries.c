/* SPDX-License-Identifier: MIT */
/* Mapping by table entries: runs over units and tables, where they end, and which call reports an error. */
#include "libimg/io/entries.h"
#include "libimg/io/waiting.h"
#include "test.h"

enum { UNIT = 16, SPAN = 4 * UNIT, FAR = 1 << 20 };

/* One letter per unit: '.' hole, 'z' zero, 'd' the next data in a row, 'j' data elsewhere, 'c' compressed, 'e'
 * error.  A table of four units is missing if they are all '-', and cannot be found if they are all 'x'.  With
 * `away` tables and units must sometimes be waited for. */
static const char *disk;
static unsigned found;
static unsigned asked;
static bool away;

/* False every third time. */
static bool arrived(void)
{
    return !away || ++asked % 3;
}

static int find_table(struct img *image, uint64_t guest, uint64_t *table)
{
    (void)image;
    found++;
    if (!arrived())
        return IMG_LOOK_AGAIN;
    if (disk[guest / UNIT] == 'x')
        return -EINVAL;
    *table = disk[guest / UNIT] == '-' ? 0 : 1 + guest / SPAN;
    return 0;
}

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *unit)
{
    char letter = disk[guest / UNIT];

    (void)image, (void)table;
    if (!arrived())
        return IMG_LOOK_AGAIN;
    if (letter == 'e')
        return -EIO;
    unit->kind = letter == '.' ? IMG_HOLE : letter == 'z' ? IMG_ZERO : letter == 'c' ? IMG_CODED : IMG_DATA;
    unit->host_valid = unit->kind >= IMG_DATA;
    unit->host = unit->host_valid ? 1000 + guest + (letter == 'j' ? FAR : 0) : 0;
    return 0;
}

static const struct img_entries two_levels = { .unit = UNIT, .span = SPAN, .find_table = find_table, .look = look };
static const struct img_entries one_level = { .unit = UNIT, .look = look };

/* Is there a run of that length and kind at `offset`? */
static bool is_run(const struct img_entries *entries, const char *what, uint64_t offset, uint64_t length,
                   uint64_t expected, enum img_extent_kind kind)
{
    struct img_extent extent;

    disk = what;
    found = 0;
    return img_map_entries(NULL, entries, offset, length, &extent) == 0 && extent.offset == offset &&
           extent.length == expected && extent.kind == kind && extent.host_valid == (kind >= IMG_DATA) &&
           (kind != IMG_DATA || extent.host % FAR == 1000 + offset);
}

static int error_of(const struct img_entries *entries, const char *what, uint64_t offset, uint64_t length)
{
    struct img_extent extent;

    disk = what;
    return img_map_entries(NULL, entries, offset, length, &extent);
}

int main(void)
{
    OK(is_run(&two_levels, "dddddddd", 0, 8 * UNIT, 8 * UNIT, IMG_DATA) && found == 2, "a run goes on in the next table");
    OK(is_run(&two_levels, "dddddddd", 5, 3, 3, IMG_DATA), "inside a unit");
    OK(is_run(&two_levels, "dddddddd", 5, 4 * UNIT, 4 * UNIT, IMG_DATA), "beside the units");
    OK(is_run(&two_levels, "ddjjddzz", 0, 8 * UNIT, 2 * UNIT, IMG_DATA), "data elsewhere end it");
    OK(is_run(&two_levels, "ddjjddzz", 2 * UNIT, 6 * UNIT, 2 * UNIT, IMG_DATA), "and are a run");
    OK(is_run(&two_levels, "zz..dddd", 0, 8 * UNIT, 2 * UNIT, IMG_ZERO), "zeroes are no holes");
    OK(is_run(&two_levels, "z...----....d", 7 + UNIT, 12 * UNIT - 7, 11 * UNIT - 7, IMG_HOLE), "tables that are missing");
    OK(is_run(&two_levels, "--------", 9, 20, 20, IMG_HOLE), "are cut at the end of the range");
    OK(is_run(&two_levels, "zzzz----", 0, 8 * UNIT, 4 * UNIT, IMG_ZERO), "and are holes");
    OK(is_run(&two_levels, "cccc", 3, 4 * UNIT - 3, UNIT - 3, IMG_CODED), "a coded unit is alone");
    OK(is_run(&two_levels, "ddcc", 0, 4 * UNIT, 2 * UNIT, IMG_DATA), "also behind data");
    OK(is_run(&two_levels, "dddedddd", 0, 8 * UNIT, 3 * UNIT, IMG_DATA), "an error ends a run");
    OK(error_of(&two_levels, "dddedddd", 3 * UNIT, 5 * UNIT) == -EIO, "and is for whoever begins there");
    OK(is_run(&two_levels, "....xxxx", 0, 8 * UNIT, 4 * UNIT, IMG_HOLE), "the same where a table is not found");
    OK(error_of(&two_levels, "....xxxx", 4 * UNIT + 1, UNIT) == -EINVAL, "for whoever begins there");
    away = true;
    OK(is_run(&two_levels, "ddddddddz", 5, 9 * UNIT - 5, 8 * UNIT - 5, IMG_DATA), "what is waited for does not end a run");
    OK(is_run(&two_levels, "zz------.", 0, 9 * UNIT, 2 * UNIT, IMG_ZERO), "nor change it");
    away = false;
    OK(is_run(&one_level, "ddddddz", 0, 7 * UNIT, 6 * UNIT, IMG_DATA) && found == 0, "one table for all");
    return test_end();
}
