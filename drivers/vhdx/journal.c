/* SPDX-License-Identifier: MIT */
/*
 * journal.c - our own log.  [MS-VHDX] 2.3.1 "Log Entries".
 *
 * Pages of the BAT are written to the log first and then to their places.  Before an entry is written, everything
 * before it is durable (guest data, and the pages of the previous entry at their places).  So each entry is its own
 * tail: only one entry is ever replayed.  It uses at most a third of the log, so it never overwrites the previous
 * one.
 *
 * A commit copies the pages first, since others may change the BAT while the file is synced, and there is one at a time:
 * another entry in between would rely on pages that are not durable.
 *
 * The headers name the log from the first change until the image is closed.  An empty entry stands in it before
 * they do: a log without any valid entry would be a damaged one.
 */
#include "vhdx.h"

/* Maximum number of pages in an entry. */
static unsigned entry_capacity(const struct vhdx *s)
{
    return (unsigned)img_min(VHDX_ENTRY_PAGES, s->header.log_length / 3 / VHDX_SECTOR - 1);
}

/* ---- Entries -------------------------------------------------------------------------- */

struct page {
    uint64_t number;                /* in the BAT; NOT_OF_BAT: it is at `offset` of the file */
    uint64_t offset;
    uint8_t bytes[VHDX_SECTOR];
};

#define NOT_OF_BAT UINT64_MAX

static uint64_t page_offset(const struct vhdx *s, const struct page *page)
{
    return page->number == NOT_OF_BAT ? page->offset : s->bat_offset + page->number * VHDX_SECTOR;
}

static void put_page(const struct vhdx *s, const struct page *page, uint64_t sequence, uint8_t *descriptor,
                     uint8_t *sector)
{
    memcpy(descriptor, "desc", 4);
    memcpy(descriptor + 4, page->bytes + VHDX_SECTOR - 4, 4);
    memcpy(descriptor + 8, page->bytes, 8);
    img_put_le64(descriptor + 16, page_offset(s, page));
    img_put_le64(descriptor + 24, sequence);

    memcpy(sector, "data", 4);
    img_put_le32(sector + 4, (uint32_t)(sequence >> 32));
    memcpy(sector + 8, page->bytes + 8, VHDX_SECTOR - 12);
    img_put_le32(sector + VHDX_SECTOR - 4, (uint32_t)sequence);
}

/* Write an entry with these pages durably.  The pages refer to nothing behind `end`, to which the file is on disk. */
static int write_entry(struct img *image, const struct page *pages, unsigned count, uint64_t end)
{
    struct vhdx *s = vhdx_state(image);
    uint32_t length = (1 + count) * VHDX_SECTOR;
    CLEANUP_FREE uint8_t *bytes = calloc(1 + count, VHDX_SECTOR);

    if (!bytes)
        return -ENOMEM;
    if (s->log_at + length > s->header.log_length)
        s->log_at = 0;
    memcpy(bytes, "loge", 4);
    img_put_le32(bytes + 8, length);
    img_put_le32(bytes + 12, s->log_at);
    img_put_le64(bytes + 16, ++s->log_sequence);
    img_put_le32(bytes + 24, count);
    memcpy(bytes + 32, s->header.log_id, VHDX_GUID);
    img_put_le64(bytes + 48, end);
    img_put_le64(bytes + 56, end);
    for (unsigned i = 0; i < count; i++)
        put_page(s, &pages[i], s->log_sequence, bytes + VHDX_LOG_HEADER + i * VHDX_DESCRIPTOR,
                 bytes + (1 + i) * VHDX_SECTOR);
    vhdx_seal(bytes, length);
    int ret = img_pwrite(image->file, bytes, s->header.log_offset + s->log_at, length);
    s->log_at += length;
    return ret < 0 ? ret : img_barrier_aside(image);
}

/* ---- From the first change to the last --------------------------------------------------- */

