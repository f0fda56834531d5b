/* SPDX-License-Identifier: MIT */
/* Reads guest bytes: from the file, from a decoded chunk, or zeroes.  Specification: "UDIF block table entry types". */
#include "dmg.h"
#include "lzfse.h"
#include "../../libimg/codec/codec.h"
#include <string.h>

size_t dmg_chunk_length(struct img *image, uint64_t number)
{
    const struct dmg *s = dmg_state(image);

    if (number >= s->chunks.count)
        return 0;
    const struct dmg_chunk *chunk = &s->chunks.at[number];
    return dmg_is_coded(chunk) ? (size_t)chunk->sectors * DMG_SECTOR : 0;
}

static int decode(uint32_t type, const void *coded, size_t coded_length, void *plain, size_t length)
{
    switch (type) {
    case DMG_ADC:
        return dmg_adc_decode(coded, coded_length, plain, length);
    case DMG_LZFSE:
        return dmg_lzfse_decode(coded, coded_length, plain, length);
    case DMG_ZLIB:
        return img_decode_exact(IMG_CODEC_ZLIB, coded, coded_length, plain, length);
    case DMG_BZIP2:
        return img_decode_exact(IMG_CODEC_BZIP2, coded, coded_length, plain, length);
    default:
        return img_decode_exact(IMG_CODEC_XZ, coded, coded_length, plain, length);
    }
}

int dmg_decode_chunk(struct img *image, uint64_t number, void *plain, struct img_scratch *coded)
{
    const struct dmg_chunk *chunk = &dmg_state(image)->chunks.at[number];
    size_t length = chunk->length;
    int ret = img_scratch_load(coded, dmg_bytes(image), chunk->offset, &length);

    if (ret == 0)
        ret = decode(chunk->type, coded->bytes, length, plain, (size_t)chunk->sectors * DMG_SECTOR);
    return ret < 0 ? img_scratch_failed(image, dmg_bytes(image), chunk->offset, chunk->length, ret) : 0;
}

/* The chunk that contains the sector.  NULL: no table covers it. */
static const struct dmg_chunk *find_chunk(const struct dmg *s, uint64_t sector)
{
    size_t low = 0, high = s->chunks.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->chunks.at[middle].sector <= sector)
            low = middle + 1;
        else
            high = middle;
    }
    const struct dmg_chunk *chunk = low ? &s->chunks.at[low - 1] : NULL;
    return chunk && sector - chunk->sector < chunk->sectors ? chunk : NULL;
}

/* A raw chunk may have fewer bytes in the file than on the disk; the rest are zeroes. */
static int read_raw(struct img *image, const struct dmg_chunk *chunk, void *buffer, uint64_t from, size_t length)
{
    size_t stored = from < chunk->length ? (size_t)img_min(length, chunk->length - from) : 0;
    uint64_t offset;

    memset((char *)buffer + stored, 0, length - stored);
    if (stored == 0)
        return 0;
    if (!img_add(chunk->offset, from, &offset) || !img_within(offset, stored, INT64_MAX))
        return -EIO;
    return img_pread_stored(image, dmg_bytes(image), buffer, offset, stored);
}

int dmg_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct dmg *s = dmg_state(image);

    while (length > 0) {
        const struct dmg_chunk *chunk = find_chunk(s, offset / DMG_SECTOR);
        int ret = 0;
        if (!chunk)
            return -EIO;
        uint64_t from = offset - chunk->sector * DMG_SECTOR;
        uint64_t size = img_min(chunk->sectors, UINT64_MAX / DMG_SECTOR) * DMG_SECTOR;
        size_t part = (size_t)img_min(length, size - from);
        if (dmg_is_coded(chunk))
            ret = img_chunk_cache_read(s->cache, (uint64_t)(chunk - s->chunks.at), (size_t)from, buffer, part);
        else if (chunk->type == DMG_RAW)
            ret = read_raw(image, chunk, buffer, from, part);
        else
            memset(buffer, 0, part);
        if (ret < 0)
            return ret;
        buffer = (char *)buffer + part;
        offset += part;
        length -= part;
    }
    return 0;
}

/* ---- Map ------------------------------------------------------------------------------- */

enum { LONG_RUN = (1 << 20) / DMG_SECTOR, MAX_LOOKED_AT = 65536 };

static bool is_long_zero(const struct dmg_chunk *chunk)
{
    return !dmg_is_coded(chunk) && chunk->type != DMG_RAW && chunk->sectors >= LONG_RUN;
}

/* Where the first long run of zeroes behind `sector` begins, as far as is looked. */
static uint64_t next_zeroes(const struct dmg *s, uint64_t sector)
{
    for (unsigned looked_at = 0; looked_at < MAX_LOOKED_AT; looked_at++) {
        const struct dmg_chunk *chunk = find_chunk(s, sector);
        if (!chunk)
            return UINT64_MAX;      /* an error for whoever reads */
        if (is_long_zero(chunk))
            return sector;
        sector = chunk->sector + chunk->sectors;
    }
    return sector;
}

/* Long runs of zeroes cost no read, even if they are all of a disk of terabytes; all else is data to be read here. */
int dmg_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct dmg *s = dmg_state(image);
    const struct dmg_chunk *chunk = find_chunk(s, offset / DMG_SECTOR);
    uint64_t end = chunk && is_long_zero(chunk) ? chunk->sector + chunk->sectors : next_zeroes(s, offset / DMG_SECTOR);

    extent->kind = chunk && is_long_zero(chunk) ? IMG_ZERO : IMG_DATA;
    if (extent->kind == IMG_DATA) {
        extent->file = image;
        extent->host = offset;
    }
    if (end < UINT64_MAX / DMG_SECTOR)
        extent->length = img_min(length, end * DMG_SECTOR - offset);
    return 0;
}
