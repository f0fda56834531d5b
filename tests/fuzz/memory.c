/* SPDX-License-Identifier: MIT */
/*
 * memory - a protocol driver for the fuzz targets.  The disk is the input of the target; pages that are written to
 * lie beside it, so a thousand inputs a second can be opened ten times each without a file, a lock or a copy.
 * A disk may become as long as a file can, and holds MAX_PAGES written pages at most: then it is full.
 */
#include "memory.h"
#include "libimg/driver.h"
#include "libimg/util/checked.h"
#include "libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, BUCKETS = 1024, MAX_PAGES = 16384 };

struct page {
    uint64_t number;
    struct page *next;
    uint8_t bytes[PAGE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    /* of the calls of the driver, from several threads */
static struct {
    const uint8_t *input;
    uint64_t input_size, size;      /* input_size: what is left of it */
    size_t pages;
    struct page *buckets[BUCKETS];
} disk;

/* ---- Pages --------------------------------------------------------------------------- */

static struct page **find(uint64_t number)
{
    struct page **at = &disk.buckets[number % BUCKETS];

    while (*at && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

static void drop(struct page **at)
{
    struct page *page = *at;

    *at = page->next;
    free(page);
    disk.pages--;
}

/* The input's bytes of a page, as many as it has. */
static size_t input_of(uint64_t number, const uint8_t **bytes)
{
    uint64_t start = number * PAGE;

    if (start >= disk.input_size)
        return 0;
    *bytes = disk.input + start;
    return (size_t)img_min(PAGE, disk.input_size - start);
}

static void read_page(uint64_t number, size_t from, uint8_t *to, size_t length)
{
    const struct page *page = *find(number);
    const uint8_t *bytes = NULL;
    size_t there = page ? PAGE : input_of(number, &bytes), have = from < there ? img_min(there - from, length) : 0;

    if (have)
        memcpy(to, (page ? page->bytes : bytes) + from, have);
    memset(to + have, 0, length - have);
}

static struct page *need_page(uint64_t number)
{
    struct page **at = find(number), *page = *at;

    if (page || disk.pages >= MAX_PAGES)
        return page;
    page = malloc(sizeof *page);
    if (!page)
        return NULL;
    read_page(number, 0, page->bytes, PAGE);
    page->number = number;
    page->next = NULL;
    *at = page;
    disk.pages++;
    return page;
}

/* Has nothing been written there, and is the input zero or at its end? */
static bool is_hole(uint64_t number)
{
    const uint8_t *bytes;
    size_t there;

    if (*find(number))
        return false;
    there = input_of(number, &bytes);
    return there == 0 || img_is_zero(bytes, there);
}

/* ---- The disk ------------------------------------------------------------------------- */

void fuzz_memory_clear(void)
{
    for (size_t i = 0; i < BUCKETS && disk.pages; i++)
        while (disk.buckets[i])
            drop(&disk.buckets[i]);
    disk.input_size = disk.size = 0;
}

void fuzz_memory_load(const uint8_t *bytes, size_t size)
{
    fuzz_memory_clear();
    disk.input = bytes;
    disk.input_size = disk.size = size;
}

uint64_t fuzz_memory_size(void)
{
    return disk.size;
}

static int fill(uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    while (length > 0) {
        size_t from = offset % PAGE, part = (size_t)img_min(length, PAGE - from);
        struct page *page = need_page(offset / PAGE);
        if (!page)
            return -ENOSPC;
        if (bytes)
            memcpy(page->bytes + from, bytes, part);
        else
            memset(page->bytes + from, 0, part);
        bytes = bytes ? bytes + part : NULL;
        offset += part;
        length -= part;
    }
    return 0;
}

/* ---- The driver ------------------------------------------------------------------------- */

static int parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)options;
    return strcmp(name, FUZZ_MEMORY) == 0 ? 0 : img_error_set(err, EINVAL, "There is one disk");
}

static int memory_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)parsed, (void)options, (void)err;
    image->no_details = true;
    image->size = disk.size;
    return 0;
}

static int memory_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    LOCK_SCOPE(&lock);

    (void)image;
    for (uint8_t *to = buffer; length > 0; ) {
        size_t from = offset % PAGE, part = (size_t)img_min(length, PAGE - from);
        read_page(offset / PAGE, from, to, part);
        to += part;
        offset += part;
        length -= part;
    }
    return 0;
}

static int memory_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    LOCK_SCOPE(&lock);
    int ret = fill(offset, length, buffer);

    (void)flags;
    if (ret == 0) {
        disk.size = img_max(disk.size, offset + length);
        img_grew_to(image, disk.size);
    }
    return ret;
}

static int memory_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    LOCK_SCOPE(&lock);
    uint64_t end = offset + length, inside = img_min(end, img_align_up(disk.size, PAGE));

    (void)flags;
    while (offset < inside) {
        uint64_t part = img_min(inside - offset, PAGE - offset % PAGE);
        int ret = is_hole(offset / PAGE) ? 0 : fill(offset, part, NULL);
        if (ret < 0)
            return ret;
        offset += part;
    }
    disk.size = img_max(disk.size, end);
    img_grew_to(image, disk.size);
    return 0;
}

static int memory_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    LOCK_SCOPE(&lock);
    enum { MAX_LOOKED_AT = 4096 };
    uint64_t first = offset / PAGE, number = first + 1, last = (offset + length - 1) / PAGE;
    bool hole = is_hole(first);

    while (number <= last && number - first < MAX_LOOKED_AT && is_hole(number) == hole)
        number++;
    /* Behind the input there may be nothing at all. */
    if (hole && disk.pages == 0 && number * PAGE >= disk.input_size)
        number = last + 1;
    *extent = (struct img_extent){ .offset = offset, .length = img_min(length, number * PAGE - offset),
                                   .kind = hole ? IMG_ZERO : IMG_DATA, .host_valid = true, .file = image,
                                   .host = offset };
    return 0;
}

static int memory_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    (void)preallocation, (void)err;
    if (size < disk.size) {
        for (size_t i = 0; i < BUCKETS; i++)
            for (struct page **at = &disk.buckets[i]; *at; ) {
                if ((*at)->number * PAGE >= size)
                    drop(at);
                else
                    at = &(*at)->next;
            }
        disk.input_size = img_min(disk.input_size, size);
        struct page *cut = *find(size / PAGE);
        if (cut)
            memset(cut->bytes + size % PAGE, 0, PAGE - size % PAGE);
    }
    disk.size = size;
    image->size = size;
    return 0;
}

static int64_t memory_allocated(struct img *image)
{
    (void)image;
    return (int64_t)(disk.input_size + disk.pages * PAGE);
}

static int plain_name(const struct img *image, char **name)
{
    (void)image;
    *name = strdup(FUZZ_MEMORY);
    return *name ? 0 : -ENOMEM;
}

static int memory_flush(struct img *image)
{
    (void)image;
    return 0;
}

const struct img_driver img_driver_memory = {
    IMG_ROW(
        .name = "memory", .kind = IMG_PROTOCOL, .prefix = "memory"
    ),
    .parse_name = parse_name, .plain_name = plain_name, .open = memory_open, .pread = memory_pread,
    .pwrite = memory_pwrite, .zero = memory_zero, .map = memory_map, .resize = memory_resize,
    .allocated = memory_allocated, .flush = memory_flush,
};
