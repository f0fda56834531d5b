/* SPDX-License-Identifier: MIT */
/* entries.c - builds an extent from table entries (see entries.h). */
#include "entries.h"
#include "waiting.h"
#include "util/checked.h"

/* The lock is held while an answer is built, and the caller may need only its beginning. */
enum { MAX_LOOKED_AT = 65536 };

/* The last table found. */
struct table {
    uint64_t place, end;            /* end: of the guest range that it maps */
};

/* Guest bytes below the empty entries behind that of `guest`, each for `step` bytes. */
static uint64_t more_empty(struct img *image, const struct img_entries *entries, uint64_t table, uint64_t guest,
                           uint64_t step)
{
    uint64_t count = entries->count_empty ? entries->count_empty(image, table, guest) : 0, bytes;

    /* (the disk ends within 63 bits) */
    return count > 1 && img_mul(count - 1, step, &bytes) ? img_min(bytes, INT64_MAX) : count > 1 ? INT64_MAX : 0;
}

static int look_once(struct img *image, const struct img_entries *entries, uint64_t guest, struct table *table,
                     struct img_extent *unit)
{
    *unit = (struct img_extent){ .offset = guest, .kind = IMG_HOLE };
    if (entries->find_table && guest >= table->end) {
        int ret = entries->find_table(image, guest, &table->place);
        if (ret < 0)
            return ret;
        table->end = img_align_down(guest, entries->span) + entries->span;
        if (table->place == 0)
            table->end += more_empty(image, entries, 0, guest, entries->span);
    }
    if (entries->find_table && table->place == 0) {
        unit->length = table->end - guest;
        return 0;
    }
    unit->length = entries->unit - (guest & (entries->unit - 1));
    int ret = entries->look(image, table->place, guest, unit);
    if (ret == 0 && !unit->host_valid && unit->kind != IMG_CODED)
        unit->length += more_empty(image, entries, table->place, guest, entries->unit);
    return ret;
}

/* The entries of a run may be read at different moments, since an answer holds for one moment only.  But a table found
 * before the lock was released must be looked up again. */
static int look_at(struct img *image, const struct img_entries *entries, uint64_t guest, struct table *table,
                   struct img_extent *unit)
{
    int ret;

    while ((ret = look_once(image, entries, guest, table, unit)) == IMG_LOOK_AGAIN)
        table->end = 0;
    return ret;
}

static bool goes_on(const struct img_extent *run, const struct img_extent *unit)
{
    return unit->kind == run->kind && unit->host_valid == run->host_valid &&
           (!unit->host_valid || unit->host == run->host + run->length);
}

int img_map_entries(struct img *image, const struct img_entries *entries, uint64_t offset, uint64_t length,
                    struct img_extent *extent)
{
    struct table table = { 0 };
    struct img_extent unit;
    int ret = look_at(image, entries, offset, &table, extent);

    if (ret < 0)
        return ret;
    for (int looked_at = 1; extent->kind != IMG_CODED && extent->length < length; looked_at++) {
        if (looked_at == MAX_LOOKED_AT || look_at(image, entries, offset + extent->length, &table, &unit) < 0 ||
            !goes_on(extent, &unit))
            break;
        extent->length += unit.length;
    }
    extent->length = img_min(extent->length, length);
    return 0;
}
