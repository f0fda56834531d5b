/* SPDX-License-Identifier: MIT */
/*
 * Sparse disk images of macOS (.sparseimage), in which the bands of the disk lie in the order in which they were first
 * written.  Each band becomes a chunk.
 * Specification: "Mac OS sparse image (.sparseimage) format", https://keramics.github.io/sparseimage.html.
 */
#include "dmg.h"
#include <string.h>

enum { HEADER = 4096, BAND_SECTORS = 8, SECTORS = 16, BANDS = 64, MOST_BANDS = (HEADER - BANDS) / 4,
       MOST_BAND_SECTORS = 1 << 22 };

static const char magic[] = "sprs\0\0\0\3";

/* Where each band lies; 0: nowhere, it is zeroes. */
static int find_places(const uint8_t *header, uint32_t bands, uint64_t band_bytes, uint64_t *places)
{
    for (uint32_t i = 0; i < MOST_BANDS; i++) {
        uint32_t band = img_get_be32(header + BANDS + 4 * i);
        if (band == 0)
            continue;
        if (band > bands || places[band - 1])
            return -EINVAL;
        places[band - 1] = HEADER + i * band_bytes;
    }
    return 0;
}

static int take_bands(struct img *image, const uint64_t *places, uint32_t band_sectors, uint64_t sectors)
{
    struct dmg *s = dmg_state(image);

    for (uint64_t at = 0, i = 0; at < sectors; at += band_sectors, i++) {
        uint64_t count = img_min(band_sectors, sectors - at);
        struct dmg_chunk chunk = { .sector = at, .sectors = count, .offset = places[i],
                                   .length = places[i] ? (uint32_t)(count * DMG_SECTOR) : 0,
                                   .type = places[i] ? DMG_RAW : DMG_ZERO };
        if (places[i] && !img_within(places[i], count * DMG_SECTOR, img_size(dmg_bytes(image))))
            return -EINVAL;
        if (!IMG_VECTOR_PUSH(&s->chunks, chunk))
            return -ENOMEM;
    }
    return 0;
}

int dmg_read_sparse(struct img *image, uint64_t *sectors, struct img_error *err)
{
    uint8_t header[HEADER];
    uint64_t places[MOST_BANDS] = { 0 };
    int ret = img_pread_padded(dmg_bytes(image), header, 0, sizeof header);

    if (ret < 0)
        return ret;
    if (memcmp(header, magic, sizeof magic - 1) != 0)
        return 0;
    uint32_t band_sectors = img_get_be32(header + BAND_SECTORS);
    *sectors = img_get_be32(header + SECTORS);
    if (band_sectors == 0 || band_sectors > MOST_BAND_SECTORS)
        return img_error_set(err, EINVAL, "The header of the sparse image is not as it has to be");
    uint64_t bands = img_div_up(*sectors, band_sectors);
    if (bands > MOST_BANDS)
        return img_error_set(err, ENOTSUP, "A sparse image of more than %d bands is not supported", MOST_BANDS);
    ret = find_places(header, (uint32_t)bands, (uint64_t)band_sectors * DMG_SECTOR, places);
    if (ret == 0)
        ret = take_bands(image, places, band_sectors, *sectors);
    if (ret == -EINVAL)
        return img_error_set(err, EINVAL, "The bands of the sparse image are not as they have to be");
    return ret < 0 ? ret : 1;
}
