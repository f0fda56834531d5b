/* SPDX-License-Identifier: MIT */
/*
 * pages.c - tables of a format in memory.  A page has its place in one of a few slots, by file and offset; the one
 * unused for longest makes room.  When that has changed all changed ones are written, so that the ordering that `ready`
 * asks for is paid once for many.
 */
#include "pages.h"
#include "util/checked.h"
#include "util/scratch.h"
#include "util/strbuf.h"
#include <stdlib.h>

enum { WAYS = 4, MOST_SETS = 1024 };

struct slot {
    struct img *file;               /* NULL: free */
    uint64_t offset, stamp;
    uint32_t from, to;              /* changed bytes; to 0: none */
    uint8_t *bytes;
};

struct img_pages {
    struct img *image;
    int (*ready)(struct img *image);
    uint32_t page_size;
    size_t count, loaded, changed;  /* slots; those with memory, those with changes */
    uint64_t clock;
    struct slot *last;              /* got last */
    struct slot *slots;
};

struct img_pages *img_pages_new(struct img *image, uint32_t page_size, size_t memory, int (*ready)(struct img *image))
{
    struct img_pages *pages = img_xcalloc(1, sizeof *pages);
    size_t sets = (size_t)img_min(memory / page_size / WAYS, MOST_SETS);

    pages->image = image;
    pages->ready = ready;
    pages->page_size = page_size;
    pages->count = (sets ? sets : 1) * WAYS;
    pages->slots = img_xcalloc(pages->count, sizeof *pages->slots);
    return pages;
}

void img_pages_free(struct img_pages *pages)
{
    if (!pages)
        return;
    for (size_t i = 0; pages->loaded > 0; i++) {
        pages->loaded -= pages->slots[i].bytes != NULL;
        free(pages->slots[i].bytes);
    }
    free(pages->slots);
    free(pages);
}

void img_pages_forget(struct img_pages *pages)
{
    for (size_t i = 0; i < pages->count && pages->loaded; i++) {
        pages->slots[i].file = NULL;
        pages->slots[i].to = 0;
    }
    pages->changed = 0;
    pages->last = NULL;
}

/* ---- Writing ------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
    const struct slot *const *x = a, *const *y = b;

    if ((*x)->file != (*y)->file)
        return (uintptr_t)(*x)->file < (uintptr_t)(*y)->file ? -1 : 1;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static int write_slot(struct img_pages *pages, struct slot *slot)
{
    IMG_EVENT(slot->file, l2_update);
    int ret = img_pwrite(slot->file, slot->bytes + slot->from, slot->offset + slot->from, slot->to - slot->from);

    if (ret == 0) {
        slot->to = 0;
        pages->changed--;
    }
    return ret;
}

int img_pages_write(struct img_pages *pages)
{
    CLEANUP_SCRATCH struct slot **changed = NULL;
    size_t count = 0;
    int ret;

    if (pages->changed == 0)
        return 0;
    ret = pages->ready ? pages->ready(pages->image) : 0;
    if (ret < 0)
        return ret;
    changed = img_scratch_get(pages->changed * sizeof *changed);
    if (!changed)
        return -ENOMEM;
    for (size_t i = 0; i < pages->count; i++)
        if (pages->slots[i].to)
            changed[count++] = &pages->slots[i];
    qsort(changed, count, sizeof *changed, by_place);
    for (size_t i = 0; i < count && ret == 0; i++)
        ret = write_slot(pages, changed[i]);
    return ret;
}

/* ---- Finding -------------------------------------------------------------------- */

static struct slot *set_of(struct img_pages *pages, const struct img *file, uint64_t offset)
{
    /* Nodes lie apart in memory, so their addresses tell the sets of files apart. */
    uint64_t hash = (offset / pages->page_size + ((uintptr_t)file >> 6)) * 0x9e3779b97f4a7c15ull >> 20;

    return &pages->slots[hash % (pages->count / WAYS) * WAYS];
}

