/* SPDX-License-Identifier: MIT */
/*
 * pages.c - tables of a format in memory.  A page has its place in one of a few slots, by file and offset; the one
 * unused for longest makes room.  When that has changed all changed ones are written, so that the ordering that `ready`
 * asks for is paid once for many.
 *
 * `ready` may release the lock for a flush, and then others change pages.  So what had changed is copied first, and the
 * copies are written: what they refer to was there when `ready` began.  A page that changed since is still to be
 * written; one that somebody else had to write meanwhile, with a `ready` of his own, has lost its copy, for that is older.
 */
#include "pages.h"
#include "waiting.h"
#include "util/checked.h"
#include "util/scratch.h"
#include "util/strbuf.h"
#include <stdlib.h>
#include <string.h>

enum { WAYS = 4, MOST_SETS = 1024 };

struct slot {
    struct img *file;               /* NULL: free */
    uint64_t offset, stamp;
    uint32_t from, to;              /* dirty bytes; to == 0: clean */
    uint8_t *bytes;
    struct img_loading *loading;    /* on its way: its bytes are not here yet; else NULL */
    uint8_t *copy;                  /* of [copied_from, copied_to), to be written by the flush under way; else NULL */
    uint32_t copied_from, copied_to;
    bool newer;                     /* than the copy */
};

struct img_pages {
    struct img *image;
    int (*ready)(struct img *image);
    uint32_t page_size;
    size_t count, loaded, changed;  /* slots; those with memory, those with changes */
    uint64_t clock;
    bool writing;                   /* copies are about to be written */
    struct slot *last;              /* got last */
    struct slot *slots;
};

struct img_pages *img_pages_new(struct img *image, uint32_t page_size, size_t memory, int (*ready)(struct img *image))
{
    struct img_pages *pages = img_calloc(1, sizeof *pages);
    size_t sets = (size_t)img_min(memory / page_size / WAYS, MOST_SETS);

    if (!pages)
        return NULL;
    pages->image = image;
    pages->ready = ready;
    pages->page_size = page_size;
    pages->count = (sets ? sets : 1) * WAYS;
    pages->slots = img_calloc(pages->count, sizeof *pages->slots);
    if (pages->slots)
        return pages;
    free(pages);
    return NULL;
}

void img_pages_free(struct img_pages *pages)
{
    if (!pages)
        return;
    for (size_t i = 0; i < pages->count && pages->loaded > 0; i++) {
        pages->loaded -= pages->slots[i].bytes != NULL;
        free(pages->slots[i].bytes);
    }
    free(pages->slots);
    free(pages);
}

/* Abandon a page that is being read. */
static void drop_load(struct slot *slot)
{
    if (slot->loading)
        slot->loading->dropped = true;
    slot->loading = NULL;
    slot->file = NULL;
}

static void drop_copy(struct slot *slot)
{
    free(slot->copy);
    slot->copy = NULL;
    slot->newer = false;
}

void img_pages_forget(struct img_pages *pages)
{
    for (size_t i = 0; i < pages->count; i++) {
        drop_load(&pages->slots[i]);
        drop_copy(&pages->slots[i]);
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
        drop_copy(slot);
        slot->to = 0;
        pages->changed--;
    }
    return ret;
}

/* With the lock held throughout, also in an armed call. */
static int make_ready(struct img_pages *pages)
{
    unsigned left = img_disarm(pages->image);
    int ret = pages->ready ? pages->ready(pages->image) : 0;

    img_rearm(pages->image, left);
    return ret;
}

