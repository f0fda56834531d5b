/* SPDX-License-Identifier: MIT */
/* Check: each chunk of the file has one use, and what is named lies in the file. */
#include "asif.h"
#include <stdlib.h>

enum { PIECE = 64 << 10 };

struct scan {
    struct img *image;
    struct img_check *result;
    uint8_t *used;                  /* for each chunk of the file */
    uint64_t chunks;
    uint64_t end;                   /* the chunk behind the last that is used */
    uint8_t piece[PIECE];
};

/* A chunk of the file is named as `what`, for the chunk of the disk or the table `of`.  False: it cannot be that. */
static bool use(struct scan *scan, uint64_t chunk, const char *what, uint64_t of)
{
    if (chunk == 0 || chunk >= scan->chunks) {
        img_notice(IMG_NOTE, "ERROR %s %llu: chunk %llu is not in the image", what, (unsigned long long)of,
                   (unsigned long long)chunk);
        scan->result->corruptions++;
        return false;
    }
    if (scan->used[chunk]) {
        img_notice(IMG_NOTE, "ERROR %s %llu: chunk %llu is used twice", what, (unsigned long long)of,
                   (unsigned long long)chunk);
        scan->result->corruptions++;
        return false;
    }
    scan->used[chunk] = 1;
    scan->end = img_max(scan->end, chunk + 1);
    return true;
}

/* Does the file end before the bytes that the disk has of the chunk? */
static bool is_cut_off(const struct scan *scan, uint64_t chunk, uint64_t in_file)
{
    const struct img *image = scan->image;
    uint64_t length = asif_state(image)->chunk;

    if (chunk >= scan->result->total_clusters || in_file >= scan->chunks)
        return false;
    return in_file * length + img_min(length, image->size - chunk * length) > img_size(image->file);
}

/* Entry `place` of table `table`. */
static void scan_entry(struct scan *scan, uint64_t table, uint64_t place, uint64_t entry)
{
    const struct asif *s = asif_state(scan->image);
    uint64_t group = place / (s->group_chunks + 1), number = place % (s->group_chunks + 1);
    uint64_t chunk = ((table * s->groups) + group) * s->group_chunks + number;
    bool bitmap = number == s->group_chunks;

    if (!bitmap && asif_entry_state(entry) == ASIF_WHOLE && is_cut_off(scan, chunk, asif_entry_chunk(entry))) {
        img_notice(IMG_NOTE, "ERROR chunk %llu: the end of the image cuts it off", (unsigned long long)chunk);
        scan->result->corruptions++;
    }
    if (!bitmap && (asif_entry_state(entry) == ASIF_NOTHING || asif_entry_state(entry) == ASIF_UNKNOWN)) {
        img_notice(IMG_NOTE, "ERROR chunk %llu: the state %u is not known", (unsigned long long)chunk,
                   asif_entry_state(entry));
        scan->result->corruptions++;
    }
    /* (what lies behind the end of the disk is no cluster of it) */
    if (use(scan, asif_entry_chunk(entry), bitmap ? "bitmap before chunk" : "chunk", chunk) && !bitmap &&
        chunk < scan->result->total_clusters)
        scan->result->allocated_clusters++;
}

static int scan_table(struct scan *scan, uint64_t table, uint64_t place)
{
    const struct asif *s = asif_state(scan->image);
    uint64_t end = s->groups * s->group_bytes;

    for (uint64_t at = 0, length; at < end; at += length) {
        uint8_t *entries;
        int ret = img_pages_entry(s->pages, place, at, &entries);
        if (ret < 0)
            return ret;
        length = img_pages_zeroes(s->pages, place, at, end - at);
        if (length >= PIECE || length == end - at)
            continue;
        length = img_min(PIECE, end - at);
        if ((ret = img_pread_padded(scan->image->file, scan->piece, place + at, (size_t)length)) < 0)
            return ret;
        for (size_t i = 0; i < length; i += ASIF_ENTRY) {
            uint64_t entry = img_get_be64(scan->piece + i);
            if (entry)
                scan_entry(scan, table, (at + i) / ASIF_ENTRY, entry);
        }
    }
    return 0;
}

/* The entries of zero in the directory from `table` on, as far as they are found in one step. */
static uint64_t empty_tables(struct scan *scan, uint64_t table)
{
    const struct asif *s = asif_state(scan->image);
    uint64_t zeroes = img_pages_zeroes(s->pages, s->directory, ASIF_ENTRY * (table + 1),
                                       ASIF_ENTRY * (s->tables - table));

    return zeroes >= ASIF_ENTRY ? zeroes / ASIF_ENTRY : 1;
}

static int scan_tables(struct scan *scan)
{
    uint64_t step;

    for (uint64_t table = 0; table < asif_state(scan->image)->tables; table += step) {
        uint64_t entry, place;
        int ret = asif_directory_entry(scan->image, table, &entry);
        step = ret == 0 && entry == 0 ? empty_tables(scan, table) : 1;
        /* One that is used twice is looked at once, so the work is bounded by the file. */
        if (ret == 0 && entry && use(scan, entry, "table", table) && asif_place(scan->image, entry, &place) == 0)
            ret = scan_table(scan, table, place);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* The header and the directories lie before the first chunk that is anything else. */
static void count_leaks(struct scan *scan)
{
    const struct asif *s = asif_state(scan->image);
    uint64_t first = img_div_up(s->directories_end, s->chunk);

    for (uint64_t chunk = first, end; chunk < scan->chunks; chunk = end + 1) {
        for (end = chunk; end < scan->chunks && !scan->used[end]; end++) { }
        if (end == chunk)
            continue;
        img_notice(IMG_NOTE, "Leaked chunks %llu to %llu", (unsigned long long)chunk, (unsigned long long)end - 1);
        scan->result->leaks += end - chunk;
    }
}

int asif_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    const struct asif *s = asif_state(image);
    CLEANUP_FREE struct scan *scan = calloc(1, sizeof *scan);
    CLEANUP_FREE uint8_t *used = NULL;

    if (repair)
        return img_error_set(err, ENOTSUP, "Repairing an ASIF image is not supported");
    if (!scan)
        return img_error_memory(err);
    scan->chunks = img_div_up(img_size(image->file), s->chunk);
    scan->used = used = calloc(scan->chunks ? scan->chunks : 1, 1);
    if (!used)
        return img_error_memory(err);
    scan->image = image;
    scan->result = result;
    scan->end = 1;
    result->has_clusters = true;
    result->total_clusters = img_div_up(image->size, s->chunk);
    int ret = scan_tables(scan);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read the tables of the ASIF image");
    count_leaks(scan);
    result->image_end_offset = scan->end * s->chunk;
    return 0;
}
