/* SPDX-License-Identifier: MIT */
/*
 * Writes compressed grains.  An image without grains becomes a stream: header, descriptor, grains with their tables,
 * and on close the directory and the footer; before that it cannot be opened.  An image that has grains already gets
 * new ones at the end, which are linked in at once.
 * Specification: "Stream-Optimized Compressed".
 */
#include "vmdk.h"
#include <string.h>

enum { TAG_EXTENT, TAG_INDEX, TAG_HOST, TAG_LENGTH };
/* A libdeflate level at which grains are no larger than qemu-img's. */
enum { CODING_LEVEL = 5 };

int64_t vmdk_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity)
{
    static const struct img_codec_how how = { .level = CODING_LEVEL };

    /* Grains of the other subformats are never compressed, not even with -c. */
    if (!image->coded_only)
        return -ENOSPC;
    return img_encode_as(IMG_CODEC_ZLIB, &how, plain, length, coded, capacity);
}

/* ---- A stream in a file ----------------------------------------------------------------------- */

static int write_file(void *context, const void *bytes, uint64_t offset, size_t length)
{
    return img_pwrite(context, bytes, offset, length);
}

static int read_file(void *context, void *bytes, uint64_t offset, size_t length)
{
    return vmdk_read(context, bytes, offset, length);
}

/* Is the image as create leaves it: no grains, one extent, the usual grain size, and space for the text? */
static int can_restart(struct img *image, bool *can)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent *extent = &s->extents.at[0];
    uint64_t grains = img_min(img_div_up(image->size, extent->grain), vmdk_known_grains(extent));
    uint64_t index = 0, table;
    int ret = 0;

    *can = s->embedded && extent->compressed && extent->markers && extent->grain == VMDK_GRAIN && !s->stream &&
           s->descriptor_room == VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR &&
           extent->table_entries == VMDK_GT_ENTRIES;
    while (*can && index < grains && ret == 0) {
        enum img_extent_kind kind = IMG_HOLE;
        uint64_t host;

        ret = vmdk_find_table(image, extent, index, &table);
        if (ret == 0 && table == 0) {
            index += extent->table_entries;
            continue;
        }
        if (ret == 0)
            ret = vmdk_find_grain(image, extent, index++, &kind, &host);
        *can = kind == IMG_HOLE;
    }
    return ret;
}

/* From here on the file is a stream without an end. */
static int restart(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    CLEANUP_FREE char *text = NULL, *changed = NULL;
    struct img_error err = IMG_ERROR_INIT;
    struct vmdk_stream *stream;
    uint32_t cid = s->renewed ? s->cid : vmdk_new_id();
    int ret = vmdk_read_text(image->file, s->descriptor_at, s->descriptor_room, &text, NULL);

    if (ret < 0)
        return ret;
    ret = vmdk_text_with_id(text, cid, &changed);
    stream = ret == 0 ? img_calloc(1, sizeof *stream) : NULL;
    if (!stream)
        return -ENOMEM;
    stream->write = write_file;
    stream->read = read_file;
    stream->context = image->file;
    ret = vmdk_stream_init(stream, image->size);
    if (ret == 0)
        ret = img_resize_file(image->file, stream->header.overhead * VMDK_SECTOR, NULL, &err);
    img_error_clear(&err);
    if (ret == 0)
        ret = vmdk_stream_begin(stream, changed ? changed : text);
    if (ret < 0) {
        vmdk_stream_free(stream);
        free(stream);
        return ret;
    }
    img_pages_forget(s->pages);
    s->stream = stream;
    s->cid = cid;
    s->renewed = true;
    return 0;
}

int vmdk_finish_stream(struct img *image)
{
    struct vmdk *s = vmdk_state(image);
    bool fresh = false;
    int ret = 0;

    /* A disk of zeroes becomes a stream without grains. */
    if (!s->stream && !s->renewed && image->coded_only && image->flags & IMG_RDWR)
        ret = can_restart(image, &fresh);
    if (ret == 0 && fresh)
        ret = restart(image);
    return ret == 0 && s->stream && !s->failed ? vmdk_stream_end(s->stream) : ret;
}

/* ---- Appending grains ---------------------------------------------------------------------------- */

/*
 * A stream that gets more grains no longer has its footer at the end: first store the directory's place in the
 * header.
 */
