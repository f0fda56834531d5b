/* SPDX-License-Identifier: MIT */
/*
 * The block allocation table.  Specification: "BAT".
 * It starts directly after the header, which is at the beginning of its first page.
 */
#include "parallels.h"

enum { PAGE = 16 << 10, MEMORY = 4 << 20, ENTRY = 4 };

static uint64_t position(uint32_t index)
{
    return PARALLELS_HEADER + (uint64_t)index * ENTRY;
}

int parallels_bat_get(struct parallels *p, uint32_t index, uint64_t *place)
{
    uint8_t *entry;
    int status = img_pages_look_of(p->bat, p->file, 0, position(index), &entry);

    if (status == 0)
        *place = img_get_le32(entry) * parallels_unit(p);
    return status;
}

int parallels_bat_put(struct parallels *p, uint32_t index, uint64_t place)
{
    uint64_t at = position(index);
    uint8_t *entry;
    int status = img_pages_entry_of(p->bat, p->file, 0, at, &entry);

    if (status < 0)
        return status;
    img_put_le32(entry, (uint32_t)(place / parallels_unit(p)));
    img_pages_entry_changed(p->bat, entry, ENTRY);
    p->changes++;
    p->changed_from = p->changed_to ? img_min(p->changed_from, at) : at;
    p->changed_to = img_max(p->changed_to, at + ENTRY);
    return 0;
}

/* Called before the table is written. */
static int ready(struct img *image)
{
    struct parallels *p = parallels_disk(image);

    return img_settle_debt(image, p->file, &p->reused);
}

int parallels_bat_open(struct parallels *p, struct img *image)
{
    p->bat = img_pages_new(image, PAGE, MEMORY, ready);
    return p->bat ? 0 : -ENOMEM;
}

int parallels_bat_write(struct parallels *p, bool aside)
{
    uint64_t changes = p->changes;
    int status;

    if (p->changed_to == 0)
        return 0;
    status = aside ? img_pages_write_aside(p->bat) : img_pages_write(p->bat);
    if (status == 0 && p->changes == changes)
        p->changed_from = p->changed_to = 0;
    p->known_to = 0;
    return status;
}

/* The end of a hole of the file at `at`; `at` itself if there is none. */
static uint64_t behind_hole(struct parallels *p, uint64_t at)
{
    uint64_t size = img_size(p->file);
    struct img_extent extent;

    /* The changed part is in memory; the file has the rest. */
    if (at >= p->changed_from && at < p->changed_to)
        return at;
    if (at >= size)
        return at < p->changed_from ? p->changed_from : UINT64_MAX;
    if (at < p->known_from || at >= p->known_to) {
        if (img_map(p->file, at, size - at, &extent) < 0)
            return at;
        p->known_from = at;
        p->known_to = at + extent.length;
        p->known_hole = extent.kind == IMG_ZERO;
    }
    if (!p->known_hole)
        return at;
    return at < p->changed_from ? img_min(p->known_to, p->changed_from) : p->known_to;
}

/* Find the first non-zero entry from byte `at` on; `end`, within the page or at its end, if there is none. */
static int next_in_page(struct parallels *p, uint64_t at, uint64_t end, uint64_t *found)
{
    uint8_t *entry;
    int status = img_pages_look_of(p->bat, p->file, 0, at, &entry);

    for (; status == 0 && at < end && img_get_le32(entry) == 0; entry += ENTRY)
        at += ENTRY;
    *found = at;
    return status;
}

int parallels_bat_next(struct parallels *p, uint32_t from, uint32_t to, uint32_t *index, uint64_t *place)
{
    uint64_t at = position(from), end = position(to);

    while (at < end) {
        uint64_t skip = img_align_down(behind_hole(p, at), ENTRY), limit;
        if (skip > at) {
            at = skip;
            continue;
        }
        limit = img_min(end, img_align_down(at, PAGE) + PAGE);
        int status = next_in_page(p, at, limit, &at);
        *index = (uint32_t)((at - PARALLELS_HEADER) / ENTRY);
        if (status < 0)
            return status;
        if (at < limit) {
            status = parallels_bat_get(p, *index, place);
            return status < 0 ? status : 1;
        }
    }
    *index = to;
    *place = 0;
    return 0;
}
