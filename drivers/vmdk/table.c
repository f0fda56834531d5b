/* SPDX-License-Identifier: MIT */
/*
 * Grain directories and grain tables.  They are kept in memory by pages of the file, whatever tables these belong to,
 * up to a bound for the whole image: a directory or a table costs nothing before it is looked at.  Only sectors that
 * hold entries are written back, and only behind the data that they name.
 * Specification: "Hosted Sparse Extents" (grain directory, grain tables, redundant ones), "ESXi Host Sparse Extents".
 */
#include "vmdk.h"
#include <string.h>

enum { PAGE = 4096, SETS = 64, WAYS = 4, SLOTS = SETS * WAYS };

struct vmdk_page {
    struct img *file;               /* NULL: free */
    uint64_t offset, stamp;
    uint8_t dirty;                  /* a bit a sector */
    uint8_t *bytes;
};

int vmdk_read(struct img *file, void *bytes, uint64_t offset, size_t length)
{
    uint64_t size = img_size(file);
    size_t there = offset < size ? (size_t)img_min(length, size - offset) : 0;

    if (offset > (uint64_t)INT64_MAX - length)
        return -EIO;
    memset((uint8_t *)bytes + there, 0, length - there);
    return there ? img_pread(file, bytes, offset, there) : 0;
}

/* Data first: what a table names is to be there before it does. */
static int settle_data(struct img *image)
{
    struct vmdk *s = vmdk_state(image);

    for (size_t i = 0; i < s->extents.count; i++) {
        struct vmdk_extent *extent = &s->extents.at[i];
        int ret;
        if (!extent->written)
            continue;
        ret = img_flush(extent->file);
        if (ret < 0)
            return ret;
        extent->written = false;
    }
    return 0;
}

/* The sectors of the page that are newer, run by run. */
static int write_page(struct vmdk_page *page)
{
    for (unsigned first = 0; page->dirty; ) {
        unsigned last;
        int ret;

        while (!(page->dirty >> first & 1))
            first++;
        for (last = first; page->dirty >> last & 1; )
            last++;
        ret = img_pwrite(page->file, page->bytes + first * VMDK_SECTOR, page->offset + first * VMDK_SECTOR,
                         (last - first) * VMDK_SECTOR);
        if (ret < 0)
            return ret;
        page->dirty &= (uint8_t)~((1u << last) - (1u << first));
    }
    return 0;
}

static int load_page(struct img *image, struct vmdk_page *page, struct img *file, uint64_t offset)
{
    int ret = 0;

    if (page->dirty)
        ret = settle_data(image);
    if (ret == 0 && page->dirty)
        ret = write_page(page);
    if (ret < 0)
        return ret;
    page->file = NULL;
    if (!page->bytes)
        page->bytes = malloc(PAGE);
    if (!page->bytes)
        return -ENOMEM;
    ret = vmdk_read(file, page->bytes, offset, PAGE);
    if (ret < 0)
        return ret;
    page->file = file;
    page->offset = offset;
    return 0;
}

static int find_page(struct img *image, struct img *file, uint64_t offset, struct vmdk_page **found)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_page *set, *oldest;
    /* Nodes lie apart in memory, so their addresses tell the sets of extents apart. */
    uint64_t hash = offset / PAGE + ((uintptr_t)file >> 6);

    if (!s->pages)
        s->pages = calloc(SLOTS, sizeof *s->pages);
    if (!s->pages)
        return -ENOMEM;
    set = oldest = &s->pages[hash % SETS * WAYS];
    for (struct vmdk_page *page = set; page < set + WAYS; page++) {
        if (page->file == file && page->offset == offset) {
            page->stamp = ++s->clock;
            *found = page;
            return 0;
        }
        if (page->stamp < oldest->stamp)
            oldest = page;
    }
    oldest->stamp = ++s->clock;
    *found = oldest;
    return load_page(image, oldest, file, offset);
}

int vmdk_get_entry(struct img *image, const struct vmdk_extent *extent, uint64_t at, uint64_t *value)
{
    struct vmdk_page *page;
    int ret = find_page(image, extent->file, img_align_down(at, PAGE), &page);

    if (ret < 0)
        return ret;
    *value = extent->entry_size == 8 ? img_get_le64(page->bytes + at % PAGE) : img_get_le32(page->bytes + at % PAGE);
    return 0;
}

int vmdk_put_entry(struct img *image, const struct vmdk_extent *extent, uint64_t at, uint32_t value)
{
    struct vmdk_page *page;
    int ret = find_page(image, extent->file, img_align_down(at, PAGE), &page);

    if (ret < 0)
        return ret;
    img_put_le32(page->bytes + at % PAGE, value);
    page->dirty |= (uint8_t)(1u << at % PAGE / VMDK_SECTOR);
    return 0;
}

int vmdk_write_tables(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    bool any = false;
    int ret = 0;

    for (size_t i = 0; s->pages && i < SLOTS; i++)
        any |= s->pages[i].dirty != 0;
    if (any)
        ret = settle_data(image);
    for (size_t i = 0; any && i < SLOTS && ret == 0; i++)
        ret = write_page(&s->pages[i]);
    return ret;
}

void vmdk_free_tables(struct vmdk *s)
{
    for (size_t i = 0; s->pages && i < SLOTS; i++)
        free(s->pages[i].bytes);
    free(s->pages);
    s->pages = NULL;
}

/* ---- From grain to entry ------------------------------------------------------------------ */

/* A table that the directory lacks: zeroes behind the end of the file, where a write that failed may have left bytes. */
static int add_table(struct img *image, struct vmdk_extent *extent, uint64_t entry_at, uint64_t *table)
{
    uint64_t place = img_align_up(img_max(extent->next, img_size(extent->file)), VMDK_SECTOR);
    uint64_t length = img_align_up((uint64_t)extent->table_entries * 4, VMDK_SECTOR);

    if ((place + length) / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    extent->next = place + length;
    *table = place;
    return vmdk_put_entry(image, extent, entry_at, (uint32_t)(place / VMDK_SECTOR));
}

static int find_table(struct img *image, struct vmdk_extent *extent, uint64_t entry_at, bool create, uint64_t *table)
{
    uint64_t entry;
    int ret = vmdk_get_entry(image, extent, entry_at, &entry);

    if (ret < 0)
        return ret;
    if (extent->kind == VMDK_SESPARSE)
        return vmdk_sesparse_table(extent, entry, table);
    *table = entry * VMDK_SECTOR;
    return *table || !create ? 0 : add_table(image, extent, entry_at, table);
}

int vmdk_find_entry(struct img *image, struct vmdk_extent *extent, uint64_t index, bool create, uint64_t *at,
                    uint64_t *again)
{
    uint64_t number = index / extent->table_entries, inside = index % extent->table_entries * extent->entry_size;
    uint64_t table = 0;
    int ret;

    *at = *again = 0;
    if (number >= extent->tables)
        return -EIO;
    ret = find_table(image, extent, extent->directory + number * extent->entry_size, create, &table);
    if (ret < 0)
        return ret;
    if (table)
        *at = table + inside;
    if (!create || !extent->redundant)
        return 0;
    ret = find_table(image, extent, extent->redundant + number * extent->entry_size, true, &table);
    if (ret == 0)
        *again = table + inside;
    return ret;
}

uint64_t vmdk_known_grains(const struct vmdk_extent *extent)
{
    uint64_t size = extent->next, tables = 0;

    if (extent->grain && extent->directory < size)
        tables = img_min(extent->tables, img_div_up(size - extent->directory, extent->entry_size));
    return tables * extent->table_entries;
}
