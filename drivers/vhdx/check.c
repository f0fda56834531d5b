/* SPDX-License-Identifier: MIT */
/*
 * check.c - checks the BAT: blocks beyond the end of the file, overlapping a region, and (only reported by check)
 * overlapping each other or the headers.
 */
#include "vhdx.h"

enum { STEP = 1 << 20 };

struct scan {
    struct img *image;
    bool all;                       /* continue after an error */
    bool twice;                     /* look for overlapping blocks */
    uint64_t faults;
};

/* Returns true if the scan continues. */
static bool fault(struct scan *scan)
{
    scan->faults++;
    return scan->all;
}

#define TELL_BEYOND(index, which, place, size) \
    img_notice(IMG_FAULT, "VHDX BAT entry %llu " which " offset %llu points after end of file (%lld). Image has " \
               "probably been truncated.", (unsigned long long)(index), (unsigned long long)(place), (long long)(size))

/* `length` of the `room` that the block takes must be in the file. */
static bool judge_place(struct scan *scan, uint64_t index, uint64_t start, uint64_t length, uint64_t room)
{
    const struct vhdx *s = vhdx_state(scan->image);
    struct vhdx_range with;

    if (start > (uint64_t)INT64_MAX - s->block_size) {
        img_notice(IMG_FAULT, "VHDX BAT entry %llu offset overflow.", (unsigned long long)index);
        if (!fault(scan))
            return false;
    }
    if (start >= s->file_end) {
        TELL_BEYOND(index, "start", start, s->file_end);
        if (!fault(scan))
            return false;
    } else if (length > s->file_end - start) {
        TELL_BEYOND(index, "end", start + length - 1, s->file_end);
        if (!fault(scan))
            return false;
    }
    if (vhdx_overlaps(s, start, start + room, &with)) {
        vhdx_tell_overlap(start, start + room, &with);
        return fault(scan);
    }
    return true;
}

/* Each MiB of the file belongs to at most one block. */
static void judge_use(struct scan *scan, uint64_t index, uint64_t start, uint64_t room)
{
    struct vhdx *s = vhdx_state(scan->image);
    uint64_t first = start / VHDX_MIB, end = img_min(first + room / VHDX_MIB, s->used_count);

    if (start < VHDX_MIB) {
        img_notice(IMG_FAULT, "VHDX BAT entry %llu offset %llu lies within the headers.", (unsigned long long)index,
                   (unsigned long long)start);
        scan->faults++;
        return;
    }
    for (uint64_t i = first; i < end; i++) {
        if (s->used && s->used[i / 8] >> i % 8 & 1) {
            img_notice(IMG_FAULT, "VHDX BAT entry %llu offset %llu overlaps with another block.",
                       (unsigned long long)index, (unsigned long long)start);
            scan->faults++;
            break;
        }
    }
    vhdx_space_take(s, start, room);
}

/* A partially present block needs its sectors' bitmap. */
static bool judge_bitmap(struct scan *scan, uint64_t index, uint64_t block)
{
    uint64_t entry;
    int ret = vhdx_bat_get_bitmap(scan->image, block, &entry);

    if (ret == 0 && (entry & VHDX_STATE_MASK) == VHDX_PRESENT)
        return true;
    img_notice(IMG_FAULT, "VHDX BAT entry %llu is partially present, but has no sector bitmap.",
               (unsigned long long)index);
    return fault(scan);
}

/* A sector bitmap block, which is unused without a parent, is checked like the others. */
static bool judge_entry(struct scan *scan, uint64_t index, uint64_t entry)
{
    struct vhdx *s = vhdx_state(scan->image);
    uint64_t start = entry & VHDX_OFFSET_MASK, state = entry & VHDX_STATE_MASK;
    uint64_t ratio = 1ull << s->ratio_bits, chunk = index / (ratio + 1), block = index - chunk;
    bool bitmap = index % (ratio + 1) == ratio, partial = s->differencing && !bitmap && state == VHDX_PARTIAL;
    uint64_t room = bitmap && s->differencing ? VHDX_MIB : s->block_size, length = room;

    if ((state != VHDX_PRESENT && !partial) || (!bitmap && block >= s->blocks))
        return true;
    if (!bitmap && block == s->blocks - 1)
        length = s->disk_size - (block << s->block_bits);       /* the last one may be partial */
    if (!judge_place(scan, index, start, length, room) || (partial && !judge_bitmap(scan, index, block)))
        return false;
    if (scan->twice && (!bitmap || s->differencing))
        judge_use(scan, index, start, room);
    else
        vhdx_space_take(s, start, room);
    return true;
}

static int scan_entries(struct scan *scan)
{
    struct vhdx *s = vhdx_state(scan->image);
    CLEANUP_FREE uint8_t *bytes = malloc(STEP);

    if (!bytes)
        return -ENOMEM;
    for (uint64_t index = 0; index < s->entries;) {
        size_t count = (size_t)img_min(STEP / 8, s->entries - index);
        int ret = vhdx_read(scan->image, bytes, s->bat_offset + index * 8, count * 8);
        if (ret < 0)
            return ret;
        for (size_t i = 0; i < count; i++, index++) {
            uint64_t entry = img_get_le64(bytes + i * 8);
            if (entry && !judge_entry(scan, index, entry))
                return -EINVAL;
        }
    }
    return 0;
}

int vhdx_scan_bat(struct img *image, struct img_error *err)
{
    struct scan scan = { .image = image };
    int ret = scan_entries(&scan);

    return ret < 0 ? vhdx_refuse(image, -ret, err) : 0;
}

int vhdx_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    struct scan scan = { .image = image, .all = true, .twice = true };
    int ret;

    (void)repair;
    if (s->replayed)
        result->corruptions_fixed++;
    s->replayed = false;
    free(s->used);
    s->used = NULL;
    ret = vhdx_space_init(image);
    if (ret == 0)
        ret = scan_entries(&scan);
    result->corruptions = scan.faults;
    return ret < 0 ? img_error_errno(err, -ret, "Could not read the BAT") : 0;
}