/* A slot for a page that is not there, free of changes and with memory. */
static int make_room(struct img_pages *pages, struct slot *set, struct slot **room)
{
    struct slot *oldest = set;
    int ret;

    for (int i = 0; i < WAYS && oldest->file; i++) {
        if (!set[i].file || set[i].stamp < oldest->stamp)
            oldest = &set[i];
    }
    ret = oldest->to ? img_pages_write(pages) : 0;
    if (ret < 0)
        return ret;
    if (!oldest->bytes) {
        oldest->bytes = malloc(pages->page_size);
        if (!oldest->bytes)
            return -ENOMEM;
        pages->loaded++;
    }
    oldest->file = NULL;
    *room = oldest;
    return 0;
}

static int get_page(struct img_pages *pages, struct img *file, uint64_t offset, uint8_t **bytes)
{
    struct slot *set = set_of(pages, file, offset), *slot = NULL;
    int ret;

    for (int i = 0; i < WAYS && !slot; i++)
        if (set[i].file == file && set[i].offset == offset)
            slot = &set[i];
    if (!slot) {
        ret = make_room(pages, set, &slot);
        if (ret < 0)
            return ret;
        IMG_EVENT(file, l2_load);
        /* A format that lies below has no bytes behind its end. */
        ret = img_pread_padded(file, slot->bytes, offset, pages->page_size);
        if (ret < 0)
            return ret;
        slot->file = file;
        slot->offset = offset;
    }
    slot->stamp = ++pages->clock;
    pages->last = slot;
    *bytes = slot->bytes;
    return 0;
}

int img_pages_get(struct img_pages *pages, uint64_t offset, uint8_t **bytes)
{
    return get_page(pages, pages->image->file, offset, bytes);
}

void img_pages_changed(struct img_pages *pages, uint32_t from, uint32_t length)
{
    struct slot *slot = pages->last;

    if (!slot->to) {
        pages->changed++;
        slot->from = from;
    }
    slot->from = (uint32_t)img_min(slot->from, from);
    slot->to = (uint32_t)img_max(slot->to, from + length);
}

/* ---- Entries -------------------------------------------------------------------- */

int img_pages_entry_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry)
{
    uint64_t start = img_align_down(at, pages->page_size);
    int ret = get_page(pages, file, table + start, entry);

    if (ret == 0)
        *entry += at - start;
    return ret;
}

int img_pages_entry(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry)
{
    return img_pages_entry_of(pages, pages->image->file, table, at, entry);
}

/* Bytes from host `offset` on that the file does not hold. */
static uint64_t absent_from(struct img *file, uint64_t offset)
{
    uint64_t size = img_size(file);
    struct img_extent extent;

    if (offset >= size)
        return UINT64_MAX;
    if (img_map(file, offset, size - offset, &extent) < 0 || (extent.kind != IMG_HOLE && extent.kind != IMG_ZERO))
        return 0;
    return extent.length == size - offset ? UINT64_MAX : extent.length;
}

uint64_t img_pages_zeroes_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint64_t length)
{
    uint64_t rest = img_min(length, pages->page_size - at % pages->page_size), zeroes, more;
    uint8_t *entry;

    if (img_pages_entry_of(pages, file, table, at, &entry) < 0)
        return 0;
    zeroes = img_leading_zeroes(entry, (size_t)rest);
    /* What is further on may have changed here and not in the file yet; a layer below has its own idea of holes. */
    if (zeroes < rest || rest == length || pages->changed || img_backing(file))
        return zeroes;
    more = absent_from(file, table + at + rest);
    return more >= length - rest ? length : rest + more;
}

uint64_t img_pages_zeroes(struct img_pages *pages, uint64_t table, uint64_t at, uint64_t length)
{
    return img_pages_zeroes_of(pages, pages->image->file, table, at, length);
}

void img_pages_entry_changed(struct img_pages *pages, const uint8_t *entry, uint32_t length)
{
    img_pages_changed(pages, (uint32_t)(entry - pages->last->bytes), length);
}
