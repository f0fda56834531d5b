/* SPDX-License-Identifier: MIT */
/*
 * A stream that is read as it comes: the marker in front of each grain says what it is, so no table is needed.
 * Specification: "Stream-Optimized Compressed Sparse Extents" (markers).
 *
 * The grains must be in the order of the disk.  A stream ends with its end marker.  Where the tables are in front, as
 * qemu-img writes them, there is none, and zeroes may lie between the grains; but the tables say how many there are.
 */
#include "vmdk.h"

/* The largest grain (in sectors) of which the storage can hold several at a time. */
enum { KNOWN = 32768, MARKER = 16, MOST_SECTORS = 2048 };

struct grain {
    uint64_t index, host, length;
};

struct vmdk_forward {
    uint64_t at;                        /* of the next marker */
    uint64_t left;                      /* grains to come; UINT64_MAX: until the end marker */
    uint64_t count;                     /* grains that came */
    bool closing;                       /* the directory or the footer came: no more grains do */
    bool ended, broken;
    struct grain known[KNOWN];          /* the last of them, a ring */
};

static const struct grain *known(const struct vmdk_forward *forward, uint64_t number)
{
    return &forward->known[number % KNOWN];
}

/* ---- Opening ---------------------------------------------------------------------------- */

/* A grain that a table calls zero has no marker. */
bool vmdk_goes_forward(const struct img *file, const struct vmdk_header *header)
{
    return file->limits.forward && header->compression == VMDK_DEFLATE && header->flags & VMDK_MARKERS &&
           !(header->flags & VMDK_ZEROED_GRAIN) && header->overhead && header->grain <= MOST_SECTORS;
}

static int count_grains(struct img *image, struct vmdk_extent *extent, uint64_t *count)
{
    uint64_t grains = img_div_up(extent->end - extent->start, extent->grain);

    *count = 0;
    for (uint64_t index = 0; index < grains; ) {
        enum img_extent_kind kind;
        uint64_t host, table, empty = 0;
        int ret = vmdk_find_grain(image, extent, index, &kind, &host);

        if (ret == 0 && kind == IMG_HOLE)
            ret = vmdk_find_table(image, extent, index, &table);
        if (ret == IMG_LOOK_AGAIN)
            continue;
        if (ret < 0)
            return ret;
        *count += kind == IMG_CODED;
        if (kind == IMG_HOLE)
            empty = vmdk_count_empty(image, extent, table, index);
        if (empty && !table)
            index -= index % extent->table_entries;
        index += empty ? empty : 1;
    }
    return 0;
}

int vmdk_open_forward(struct img *image, const struct vmdk_header *header, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent *extent = &s->extents.at[0];
    struct vmdk_forward *forward = calloc(1, sizeof *forward);
    int ret = 0;

    if (!forward)
        return img_error_memory(err);
    forward->left = UINT64_MAX;
    if (!img_mul(header->overhead, VMDK_SECTOR, &forward->at) || forward->at > INT64_MAX)
        ret = img_error_set(err, EINVAL, "Invalid place of the first grain");
    else if (!extent->at_end && (ret = count_grains(image, extent, &forward->left)) < 0)
        img_error_errno(err, -ret, "Could not read the grain tables");
    if (ret < 0) {
        free(forward);
        return ret;
    }
    forward->ended = forward->left == 0;
    s->forward = forward;
    image->maps_forward = true;
    return 0;
}

/* ---- Markers ------------------------------------------------------------------------------ */

static int refuse(const struct img *image, struct vmdk_forward *forward, const char *why)
{
    if (!forward->broken)
        img_notice(IMG_FAULT, "'%s': %s (at byte %llu)", img_filename(image), why, (unsigned long long)forward->at);
    forward->broken = true;
    return -EIO;
}

static int add_grain(const struct img *image, struct vmdk_forward *forward, const struct vmdk_extent *extent,
                     uint64_t sector, uint32_t length)
{
    uint64_t unit = extent->grain / VMDK_SECTOR, index = sector / unit;

    if (length > 2 * extent->grain || sector % unit || sector >= (extent->end - extent->start) / VMDK_SECTOR)
        return refuse(image, forward, "Invalid grain marker");
    if (forward->count && index <= known(forward, forward->count - 1)->index)
        return refuse(image, forward, "The grains are not in the order of the disk; save the image to a file first");
    forward->known[forward->count++ % KNOWN] =
        (struct grain){ .index = index, .host = forward->at, .length = VMDK_GRAIN_MARKER + length };
    forward->at += img_align_up(VMDK_GRAIN_MARKER + (uint64_t)length, VMDK_SECTOR);
    if (forward->left != UINT64_MAX)
        forward->ended = --forward->left == 0;
    return 0;
}

static int skip_metadata(const struct img *image, struct vmdk_forward *forward, uint64_t sectors, uint32_t type)
{
    uint64_t length;

    forward->closing |= type == VMDK_MARKER_DIRECTORY || type == VMDK_MARKER_FOOTER;
    if (type == VMDK_MARKER_END && sectors == 0) {
        /* Zeroes look like an end marker, and may be what a download has not yet filled. */
        if (forward->left == UINT64_MAX && !forward->closing)
            return refuse(image, forward, "The stream ends before its directory");
        forward->ended = forward->left == UINT64_MAX;
        forward->at += VMDK_SECTOR;
        return 0;
    }
    if (!img_mul(sectors, VMDK_SECTOR, &length) || length > (uint64_t)VMDK_MAX_TABLES * 4)
        return refuse(image, forward, "Invalid marker");
    forward->at += VMDK_SECTOR + length;
    return 0;
}

static int next_marker(struct img *image, struct vmdk_forward *forward, const struct vmdk_extent *extent)
{
    uint8_t marker[MARKER];
    int ret = forward->broken ? -EIO : vmdk_read(extent->file, marker, forward->at, sizeof marker);

    if (ret < 0)
        return ret;
    if (img_get_le32(marker + 8))
        return add_grain(image, forward, extent, img_get_le64(marker), img_get_le32(marker + 8));
    return skip_metadata(image, forward, img_get_le64(marker), img_get_le32(marker + 12));
}

/* ---- The map -------------------------------------------------------------------------------- */

/* The first grain that came and is not before `index`; NULL: none. */
static const struct grain *find(const struct vmdk_forward *forward, uint64_t index)
{
    uint64_t low = forward->count > KNOWN ? forward->count - KNOWN : 0, high = forward->count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (known(forward, middle)->index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < forward->count ? known(forward, low) : NULL;
}

int vmdk_map_forward(struct img *image, const struct vmdk_extent *extent, uint64_t end, struct img_extent *run)
{
    struct vmdk_forward *forward = vmdk_state(image)->forward;
    uint64_t index = run->offset / extent->grain;
    const struct grain *grain = NULL;

    /* A grain that is no longer known could be here. */
    if (forward->count > KNOWN && index < known(forward, forward->count - KNOWN)->index)
        return -ESPIPE;
    while (!(grain = find(forward, index)) && !forward->ended) {
        int ret = next_marker(image, forward, extent);
        if (ret < 0)
            return ret;
    }
    if (!grain || grain->index > index) {
        run->length = (grain ? img_min(end, grain->index * extent->grain) : end) - run->offset;
        return 0;
    }
    run->kind = IMG_CODED;
    run->host_valid = true;
    run->file = extent->file;
    run->host = grain->host;
    run->host_length = grain->length;
    run->length = img_min(end, (index + 1) * extent->grain) - run->offset;
    return 0;
}