/* Only use a log and a BAT in valid places, so that what we write can be replayed. */
static bool places_good(const struct vhdx *s)
{
    return s->header.log_length >= VHDX_MIB && img_aligned(s->header.log_length, VHDX_MIB) &&
           img_aligned(s->header.log_offset, VHDX_MIB) && img_aligned(s->bat_offset, VHDX_MIB) &&
           img_aligned(s->bat_length, VHDX_MIB) &&
           img_within(s->header.log_offset, s->header.log_length, INT64_MAX) &&
           img_within(s->bat_offset, s->bat_length, INT64_MAX);
}

/* Start a log with an entry of no pages, then refer to it. */
static int start_log(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    int ret;

    img_uuid_make(s->header.log_id);
    s->log_at = 0;
    ret = write_entry(image, NULL, 0, img_size(image->file));
    if (ret < 0)
        return ret;
    img_uuid_make(s->header.file_id);
    img_uuid_make(s->header.data_id);
    ret = vhdx_write_headers(image);
    s->writing = ret == 0;
    return ret;
}

int vhdx_begin(struct img *image)
{
    const struct vhdx *s = vhdx_state(image);
    unsigned left;
    int ret;

    if (s->writing)
        return 0;
    if (!places_good(s))
        return -EINVAL;
    /* Only one may start it. */
    left = img_disarm(image);
    ret = start_log(image);
    img_rearm(image, left);
    return ret;
}

static int commit_pages(struct img *image, const struct page *pages, unsigned count)
{
    struct vhdx *s = vhdx_state(image);
    /* Others may make the file longer during the barrier. */
    uint64_t end = img_size(image->file);
    int ret = img_barrier_aside(image);

    if (ret == 0)
        ret = write_entry(image, pages, count, end);
    for (unsigned i = 0; ret == 0 && i < count; i++) {
        IMG_EVENT(image->file, l2_update);
        ret = img_pwrite(image->file, pages[i].bytes, page_offset(s, &pages[i]), VHDX_SECTOR);
    }
    for (unsigned i = 0; i < count && pages[i].number != NOT_OF_BAT; i++)
        vhdx_bat_left(s, pages[i].number, ret == 0);
    return ret;
}

int vhdx_commit(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    unsigned capacity = entry_capacity(s);
    CLEANUP_FREE struct page *pages = NULL;
    uint64_t number = 0;
    bool more = true;
    int ret = 0;

    while (s->committing)
        img_wait_turn(image);
    if (!s->dirty)
        return 0;
    pages = malloc(capacity * sizeof *pages);
    if (!pages)
        return -ENOMEM;
    s->committing = true;
    s->dirty = false;
    while (ret == 0 && more) {
        unsigned count = 0;
        while (count < capacity && (more = vhdx_bat_next_dirty(s, &number, pages[count].bytes))) {
            vhdx_bat_leaves(s, number);
            pages[count++].number = number++;
        }
        if (count)
            ret = commit_pages(image, pages, count);
    }
    s->committing = false;
    s->dirty |= ret < 0;
    img_table_arrived(image);
    return ret;
}

int vhdx_write_size(struct img *image, uint64_t size)
{
    struct vhdx *s = vhdx_state(image);
    CLEANUP_FREE struct page *page = malloc(sizeof *page);
    size_t inside = s->size_place % VHDX_SECTOR;
    int ret;

    if (!page)
        return -ENOMEM;
    if (inside > VHDX_SECTOR - 8)
        return -ENOTSUP;
    page->number = NOT_OF_BAT;
    page->offset = s->size_place - inside;
    ret = vhdx_read(image, page->bytes, page->offset, VHDX_SECTOR);
    img_put_le64(page->bytes + inside, size);
    if (ret == 0)
        ret = commit_pages(image, page, 1);
    return ret < 0 ? ret : img_barrier(image);
}

int vhdx_end(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    int ret = vhdx_commit(image);

    if (ret < 0 || !s->writing)
        return ret;
    ret = img_barrier(image);
    if (ret < 0)
        return ret;
    memset(s->header.log_id, 0, sizeof s->header.log_id);
    s->writing = false;
    return vhdx_write_headers(image);
}
