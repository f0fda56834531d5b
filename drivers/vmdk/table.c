/* SPDX-License-Identifier: MIT */
/*
 * Grain directories and grain tables.  They are cached by pages; each page belongs to one directory or table, so
 * writing it back writes only entries, whatever lies between tables.  The cache has one limit for all extents.
 * Specification: "Hosted Sparse Extents" (grain directory, grain tables, redundant ones), "ESXi Host Sparse
 * Extents".
 */
#include "vmdk.h"

/* A page is a table of the usual size. */
enum { PAGE = VMDK_GT_ENTRIES * 4, MEMORY = 1 << 20 };

/* Flush data first: they must be durable before a table refers to them. */
static int settle_data(struct img *image)
{
    struct vmdk *s = vmdk_state(image);

    for (size_t i = 0; i < s->extents.count; i++) {
        struct vmdk_extent *extent = &s->extents.at[i];
        int ret = img_settle_debt(image, extent->file, &extent->data);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int vmdk_open_tables(struct img *image)
{
    vmdk_state(image)->pages = img_pages_new(image, PAGE, MEMORY, settle_data);
    return vmdk_state(image)->pages ? 0 : -ENOMEM;
}

/* ---- Entries --------------------------------------------------------------------------------- */

/* Get the entry at byte `at` of the directory or table at file offset `start`. */
static int find_entry(struct img *image, const struct vmdk_extent *extent, uint64_t start, uint64_t at, bool looks,
                      uint8_t **found)
{
    struct img_pages *pages = vmdk_state(image)->pages;

    if (start + at > INT64_MAX - PAGE)
        return -EIO;
    return looks ? img_pages_look_of(pages, extent->file, start, at, found)
                 : img_pages_entry_of(pages, extent->file, start, at, found);
}

static int get_entry(struct img *image, const struct vmdk_extent *extent, uint64_t start, uint64_t index,
                     uint64_t *entry)
{
    uint8_t *found;
    int ret = find_entry(image, extent, start, index * extent->entry_size, true, &found);

    if (ret == 0)
        *entry = extent->entry_size == 8 ? img_get_le64(found) : img_get_le32(found);
    return ret;
}

/* Write whole sectors: they contain only entries. */
static int put_entry(struct img *image, const struct vmdk_extent *extent, uint64_t start, uint64_t index,
                     uint32_t entry)
{
    uint8_t *found;
    uint64_t at = index * extent->entry_size;
    int ret = find_entry(image, extent, start, at, false, &found);

    if (ret < 0)
        return ret;
    img_put_le32(found, entry);
    img_pages_entry_changed(vmdk_state(image)->pages, found - at % VMDK_SECTOR, VMDK_SECTOR);
    return 0;
}

/* ---- From grain to entry ------------------------------------------------------------------ */

/* Find the table of grain `index` in the directory at `directory`, 0: none. */
static int look_up(struct img *image, const struct vmdk_extent *extent, uint64_t directory, uint64_t index,
                   uint64_t *table)
{
    uint64_t number = index / extent->table_entries, entry = 0;
    int ret = number < extent->tables ? 0 : -EIO;

    *table = 0;
    if (ret == 0 && extent->rebuilt)
        entry = extent->rebuilt[number];
    else if (ret == 0)
        ret = get_entry(image, extent, directory, number, &entry);
    if (ret < 0)
        return ret;
    if (extent->kind == VMDK_SESPARSE)
        return vmdk_sesparse_table(extent, entry, table);
    *table = entry * VMDK_SECTOR;
    return 0;
}

/* Add a table of zeroes at the end of the file, where a failed write may have left bytes. */
static int add_table(struct img *image, struct vmdk_extent *extent, uint64_t directory, uint64_t index,
                     uint64_t *table)
{
    uint64_t place = img_align_up(img_max(extent->next, img_size(extent->file)), VMDK_SECTOR);
    uint64_t length = img_align_up((uint64_t)extent->table_entries * 4, VMDK_SECTOR);

    if ((place + length) / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    extent->next = place + length;
    *table = place;
    return put_entry(image, extent, directory, index / extent->table_entries, (uint32_t)(place / VMDK_SECTOR));
}

static int need_table(struct img *image, struct vmdk_extent *extent, uint64_t directory, uint64_t index,
                      uint64_t *table)
{
    int ret = look_up(image, extent, directory, index, table);

    return ret < 0 || *table ? ret : add_table(image, extent, directory, index, table);
}

int vmdk_find_table(struct img *image, const struct vmdk_extent *extent, uint64_t index, uint64_t *table)
{
    return look_up(image, extent, extent->directory, index, table);
}

static uint64_t count_rebuilt(const struct vmdk_extent *extent, uint64_t number)
{
    uint64_t end = number;

    while (end < extent->tables && extent->rebuilt[end] == 0)
        end++;
    return (end - number) * extent->table_entries;
}

uint64_t vmdk_count_empty(struct img *image, const struct vmdk_extent *extent, uint64_t table, uint64_t index)
{
    uint64_t number = table ? index % extent->table_entries : index / extent->table_entries;
    uint64_t entries = table ? extent->table_entries : extent->tables, start = table ? table : extent->directory;
    uint64_t at = number * extent->entry_size, zeroes;

    if (!table && extent->rebuilt)
        return count_rebuilt(extent, number);
    if (number >= entries || start + at > INT64_MAX - PAGE)
        return 0;
    zeroes = img_pages_zeroes_of(vmdk_state(image)->pages, extent->file, start, at,
                                 (entries - number) * extent->entry_size);
    return zeroes / extent->entry_size * (table ? 1 : extent->table_entries);
}

int vmdk_need_tables(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t *table, uint64_t *again)
{
    int ret = need_table(image, extent, extent->directory, index, table);

    *again = 0;
    return ret < 0 || !extent->redundant ? ret : need_table(image, extent, extent->redundant, index, again);
}

int vmdk_get_entry(struct img *image, const struct vmdk_extent *extent, uint64_t index, uint64_t *entry)
{
    uint64_t table;
    int ret = vmdk_find_table(image, extent, index, &table);

    *entry = 0;
    return ret < 0 || !table ? ret : get_entry(image, extent, table, index % extent->table_entries, entry);
}

int vmdk_put_entry(struct img *image, struct vmdk_extent *extent, uint64_t index, uint32_t entry)
{
    uint64_t table, again, inside = index % extent->table_entries;
    int ret = vmdk_need_tables(image, extent, index, &table, &again);

    if (ret == 0)
        ret = put_entry(image, extent, table, inside, entry);
    return ret < 0 || !again ? ret : put_entry(image, extent, again, inside, entry);
}

uint64_t vmdk_known_grains(const struct vmdk_extent *extent)
{
    uint64_t size = extent->next, tables = 0;

    if (extent->rebuilt)
        tables = extent->tables;
    else if (extent->grain && extent->directory < size)
        tables = img_min(extent->tables, img_div_up(size - extent->directory, extent->entry_size));
    return tables * extent->table_entries;
}