int img_pages_write(struct img_pages *pages)
{
    CLEANUP_SCRATCH struct slot **changed = NULL;
    size_t count = 0;
    int ret;

    if (pages->changed == 0)
        return 0;
    ret = make_ready(pages);
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

/* ---- Writing with the lock released --------------------------------------------- */

static int copy_changed(struct img_pages *pages)
{
    for (size_t i = 0; i < pages->count; i++) {
        struct slot *slot = &pages->slots[i];
        if (!slot->to)
            continue;
        slot->copy = malloc(slot->to - slot->from);
        if (!slot->copy)
            return -ENOMEM;
        slot->copied_from = slot->from;
        slot->copied_to = slot->to;
        slot->newer = false;
        memcpy(slot->copy, slot->bytes + slot->from, slot->to - slot->from);
    }
    return 0;
}

static int write_copy(struct img_pages *pages, struct slot *slot)
{
    IMG_EVENT(slot->file, l2_update);
    int ret = img_pwrite(slot->file, slot->copy, slot->offset + slot->copied_from, slot->copied_to - slot->copied_from);

    if (ret == 0 && !slot->newer) {
        slot->to = 0;
        pages->changed--;
    }
    return ret;
}

static int write_copies(struct img_pages *pages)
{
    CLEANUP_SCRATCH struct slot **copied = img_scratch_get(pages->count * sizeof *copied);
    size_t count = 0;
    int ret = 0;

    if (!copied)
        return -ENOMEM;
    for (size_t i = 0; i < pages->count; i++)
        if (pages->slots[i].copy)
            copied[count++] = &pages->slots[i];
    qsort(copied, count, sizeof *copied, by_place);
    for (size_t i = 0; i < count && ret == 0; i++)
        ret = write_copy(pages, copied[i]);
    return ret;
}

int img_pages_write_aside(struct img_pages *pages)
{
    int ret;

    if (!img_may_wait(pages->image))
        return img_pages_write(pages);
    while (pages->writing)
        img_wait_turn(pages->image);
    if (pages->changed == 0)
        return 0;
    pages->writing = true;
    ret = copy_changed(pages);
    if (ret == 0 && pages->ready)
        ret = pages->ready(pages->image);
    if (ret == 0)
        ret = write_copies(pages);
    for (size_t i = 0; i < pages->count; i++)
        drop_copy(&pages->slots[i]);
    pages->writing = false;
    img_table_arrived(pages->image);
    return ret;
}

/* ---- Finding -------------------------------------------------------------------- */

static struct slot *set_of(struct img_pages *pages, const struct img *file, uint64_t offset)
{
    /* Node addresses differ, so they spread the files over the sets. */
    uint64_t hash = (offset / pages->page_size + ((uintptr_t)file >> 6)) * 0x9e3779b97f4a7c15ull >> 20;

    return &pages->slots[hash % (pages->count / WAYS) * WAYS];
}

static struct slot *find(struct slot *set, const struct img *file, uint64_t offset)
{
    for (int i = 0; i < WAYS; i++)
        if (set[i].file == file && set[i].offset == offset)
            return &set[i];
    return NULL;
}

/* Choose a slot to reuse: a free one, else the least recently used one, else (last choice) one being read. */
static struct slot *victim(struct slot *set)
{
    struct slot *best = set;

    for (int i = 0; i < WAYS && best->file; i++) {
        bool worse = set[i].loading && !best->loading, better = best->loading && !set[i].loading;
        if (!set[i].file || better || (!worse && set[i].stamp < best->stamp))
            best = &set[i];
    }
    return best;
}

/* Get a clean slot, with memory, for a page that is not cached. */
static int make_room(struct img_pages *pages, struct slot *set, bool waits, struct slot **room)
{
    struct slot *slot = victim(set);
    int ret;

    if (slot->loading && waits)
        return img_wait_for_table(pages->image);
    if (slot->to && waits) {
        ret = img_pages_write_aside(pages);
        return ret < 0 ? ret : IMG_LOOK_AGAIN;
    }
    ret = slot->to ? img_pages_write(pages) : 0;
    if (ret < 0)
        return ret;
    drop_load(slot);
    if (!slot->bytes) {
        slot->bytes = malloc(pages->page_size);
        if (!slot->bytes)
            return -ENOMEM;
        pages->loaded++;
    }
    *room = slot;
    return 0;
}

/* A format below has no bytes beyond its end: zero the rest. */
static int load(struct img_pages *pages, struct slot *slot, struct img *file, uint64_t offset)
{
    IMG_EVENT(file, l2_load);
    int ret = img_pread_table(pages->image, file, slot->bytes, offset, pages->page_size);

    if (ret == 0) {
        slot->file = file;
        slot->offset = offset;
    }
    return ret;
}

/* The same with the lock released; meanwhile another thread may take the slot away. */
static int load_aside(struct img_pages *pages, struct slot *slot, struct img *file, uint64_t offset)
{
    struct img_loading loading = { .bytes = slot->bytes };
    int ret;

    slot->bytes = NULL;
    pages->loaded--;
    slot->file = file;
    slot->offset = offset;
    slot->stamp = ++pages->clock;
    slot->loading = &loading;
    IMG_EVENT(file, l2_load);
    ret = img_read_aside(pages->image, file, loading.bytes, offset, pages->page_size);
    img_table_arrived(pages->image);
    if (loading.dropped) {
        free(loading.bytes);
        return IMG_LOOK_AGAIN;
    }
    slot->loading = NULL;
    slot->bytes = loading.bytes;
    pages->loaded++;
    if (ret < 0)
        slot->file = NULL;
    return ret < 0 ? ret : IMG_LOOK_AGAIN;
}

static int get_page(struct img_pages *pages, struct img *file, uint64_t offset, bool looks, uint8_t **bytes)
{
    struct slot *set = set_of(pages, file, offset), *slot = find(set, file, offset);
    bool waits = looks && img_may_wait(pages->image);
    int ret;

    if (slot && slot->loading) {
        if (waits)
            return img_wait_for_table(pages->image);
        drop_load(slot);
        slot = NULL;
    }
    if (!slot) {
        ret = make_room(pages, set, waits, &slot);
        if (ret == 0)
            ret = waits ? load_aside(pages, slot, file, offset) : load(pages, slot, file, offset);
        if (ret < 0)
            return ret;
    }
    slot->stamp = ++pages->clock;
    pages->last = slot;
    *bytes = slot->bytes;
    return 0;
}

int img_pages_get(struct img_pages *pages, uint64_t offset, uint8_t **bytes)
{
    return get_page(pages, pages->image->file, offset, false, bytes);
}

void img_pages_changed(struct img_pages *pages, uint32_t from, uint32_t length)
{
    struct slot *slot = pages->last;

    slot->newer = true;
    if (!slot->to) {
        pages->changed++;
        slot->from = from;
    }
    slot->from = (uint32_t)img_min(slot->from, from);
    slot->to = (uint32_t)img_max(slot->to, from + length);
}

/* ---- Entries -------------------------------------------------------------------- */

static int get_entry(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, bool looks,
                     uint8_t **entry)
{
    uint64_t start = img_align_down(at, pages->page_size);
    int ret = get_page(pages, file, table + start, looks, entry);

    if (ret == 0)
        *entry += at - start;
    return ret;
}

int img_pages_entry_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry)
{
    return get_entry(pages, file, table, at, false, entry);
}

int img_pages_entry(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry)
{
    return get_entry(pages, pages->image->file, table, at, false, entry);
}

int img_pages_look_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry)
{
    return get_entry(pages, file, table, at, true, entry);
}

int img_pages_look(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry)
{
    return get_entry(pages, pages->image->file, table, at, true, entry);
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
    uint64_t inside = at % pages->page_size, page = table + at - inside;
    uint64_t rest = img_min(length, pages->page_size - inside), zeroes, more;
    const struct slot *slot = find(set_of(pages, file, page), file, page);

    if (!slot || slot->loading)
        return 0;
    zeroes = img_leading_zeroes(slot->bytes + inside, (size_t)rest);
    /* What is further on may have changed here and not in the file yet; a layer below has its own idea of holes. */
    if (zeroes < rest || rest == length || pages->changed || pages->writing || img_backing(file))
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