static int settle_header(struct vmdk_extent *extent)
{
    uint8_t sector[VMDK_SECTOR];
    struct vmdk_header header;
    int ret;

    if (!extent->at_end)
        return 0;
    ret = vmdk_read(extent->file, sector, 0, sizeof sector);
    if (ret == 0 && !vmdk_get_header(sector, &header))
        ret = -EIO;
    if (ret < 0)
        return ret;
    header.directory = extent->directory / VMDK_SECTOR;
    vmdk_put_header(sector, &header);
    ret = img_pwrite(extent->file, sector, 0, sizeof sector);
    if (ret == 0)
        ret = img_flush(extent->file);
    extent->at_end = ret < 0;
    return ret;
}

static int reserve_behind(struct img *image, struct vmdk_extent *extent, uint64_t index, size_t coded_length,
                          uint64_t *host)
{
    enum img_extent_kind kind;
    uint64_t table, again, place = img_align_up(extent->next, VMDK_SECTOR);
    uint64_t end = img_align_up(place + VMDK_GRAIN_MARKER + coded_length, VMDK_SECTOR);
    int ret = vmdk_find_grain(image, extent, index, &kind, host);

    if (ret == 0 && kind != IMG_HOLE) {
        img_notice(IMG_FAULT, "Could not write to allocated cluster for streamOptimized");
        return -EIO;
    }
    if (ret == 0)
        ret = vmdk_renew_id(image);
    if (ret == 0)
        ret = settle_header(extent);
    if (ret == 0)
        ret = vmdk_need_tables(image, extent, index, &table, &again);
    if (ret < 0)
        return ret;
    if (end / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    extent->next = end;
    *host = place;
    return 0;
}

static int reserve_in_stream(struct vmdk *s, uint64_t offset, size_t coded_length, uint64_t *host)
{
    int ret = vmdk_stream_find(s->stream, offset, host);

    if (ret == 0 && *host) {
        img_notice(IMG_FAULT, "Could not write to allocated cluster for streamOptimized");
        return -EIO;
    }
    return ret < 0 ? ret : vmdk_stream_place(s->stream, offset, (uint32_t)coded_length, host);
}

/* ---- Both ------------------------------------------------------------------------------------------ */

int vmdk_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent *extent = vmdk_extent_at(image, offset);
    uint64_t index = (offset - extent->start) / extent->grain, host;
    bool fresh = false;
    int ret;

    if (!extent->compressed)
        return -ENOTSUP;
    if (!s->renewed && !s->stream && (ret = can_restart(image, &fresh)) < 0)
        return ret;
    if (fresh && (ret = restart(image)) < 0)
        return ret;
    ret = s->stream ? reserve_in_stream(s, offset, coded_length, &host)
                    : reserve_behind(image, extent, index, coded_length, &host);
    if (ret < 0)
        return ret;
    *to = (struct img_reservation){ .offset = offset, .length = coded_length, .file = extent->file, .coded = true };
    to->host = host + (extent->markers ? VMDK_GRAIN_MARKER : 0);
    to->tag[TAG_EXTENT] = (uint64_t)(extent - s->extents.at);
    to->tag[TAG_INDEX] = index;
    to->tag[TAG_HOST] = host;
    to->tag[TAG_LENGTH] = coded_length;
    return 0;
}

/* Write the marker before the grain, and zeroes to the end of its last sector; in a stream more always follows. */
static int write_frame(const struct vmdk_extent *extent, const struct img_reservation *at, bool in_stream)
{
    uint8_t marker[VMDK_GRAIN_MARKER];
    uint64_t end = at->host + at->tag[TAG_LENGTH], padding = img_align_up(end, VMDK_SECTOR) - end;
    int ret = 0;

    vmdk_put_grain_marker(marker, at->offset / VMDK_SECTOR, (uint32_t)at->tag[TAG_LENGTH]);
    if (extent->markers)
        ret = img_pwrite(extent->file, marker, at->tag[TAG_HOST], sizeof marker);
    /* Beyond the end of the file there are zeroes already. */
    if (ret == 0 && !in_stream)
        ret = img_lengthen_file(extent->file, end + padding);
    return ret;
}

int vmdk_publish_coded(struct img *image, struct img_reservation *at)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent *extent = &s->extents.at[at->tag[TAG_EXTENT]];
    int ret = write_frame(extent, at, s->stream != NULL);

    if (ret < 0)
        vmdk_cancel_coded(image, at);
    if (ret < 0 || s->stream)
        return ret;
    extent->data.made++;
    return vmdk_put_entry(image, extent, at->tag[TAG_INDEX], (uint32_t)(at->tag[TAG_HOST] / VMDK_SECTOR));
}

void vmdk_cancel_coded(struct img *image, struct img_reservation *at)
{
    struct vmdk *s = vmdk_state(image);

    if (s->stream) {
        vmdk_stream_drop(s->stream, at->offset);
        s->failed = true;
    }
}
