/* SPDX-License-Identifier: MIT */
/*
 * Writes streamOptimized from front to back: header, descriptor, grains, each table after its grains, directory,
 * footer, end marker.  Nothing is read back, and nothing refers to a grain before the footer is written.
 * Specification: "Stream-Optimized Compressed"; importers of OVF files expect this order.
 */
#include "vmdk.h"
#include <string.h>

enum { TABLE_BYTES = VMDK_GT_ENTRIES * 4, STREAM_VERSION = 3 };
#define NO_TABLE UINT64_MAX
/* Entries of tables and of the directory have 32 bits. */
#define MAX_SECTORS ((uint64_t)UINT32_MAX)

int vmdk_stream_init(struct vmdk_stream *stream, uint64_t size)
{
    uint64_t sectors = img_div_up(size, VMDK_SECTOR);

    stream->header = (struct vmdk_header){
        .version = STREAM_VERSION, .flags = VMDK_NEWLINE_TEST | VMDK_COMPRESSED | VMDK_MARKERS,
        .capacity = sectors, .grain = VMDK_GRAIN_SECTORS,
        .descriptor = VMDK_DESCRIPTOR_SECTOR, .descriptor_sectors = VMDK_DESCRIPTOR_SECTORS,
        .table_entries = VMDK_GT_ENTRIES, .directory = VMDK_GD_AT_END,
        .overhead = VMDK_GRAIN_SECTORS, .compression = VMDK_DEFLATE,
    };
    stream->next = stream->header.overhead;
    stream->tables = img_div_up(sectors, VMDK_GRAIN_SECTORS * VMDK_GT_ENTRIES);
    stream->current = NO_TABLE;
    stream->changed = false;
    stream->directory = calloc(stream->tables + 1, sizeof *stream->directory);
    return stream->directory ? 0 : -ENOMEM;
}

void vmdk_stream_free(struct vmdk_stream *stream)
{
    free(stream->directory);
    stream->directory = NULL;
}

int vmdk_stream_begin(struct vmdk_stream *stream, const char *descriptor)
{
    size_t length = strlen(descriptor), room = stream->header.overhead * VMDK_SECTOR;
    CLEANUP_FREE uint8_t *head = calloc(1, room);

    if (!head)
        return -ENOMEM;
    if (length > VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR)
        return -EFBIG;
    vmdk_put_header(head, &stream->header);
    memcpy(head + VMDK_DESCRIPTOR_SECTOR * VMDK_SECTOR, descriptor, length);
    return stream->write(stream->context, head, 0, room);
}

static int take_sectors(struct vmdk_stream *stream, uint64_t count, uint64_t *first)
{
    if (count > MAX_SECTORS - stream->next)
        return -EFBIG;
    *first = stream->next;
    stream->next += count;
    return 0;
}

/* Write metadata after their marker, padded to whole sectors. */
static int put_marked(struct vmdk_stream *stream, enum vmdk_marker type, const uint32_t *entries, uint64_t count,
                      uint64_t at)
{
    uint64_t sectors = img_div_up(count * 4, VMDK_SECTOR);
    CLEANUP_FREE uint8_t *bytes = calloc(sectors + 1, VMDK_SECTOR);

    if (!bytes)
        return -ENOMEM;
    vmdk_put_marker(bytes, type, sectors);
    for (uint64_t i = 0; i < count; i++)
        img_put_le32(bytes + VMDK_SECTOR + i * 4, entries[i]);
    return stream->write(stream->context, bytes, at * VMDK_SECTOR, (sectors + 1) * VMDK_SECTOR);
}

static int write_table(struct vmdk_stream *stream)
{
    uint64_t at = 0;

    if (!stream->changed)
        return 0;
    if (stream->directory[stream->current]) {
        at = stream->directory[stream->current] - 1;
    } else {
        int ret = take_sectors(stream, 1 + VMDK_GT_SECTORS, &at);
        if (ret < 0)
            return ret;
        stream->directory[stream->current] = (uint32_t)(at + 1);
    }
    stream->changed = false;
    return put_marked(stream, VMDK_MARKER_TABLE, stream->table, VMDK_GT_ENTRIES, at);
}

/* Make `index` the current table. */
static int turn_to(struct vmdk_stream *stream, uint64_t index)
{
    uint8_t bytes[TABLE_BYTES] = { 0 };
    int ret;

    if (index == stream->current)
        return 0;
    if (index >= stream->tables)
        return -EINVAL;
    ret = write_table(stream);
    if (ret == 0 && stream->directory[index])
        ret = stream->read ? stream->read(stream->context, bytes, (uint64_t)stream->directory[index] * VMDK_SECTOR,
                                          sizeof bytes) : -EINVAL;
    if (ret < 0)
        return ret;
    for (unsigned i = 0; i < VMDK_GT_ENTRIES; i++)
        stream->table[i] = img_get_le32(bytes + i * 4);
    stream->current = index;
    return 0;
}

/* The entry for a guest offset; makes its table current. */
static int find_entry(struct vmdk_stream *stream, uint64_t offset, uint32_t **entry)
{
    uint64_t grain = offset / VMDK_GRAIN;
    int ret = turn_to(stream, grain / VMDK_GT_ENTRIES);

    *entry = &stream->table[grain % VMDK_GT_ENTRIES];
    return ret;
}

int vmdk_stream_find(struct vmdk_stream *stream, uint64_t offset, uint64_t *host)
{
    uint32_t *entry;
    int ret = find_entry(stream, offset, &entry);

    if (ret == 0)
        *host = (uint64_t)*entry * VMDK_SECTOR;
    return ret;
}

int vmdk_stream_place(struct vmdk_stream *stream, uint64_t offset, uint32_t length, uint64_t *host)
{
    uint32_t *entry;
    uint64_t at = 0;
    int ret = find_entry(stream, offset, &entry);

    if (ret == 0)
        ret = take_sectors(stream, img_div_up((uint64_t)length + VMDK_GRAIN_MARKER, VMDK_SECTOR), &at);
    if (ret < 0)
        return ret;
    *entry = (uint32_t)at;
    stream->changed = true;
    *host = at * VMDK_SECTOR;
    return 0;
}

int vmdk_stream_drop(struct vmdk_stream *stream, uint64_t offset)
{
    uint32_t *entry;
    int ret = find_entry(stream, offset, &entry);

    if (ret == 0) {
        *entry = 0;
        stream->changed = true;
    }
    return ret;
}

int vmdk_stream_end(struct vmdk_stream *stream)
{
    uint8_t tail[3 * VMDK_SECTOR];
    struct vmdk_header footer = stream->header;
    uint64_t at = 0;
    int ret = write_table(stream);

    if (ret == 0)
        ret = take_sectors(stream, 1 + img_div_up(stream->tables * 4, VMDK_SECTOR), &at);
    if (ret == 0)
        ret = put_marked(stream, VMDK_MARKER_DIRECTORY, stream->directory, stream->tables, at);
    if (ret < 0)
        return ret;
    footer.directory = at + 1;
    ret = take_sectors(stream, 3, &at);
    if (ret < 0)
        return ret;
    vmdk_put_marker(tail, VMDK_MARKER_FOOTER, 1);
    vmdk_put_header(tail + VMDK_SECTOR, &footer);
    vmdk_put_marker(tail + 2 * VMDK_SECTOR, VMDK_MARKER_END, 0);
    return stream->write(stream->context, tail, at * VMDK_SECTOR, sizeof tail);
}
