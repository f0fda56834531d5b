/* SPDX-License-Identifier: MIT */
/*
 * Sparse disk images of macOS (.sparseimage), in which the bands of the disk lie in the order in which they were first
 * written.  Each band becomes a chunk.
 * Specification: "Mac OS sparse image (.sparseimage) format", https://keramics.github.io/sparseimage.html.
 *
 *     header      4096 bytes: the length of the disk and of a band, and the numbers of the bands that follow it
 *     bands       one after the other
 *     index       4096 bytes, where the header has no room for more numbers: those of the bands that follow it
 *     bands       and so on; the header and each index name the place of the next index
 */
#include "dmg.h"
#include <stdlib.h>
#include <string.h>

enum { NODE = 4096, BAND_SECTORS = 8, SECTORS = 16, NEXT = 20, LONG_SECTORS = 28, BANDS = 64,
       INDEX_NEXT = 12, INDEX_BANDS = 56, MOST_BAND_SECTORS = 1 << 22 };

/* Of a hostile image; a band is a MiB in a real one. */
#define MOST_SECTORS (1ull << 48)

static const char magic[] = "sprs\0\0\0\3";

struct sparse {
    uint64_t sectors;
    uint32_t band_sectors;
    uint64_t end;                   /* of the last band so far, in the file */
};

static int refuse_bands(struct img_error *err)
{
    return img_error_set(err, EINVAL, "The bands of the sparse image are not as they have to be");
}

/* Take the band with that number (from 1 on), which lies at `offset`. */
static int take_band(struct img *image, struct sparse *sparse, uint32_t number, uint64_t offset, struct img_error *err)
{
    uint64_t first = (uint64_t)(number - 1) * sparse->band_sectors;

    if (first >= sparse->sectors)
        return refuse_bands(err);
    uint64_t count = img_min(sparse->band_sectors, sparse->sectors - first);
    struct dmg_chunk chunk = { .sector = first, .sectors = count, .offset = offset,
                               .length = (uint32_t)(count * DMG_SECTOR), .type = DMG_RAW };
    if (!img_within(offset, count * DMG_SECTOR, img_size(dmg_bytes(image))))
        return refuse_bands(err);
    sparse->end = offset + count * DMG_SECTOR;
    return IMG_VECTOR_PUSH(&dmg_state(image)->chunks, chunk) ? 0 : -ENOMEM;
}

/* Take the bands behind the node at `at`, whose numbers begin at byte `from` of it. */
static int take_bands(struct img *image, struct sparse *sparse, const uint8_t *node, uint64_t at, unsigned from,
                      struct img_error *err)
{
    uint64_t offset = at + NODE;
    int ret = 0;

    for (unsigned i = from; i < NODE && ret == 0; i += 4, offset += (uint64_t)sparse->band_sectors * DMG_SECTOR) {
        uint32_t number = img_get_be32(node + i);
        if (number)
            ret = take_band(image, sparse, number, offset, err);
    }
    return ret;
}

/* Each index lies behind the bands before it, so there are no more than the file has room for. */
static int take_indexes(struct img *image, struct sparse *sparse, uint64_t at, struct img_error *err)
{
    uint8_t node[NODE];

    while (at) {
        if (at < sparse->end || !img_within(at, NODE, img_size(dmg_bytes(image))))
            return refuse_bands(err);
        int ret = img_pread(dmg_bytes(image), node, at, sizeof node);
        if (ret < 0)
            return ret;
        if (memcmp(node, magic, 4) != 0)
            return refuse_bands(err);
        sparse->end = at + NODE;
        if ((ret = take_bands(image, sparse, node, at, INDEX_BANDS, err)) < 0)
            return ret;
        at = img_get_be64(node + INDEX_NEXT);
    }
    return 0;
}

static int by_sector(const void *a, const void *b)
{
    const struct dmg_chunk *one = a, *other = b;

    return one->sector < other->sector ? -1 : one->sector > other->sector;
}

/* Put the bands in order, and zeroes where there is none. */
static int fill_gaps(struct dmg *s, uint64_t sectors, struct img_error *err)
{
    size_t bands = s->chunks.count;
    uint64_t at = 0;

    if (bands)
        qsort(s->chunks.at, bands, sizeof *s->chunks.at, by_sector);
    for (size_t i = 0; i <= bands; i++) {
        struct dmg_chunk band = i < bands ? s->chunks.at[i] : (struct dmg_chunk){ .sector = sectors };
        struct dmg_chunk gap = { .sector = at, .sectors = band.sector - at, .type = DMG_ZERO };

        if (band.sector < at)
            return refuse_bands(err);
        if (gap.sectors && !IMG_VECTOR_PUSH(&s->chunks, gap))
            return -ENOMEM;
        at = band.sector + band.sectors;
    }
    return 0;
}

static int read_header(const uint8_t *header, struct sparse *sparse, struct img_error *err)
{
    sparse->band_sectors = img_get_be32(header + BAND_SECTORS);
    sparse->sectors = img_get_be64(header + LONG_SECTORS);
    sparse->end = NODE;
    /* The short number is its lower half.  If not, it is all that there is. */
    if ((uint32_t)sparse->sectors != img_get_be32(header + SECTORS))
        sparse->sectors = img_get_be32(header + SECTORS);
    if (sparse->band_sectors == 0 || sparse->band_sectors > MOST_BAND_SECTORS || sparse->sectors > MOST_SECTORS)
        return img_error_set(err, EINVAL, "The header of the sparse image is not as it has to be");
    return 0;
}

int dmg_read_sparse(struct img *image, uint64_t *sectors, struct img_error *err)
{
    struct sparse sparse;
    uint8_t header[NODE];
    int ret = img_pread_padded(dmg_bytes(image), header, 0, sizeof header);

    if (ret < 0)
        return ret;
    if (memcmp(header, magic, sizeof magic - 1) != 0)
        return 0;
    if ((ret = read_header(header, &sparse, err)) < 0 ||
        (ret = take_bands(image, &sparse, header, 0, BANDS, err)) < 0 ||
        (ret = take_indexes(image, &sparse, img_get_be64(header + NEXT), err)) < 0 ||
        (ret = fill_gaps(dmg_state(image), sparse.sectors, err)) < 0)
        return ret;
    *sectors = sparse.sectors;
    return 1;
}
