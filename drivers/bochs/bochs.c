/* SPDX-License-Identifier: MIT */
/*
 * bochs: growing hard disk images, versions 1 and 2, read only.
 * Description: "Disk Image Modes" and the redolog header in the documentation of Bochs; the numbers are little-endian.
 *
 *     header      stores its own length
 *     catalog     for each extent of the disk, the number of the extent in the file
 *     extents     a bitmap of the sectors present, padded to sectors; then the sectors
 *
 * qemu-img does not tell which parts of such an image have data, so users are not told either; copies go by the map.
 */
#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"

enum {
    VERSION = 64, HEADER_SIZE = 68, CATALOG_SIZE = 72, BITMAP_SIZE = 76, EXTENT_SIZE = 80, DISK_SIZE_1 = 84, DISK_SIZE_2 = 88,
    HEADER_BYTES = 96
};
enum { VERSION_1 = 0x10000 };
enum { SECTOR = 512 };
enum { MAX_CATALOG = 1 << 20, MAX_EXTENT = 8 << 20 };
enum { PAGE_BYTES = 16384, MEMORY = 4 << 20, BITMAP_BYTES = MAX_EXTENT / SECTOR / 8 };
/* The caller may need only the beginning of an answer. */
enum { MAX_LOOKED_AT = 65536, LONG_RUN = 1 << 20 };

#define UNALLOCATED 0xffffffffu

struct bochs {
    struct img_pages *catalog;
    uint64_t catalog_offset, data_offset;
    uint32_t extent_size;
    uint64_t bitmap_bytes, stride;  /* of an extent of the file: before its sectors, all of it */
    uint64_t loaded;                /* where the extent begins whose bitmap is at hand; 0: none is */
    uint64_t place;                 /* where that of the last search begins in the file, 0: nowhere */
    uint8_t bitmap[BITMAP_BYTES];
};

/* ---- Opening ----------------------------------------------------------------------- */

static int check_sizes(const struct bochs *s, uint32_t catalog, uint64_t disk, struct img_error *err)
{
    if (catalog > MAX_CATALOG)
        return img_error_set(err, EFBIG, "Catalog size is too large");
    if (s->extent_size < SECTOR)
        return img_error_set(err, EINVAL, "Extent size must be at least 512");
    if (!img_power_of_two(s->extent_size))
        return img_error_set(err, EINVAL, "Extent size %u is not a power of two", s->extent_size);
    if (s->extent_size > MAX_EXTENT)
        return img_error_set(err, EINVAL, "Extent size %u is too large", s->extent_size);
    if (catalog < img_div_up(disk, s->extent_size))
        return img_error_set(err, EINVAL, "Catalog size is too small for this disk size");
    return 0;
}

static int bochs_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct bochs *s = image->state;
    uint8_t head[HEADER_BYTES];

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Image is read-only");
    int status = img_pread(image->file, head, 0, sizeof head);
    if (status < 0)
        return status;
    if (!img_marks_show(image->driver->marks, head, sizeof head, ""))
        return img_error_set(err, EINVAL, "Image not in Bochs format");
    uint32_t version = img_get_le32(head + VERSION);
    uint64_t disk = img_get_le64(head + (version == VERSION_1 ? DISK_SIZE_1 : DISK_SIZE_2));
    uint32_t catalog = img_get_le32(head + CATALOG_SIZE), bitmap = img_get_le32(head + BITMAP_SIZE);
    disk = img_align_down(disk, SECTOR);
    s->extent_size = img_get_le32(head + EXTENT_SIZE);
    s->catalog_offset = img_get_le32(head + HEADER_SIZE);
    s->data_offset = s->catalog_offset + 4ull * catalog;
    /* (as in qemu-img, a bitmap of 0 bytes gives the largest size) */
    s->bitmap_bytes = (1 + (uint64_t)(bitmap - 1) / SECTOR) * SECTOR;
    s->stride = s->bitmap_bytes + s->extent_size;
    if ((status = check_sizes(s, catalog, disk, err)) < 0)
        return status;
    s->catalog = img_pages_new(image, PAGE_BYTES, MEMORY, NULL);
    if (!s->catalog)
        return -ENOMEM;
    image->no_details = true;
    image->size = disk;
    return 0;
}

