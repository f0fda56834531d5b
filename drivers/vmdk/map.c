/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges to the files of extents, and decodes compressed grains.
 * Specification: "Hosted Sparse Extents" (grain tables, zeroed-grain entries), "Stream-Optimized Compressed" (grain
 * markers), "Simple Extents".
 */
#include "vmdk.h"
#include <inttypes.h>
#include <string.h>

/* The caller may need only the beginning of an answer. */
enum { MAX_LOOKED_AT = 65536 };

int vmdk_entry_means(const struct vmdk_extent *extent, uint64_t entry, enum img_extent_kind *kind, uint64_t *host)
{
    if (extent->kind == VMDK_SESPARSE)
        return vmdk_sesparse_grain(extent, entry, kind, host);
    *host = entry * VMDK_SECTOR;
    if (entry == 0)
        *kind = IMG_HOLE;
    else if (entry == VMDK_ZEROED_ENTRY && extent->zeroed)
        *kind = IMG_ZERO;
    else
        *kind = extent->compressed ? IMG_CODED : IMG_DATA;
    return 0;
}

int vmdk_find_grain(struct img *image, struct vmdk_extent *extent, uint64_t index, enum img_extent_kind *kind,
                    uint64_t *host)
{
    struct vmdk *s = vmdk_state(image);
    uint64_t entry;
    int ret;

    *kind = IMG_HOLE;
    *host = 0;
    if (s->stream) {
        ret = vmdk_stream_find(s->stream, index * VMDK_GRAIN, &entry);
        return ret < 0 ? ret : vmdk_entry_means(extent, entry / VMDK_SECTOR, kind, host);
    }
    ret = vmdk_get_entry(image, extent, index, &entry);
    return ret < 0 ? ret : vmdk_entry_means(extent, entry, kind, host);
}

/* ---- Coded grains --------------------------------------------------------------------------- */

/* The length in the marker before the grain; only the marker if it is invalid.  Without a marker it is unknown. */
static int coded_length(struct img *image, const struct vmdk_extent *extent, uint64_t host, uint64_t *length)
{
    uint8_t marker[VMDK_GRAIN_MARKER];
    uint64_t most = 2 * extent->grain;
    int ret;

    *length = most;
    if (!extent->markers)
        return 0;
    /* This is the last read for an answer, so the lock is no longer needed. */
    ret = img_within(host, sizeof marker, INT64_MAX) ? img_read_aside(image, extent->file, marker, host, sizeof marker)
                                                     : -EIO;
    *length = sizeof marker;
    if (ret == 0 && img_get_le32(marker + 8) <= most)
        *length += img_get_le32(marker + 8);
    return ret;
}

int vmdk_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length)
{
    const struct vmdk *s = vmdk_state(image);
    const uint8_t *bytes = coded;
    uint64_t offset = 0;

    if (s->markers) {
        if (coded_length <= VMDK_GRAIN_MARKER || img_get_le32(bytes + 8) > coded_length - VMDK_GRAIN_MARKER)
            return -EINVAL;
        coded_length = img_get_le32(bytes + 8);
        bytes += VMDK_GRAIN_MARKER;
        if (!img_mul(img_get_le64(coded), VMDK_SECTOR, &offset))
            offset = 0;
    }
    int ret = img_decode_exact(IMG_CODEC_ZLIB, bytes, coded_length, plain, length);

    if (ret == 0 || img_lacks_codec(ret))
        return ret;
    /* The last grain may be cut at the end of the disk. */
    if (offset >= image->size || image->size - offset >= length)
        return -EINVAL;
    memset(plain, 0, length);
    return img_decode_exact(IMG_CODEC_ZLIB, bytes, coded_length, plain, image->size - offset) < 0 ? -EINVAL : 0;
}

/* ---- Sparse extents ----------------------------------------------------------------------------- */

static bool continues(const struct img_extent *run, enum img_extent_kind kind, uint64_t host)
{
    if (kind != run->kind || kind == IMG_CODED)
        return false;
    return kind != IMG_DATA || host == run->host + run->length;
}

/* Where the next entry to look at is, behind a grain that has nothing: what has nothing either goes in one step. */
static int skip_empty(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t *next)
{
    uint64_t table, count;
    int ret = vmdk_find_table(image, extent, index, &table);

    if (ret < 0)
        return ret;
    count = vmdk_count_empty(image, extent, table, index);
    if (count)
        *next = (table ? index : index - index % extent->table_entries) + count;
    return 0;
}

