/* SPDX-License-Identifier: MIT */
/*
 * cloop: compressed loop device images of version 2.0, read only.
 * Description: README and manual pages of the Debian package cloop-utils; the numbers are big-endian.
 *
 *     128 bytes   a shell script, which identifies the format
 *     4, 4        bytes per block of the disk; number of blocks
 *     8 each      file offset of the zlib stream of each block, then the end of the last one
 *
 * The table of these offsets stays in the file: it is checked when the image is opened, and each read needs two of its
 * entries.
 */
#include "../../libimg/driver.h"
#include "../../libimg/io/chunk-cache.h"
#include "../../libimg/codec/codec.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"

enum { BLOCK_SIZE = 128, BLOCKS = 132, TABLE = 136, ENTRY = 8, SECTOR = 512 };
enum { MAX_BLOCK = 64 << 20, MAX_CODED = 2 * MAX_BLOCK, MAX_TABLE = 512 << 20, TABLE_PIECE = 64 << 10 };

struct cloop {
    uint32_t block_size, blocks;
    struct img_chunk_cache *cache;
};

/* ---- Opening -------------------------------------------------------------------------- */

static int check_header(const struct cloop *s, struct img_error *err)
{
    if (s->block_size == 0)
        return img_error_set(err, EINVAL, "block_size cannot be zero");
    if (s->block_size % SECTOR)
        return img_error_set(err, EINVAL, "block_size %u must be a multiple of 512", s->block_size);
    if (s->block_size > MAX_BLOCK)
        return img_error_set(err, EINVAL, "block_size %u must be %u MB or less", s->block_size, MAX_BLOCK >> 20);
    if (s->blocks > UINT32_MAX / ENTRY)
        return img_error_set(err, EINVAL, "n_blocks %u must be %u or less", s->blocks,
                             (unsigned)(UINT32_MAX / ENTRY));
    if ((s->blocks + 1ull) * ENTRY > MAX_TABLE)
        return img_error_set(err, EINVAL, "image requires too many offsets, try increasing block size");
    return 0;
}

/* Check a table of entries that starts with entry `first`: blocks have no negative length and are not too long. */
static int check_entries(const uint8_t *table, size_t count, uint32_t first, uint64_t *before, struct img_error *err)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t at = img_get_be64(table + i * ENTRY);
        uint32_t index = first + (uint32_t)i;
        if (index > 0 && at < *before)
            return img_error_set(err, EINVAL, "offsets not monotonically increasing at index %u, image file is corrupt",
                                 index);
        if (index > 0 && at - *before > MAX_CODED)
            return img_error_set(err, EINVAL, "invalid compressed block size at index %u, image file is corrupt",
                                 index);
        *before = at;
    }
    return 0;
}

static int check_table(struct img *image, struct img_error *err)
{
    const struct cloop *s = image->state;
    CLEANUP_FREE uint8_t *table = malloc(TABLE_PIECE);
    uint64_t at = 0, end = (s->blocks + 1ull) * ENTRY, before = 0;
    /* Beyond the end of the file all entries are equal. */
    uint64_t stored = img_size(image->file) > TABLE ? img_align_up(img_size(image->file) - TABLE, TABLE_PIECE) : 0;

    if (!table)
        return -ENOMEM;
    end = img_min(end, stored + ENTRY);
    while (at < end) {
        size_t part = (size_t)img_min(TABLE_PIECE, end - at);
        int ret = img_pread(image->file, table, TABLE + at, part);
        if (ret == 0)
            ret = check_entries(table, part / ENTRY, (uint32_t)(at / ENTRY), &before, err);
        if (ret < 0)
            return ret;
        at += part;
    }
    return 0;
}

static size_t block_length(struct img *image, uint64_t block)
{
    const struct cloop *s = image->state;

    return block < s->blocks ? s->block_size : 0;
}

static int decode_block(struct img *image, uint64_t block, void *plain, struct img_scratch *coded)
{
    const struct cloop *s = image->state;
    uint8_t entries[2 * ENTRY];
    int ret = img_pread_stored(image, image->file, entries, TABLE + block * ENTRY, sizeof entries);

    if (ret < 0)
        return ret;
    uint64_t at = img_get_be64(entries), end = img_get_be64(entries + ENTRY);
    if (end < at || end - at > MAX_CODED)
        return -EIO;
    size_t length = (size_t)(end - at);
    ret = img_scratch_load(coded, image->file, at, &length);
    if (ret == 0)
        ret = img_decode_exact(IMG_CODEC_ZLIB, coded->bytes, length, plain, s->block_size);
    return ret < 0 ? img_scratch_failed(image, image->file, at, (size_t)(end - at), ret) : 0;
}

static int cloop_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct cloop *s = image->state;
    uint8_t numbers[TABLE - BLOCK_SIZE];

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Image is read-only");
    int ret = img_pread(image->file, numbers, BLOCK_SIZE, sizeof numbers);
    if (ret < 0)
        return ret;
    s->block_size = img_get_be32(numbers);
    s->blocks = img_get_be32(&numbers[BLOCKS - BLOCK_SIZE]);
    if ((ret = check_header(s, err)) < 0 || (ret = check_table(image, err)) < 0)
        return ret;
    s->cache = img_chunk_cache_new(image, &(struct img_chunks){ s->block_size, block_length, decode_block });
    if (!s->cache)
        return -ENOMEM;
    image->no_details = true;
    image->size = (uint64_t)s->blocks * s->block_size;
    return 0;
}

static int cloop_close(struct img *image)
{
    struct cloop *s = image->state;

    img_chunk_cache_free(s->cache);
    s->cache = NULL;
    return 0;
}

/* ---- Reading --------------------------------------------------------------------------- */

static int cloop_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct cloop *s = image->state;

    while (length > 0) {
        size_t from = (size_t)(offset % s->block_size), part = (size_t)img_min(length, s->block_size - from);
        int ret = img_chunk_cache_read(s->cache, offset / s->block_size, from, buffer, part);
        if (ret < 0)
            return ret;
        buffer = (char *)buffer + part;
        offset += part;
        length -= part;
    }
    return 0;
}

const struct img_driver img_driver_cloop = {
    IMG_ROW(
        .name = "cloop", .kind = IMG_FORMAT, .precedence = -2,
        .marks = IMG_MARKS(IMG_AT(0, "#!/bin/sh\n#V2.0 Format\n"
                                     "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"))
    ),
    .traits = IMG_READS_CONCURRENTLY,
    .state_size = sizeof(struct cloop),
    .open = cloop_open,
    .close = cloop_close,
    .pread = cloop_pread,
};