static int bochs_close(struct img *image)
{
    struct bochs *s = image->state;

    img_pages_free(s->catalog);
    s->catalog = NULL;
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------ */

static int load_extent(struct img *image, uint32_t extent)
{
    struct bochs *s = image->state;
    uint64_t at = 4ull * extent, place;
    uint8_t *page;

    s->place = 0;
    int status = img_pages_get(s->catalog, s->catalog_offset + img_align_down(at, PAGE_BYTES), &page);
    if (status < 0)
        return status;
    uint32_t entry = img_get_le32(page + at % PAGE_BYTES);
    if (entry == UNALLOCATED)
        return 0;
    if (!img_mul(entry, s->stride, &place) || !img_add(place, s->data_offset, &place) || place > INT64_MAX / 2)
        return -EIO;
    /* A catalog may name one extent a million times. */
    if (s->loaded != place) {
        s->loaded = 0;
        status = img_pread_stored(image, image->file, s->bitmap, place, img_div_up(s->extent_size / SECTOR, 8));
        if (status < 0)
            return status;
        s->loaded = place;
    }
    s->place = place;
    return 0;
}

static bool is_there(const struct bochs *s, uint32_t sector)
{
    return s->place && s->bitmap[sector / 8] >> sector % 8 & 1;
}

/* Length of the run from `offset`, inside the loaded extent, of sectors that are all present or all absent. */
static uint64_t run_length(const struct bochs *s, uint32_t offset, uint64_t length)
{
    uint32_t first = offset / SECTOR, sector = first, end = (uint32_t)((offset + length - 1) / SECTOR);

    if (!s->place)
        return length;
    while (sector < end && is_there(s, sector + 1) == is_there(s, first)) {
        sector++;
        if (sector % 8 == 0 && !is_there(s, first)) {
            size_t bytes = img_leading_zeroes(s->bitmap + sector / 8, (end + 1 - sector) / 8);
            sector += bytes ? (uint32_t)(8 * bytes - 1) : 0;
        }
    }
    return img_min(length, (uint64_t)(sector + 1) * SECTOR - offset);
}

static int bochs_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct bochs *s = image->state;
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t inside = (uint32_t)(offset % s->extent_size);
        int status = load_extent(image, (uint32_t)(offset / s->extent_size));
        if (status < 0)
            return status;
        size_t part = (size_t)run_length(s, inside, img_min(length, s->extent_size - inside));
        if (!is_there(s, inside / SECTOR))
            memset(to, 0, part);
        else if ((status = img_pread_stored(image, image->file, to, s->place + s->bitmap_bytes + inside, part)) < 0)
            return status;
        to += part;
        offset += part;
        length -= part;
    }
    return 0;
}

/* ---- Map ----------------------------------------------------------------------------- */

/* The run of sectors at `offset` that are not there; 0: the first is, or cannot be found, which is for who reads it. */
static uint64_t absent_run(struct img *image, uint64_t offset, uint64_t length)
{
    struct bochs *s = image->state;
    uint32_t inside = (uint32_t)(offset % s->extent_size);

    if (load_extent(image, (uint32_t)(offset / s->extent_size)) < 0 || is_there(s, inside / SECTOR))
        return 0;
    return run_length(s, inside, img_min(length, s->extent_size - inside));
}

static uint64_t present_run(struct img *image, uint64_t offset, uint64_t length)
{
    struct bochs *s = image->state;
    uint32_t inside = (uint32_t)(offset % s->extent_size);
    uint64_t most = img_min(length, s->extent_size - inside);

    return load_extent(image, (uint32_t)(offset / s->extent_size)) < 0 ? most : run_length(s, inside, most);
}

static uint64_t count_absent(struct img *image, uint64_t offset, uint64_t length)
{
    uint64_t total = 0, run = 1;

    for (unsigned looked_at = 0; run > 0 && total < length && looked_at < MAX_LOOKED_AT; looked_at++) {
        run = absent_run(image, offset + total, length - total);
        total += run;
    }
    return total;
}

/* Long runs of sectors that are not there cost no read; all else is data to be read here. */
static int bochs_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    uint64_t done = count_absent(image, offset, length), absent;

    if (done >= LONG_RUN) {
        extent->kind = IMG_ZERO;
        extent->length = done;
        return 0;
    }
    extent->kind = IMG_DATA;
    extent->file = image;
    extent->host = offset;
    for (unsigned looked_at = 0; done < length && looked_at < MAX_LOOKED_AT; looked_at++) {
        done += present_run(image, offset + done, length - done);
        absent = count_absent(image, offset + done, img_min(length - done, LONG_RUN));
        if (absent >= LONG_RUN)
            break;
        done += absent;
    }
    extent->length = done;
    return 0;
}

const struct img_driver img_driver_bochs = {
    IMG_ROW(
        .name = "bochs", .kind = IMG_FORMAT,
        .marks = IMG_MARKS(IMG_AT(0, "Bochs Virtual HD Image\0"), IMG_AT(32, "Redolog\0"), IMG_AT(48, "Growing\0"),
                           IMG_AT(64, "\0\0\1\0"), IMG_OR,
                           IMG_AT(0, "Bochs Virtual HD Image\0"), IMG_AT(32, "Redolog\0"), IMG_AT(48, "Growing\0"),
                           IMG_AT(64, "\0\0\2\0"))
    ),
    .traits = IMG_MAP_UNTOLD, .state_size = sizeof(struct bochs),
    .open = bochs_open, .close = bochs_close, .pread = bochs_pread,
    .map = bochs_map,
};