static int map_sparse(struct img *image, struct vmdk_extent *extent, uint64_t end, struct img_extent *run)
{
    uint64_t index = (run->offset - extent->start) / extent->grain, at = run->offset;
    int ret = 0;

    for (unsigned looked_at = 0; at < end && looked_at < MAX_LOOKED_AT; ) {
        enum img_extent_kind kind;
        uint64_t host, next = index + 1, inside = (at - extent->start) % extent->grain;

        ret = vmdk_find_grain(image, extent, index, &kind, &host);
        if (ret == 0 && kind == IMG_HOLE && !vmdk_state(image)->stream)
            ret = skip_empty(image, extent, index, &next);
        if (ret == IMG_LOOK_AGAIN)
            continue;
        if (ret < 0)
            break;
        looked_at++;
        if (kind != IMG_CODED)
            host += inside;
        if (run->length == 0) {
            run->kind = kind;
            run->host = host;
        } else if (!continues(run, kind, host)) {
            break;
        }
        index = next;
        at = img_min(end, extent->start + index * extent->grain);
        run->length = at - run->offset;
        if (kind == IMG_CODED) {
            ret = coded_length(image, extent, host, &run->host_length);
            break;
        }
    }
    /* An error ends the run before it, if there is one. */
    if (ret < 0 && run->length == 0)
        return ret;
    run->host_valid = run->kind == IMG_DATA || run->kind == IMG_CODED;
    run->file = run->host_valid ? extent->file : NULL;
    return 0;
}

static int refuse_access(struct img *image, const struct vmdk_extent *extent)
{
    struct vmdk *s = vmdk_state(image);

    if (!s->told)
        img_notice(IMG_FAULT, "The extent at byte %" PRIu64 " of '%s' may not be accessed (NOACCESS)", extent->start,
                   img_filename(image));
    s->told = true;
    return -EACCES;
}

/* ---- Truncated files ---------------------------------------------------------------------------- */

/* A flat file may end inside its last sector. */
bool vmdk_flat_is_there(struct img *image, const struct vmdk_extent *extent)
{
    uint64_t length = extent->end - extent->start;

    return img_within(extent->host, length, img_align_up(img_length(extent->file, true), VMDK_SECTOR)) ||
           img_has_bytes(image, extent->file, extent->host, length);
}

bool vmdk_table_is_there(struct img *image, const struct vmdk_extent *extent, uint64_t table, uint64_t grains)
{
    return img_has_bytes(image, extent->file, table, img_min(extent->table_entries, grains) * extent->entry_size);
}

bool vmdk_directory_is_there(struct img *image, const struct vmdk_extent *extent)
{
    uint64_t grains = img_div_up(extent->end - extent->start, extent->grain);
    uint64_t tables = img_min(extent->tables, img_div_up(grains, extent->table_entries));

    return img_has_bytes(image, extent->file, extent->directory, tables * extent->entry_size);
}

int vmdk_grain_length(struct img *image, const struct vmdk_extent *extent, uint64_t index, enum img_extent_kind kind,
                      uint64_t host, uint64_t *length)
{
    *length = img_min(extent->grain, extent->end - extent->start - index * extent->grain);
    if (kind != IMG_CODED)
        return 0;
    *length = 1;
    return extent->markers ? coded_length(image, extent, host, length) : 0;
}

static int look_at_tables(struct img *image, struct vmdk_extent *extent)
{
    uint64_t grains = img_div_up(extent->end - extent->start, extent->grain), index = 0, table;

    if (!vmdk_directory_is_there(image, extent))
        return -IMG_ETRUNCATED;
    while (index < img_min(grains, vmdk_known_grains(extent))) {
        int ret = vmdk_find_table(image, extent, index, &table);
        uint64_t empty = ret == 0 && !table ? vmdk_count_empty(image, extent, 0, index) : 0;

        if (ret < 0)
            return ret;
        if (table)
            vmdk_table_is_there(image, extent, table, grains - index);
        index += img_max(empty, extent->table_entries);
    }
    return 0;
}

int vmdk_look_for_missing(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    int ret = 0;

    for (size_t i = 0; i < s->extents.count && ret == 0; i++) {
        struct vmdk_extent *extent = &s->extents.at[i];

        if (extent->grain)
            ret = look_at_tables(image, extent);
        else if (extent->kind == VMDK_FLAT)
            vmdk_flat_is_there(image, extent);
    }
    return ret;
}

int vmdk_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct vmdk_extent *from = vmdk_extent_at(image, offset);
    uint64_t end = img_min(offset + length, from->end);

    vmdk_check_parent(image);
    *extent = (struct img_extent){ .offset = offset };
    switch (from->kind) {
    case VMDK_SPARSE:
    case VMDK_SESPARSE:
        if (vmdk_state(image)->forward)
            return vmdk_map_forward(image, from, end, extent);
        return map_sparse(image, from, end, extent);
    case VMDK_ZERO:
        extent->kind = IMG_ZERO;
        break;
    case VMDK_NO_ACCESS:
        return refuse_access(image, from);
    case VMDK_FLAT:
        extent->kind = IMG_DATA;
        extent->host_valid = extent->recurse = extent->raw = true;
        extent->file = from->file;
        extent->host = from->host + (offset - from->start);
        break;
    }
    extent->length = end - offset;
    return 0;
}
