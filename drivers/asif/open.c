/* SPDX-License-Identifier: MIT */
/* The vtable; the header, open and close. */
#include "asif.h"
#include <stdlib.h>

/* Fields of the header. */
enum { DIRECTORY_1 = 16, DIRECTORY_2 = 24, SECTORS = 48, MOST_SECTORS = 56, CHUNK = 64, SECTOR = 68, HEADER = 80 };

/* An image that may become 4 PiB long, which is what macOS makes, has 33289 tables. */
enum { MOST_TABLES = 1 << 18 };
enum { LEAST_SECTOR = 512, MOST_SECTOR = 4096, MOST_CHUNK = 1 << 30, PAGE_BYTES = 16 << 10, MEMORY = 4 << 20 };

static int refuse_header(struct img_error *err)
{
    return img_error_set(err, EINVAL, "The header of the ASIF image is not as it has to be");
}

static int read_lengths(struct img *image, const uint8_t *header, struct img_error *err)
{
    struct asif *s = asif_state(image);
    uint64_t sectors = img_get_be64(header + SECTORS), most = img_get_be64(header + MOST_SECTORS);

    s->chunk = img_get_be32(header + CHUNK);
    s->sector = img_get_be16(header + SECTOR);
    if (!img_power_of_two(s->sector) || s->sector < LEAST_SECTOR || s->sector > MOST_SECTOR ||
        !img_power_of_two(s->chunk) || s->chunk < s->sector || s->chunk > MOST_CHUNK ||
        sectors > most || most > INT64_MAX / s->sector)
        return refuse_header(err);
    s->group_chunks = 4 * s->sector;
    s->group_bytes = ASIF_ENTRY * (s->group_chunks + 1);
    s->groups = s->chunk / s->group_bytes;
    if (s->groups == 0)
        return refuse_header(err);
    s->table_reach = s->groups * s->group_chunks * s->chunk;
    s->tables = img_div_up(most * s->sector, s->table_reach);
    image->size = sectors * s->sector;
    image->limits.cluster = s->chunk;
    return 0;
}

/* The sequence number of the directory at `offset`; 0: it is not in the file. */
static int read_sequence(struct img *image, uint64_t offset, uint64_t *sequence)
{
    uint8_t bytes[ASIF_ENTRY];

    struct asif *s = asif_state(image);
    uint64_t length = ASIF_ENTRY * (s->tables + 1);

    *sequence = 0;
    if (!img_within(offset, length, img_size(image->file)))
        return 0;
    s->directories_end = img_max(s->directories_end, offset + length);
    int ret = img_pread(image->file, bytes, offset, sizeof bytes);
    *sequence = img_get_be64(bytes);
    return ret;
}

static int choose_directory(struct img *image, const uint8_t *header, struct img_error *err)
{
    uint64_t first = img_get_be64(header + DIRECTORY_1), second = img_get_be64(header + DIRECTORY_2);
    uint64_t first_sequence, second_sequence;
    int ret = read_sequence(image, first, &first_sequence);

    if (ret == 0)
        ret = read_sequence(image, second, &second_sequence);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read a directory of the ASIF image");
    if (first_sequence == 0 && second_sequence == 0)
        return img_error_set(err, EINVAL, "The ASIF image has no directory");
    asif_state(image)->directory = second_sequence > first_sequence ? second : first;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return one < other ? -1 : one > other;
}

/* The numbers of the tables that there are. */
static int list_tables(struct img *image, uint64_t *numbers, size_t *count)
{
    const struct asif *s = asif_state(image);
    uint64_t end = ASIF_ENTRY * s->tables;
    uint8_t piece[4096];

    *count = 0;
    for (uint64_t at = 0; at < end; at += sizeof piece) {
        size_t length = (size_t)img_min(sizeof piece, end - at);
        int ret = img_pread(image->file, piece, s->directory + ASIF_ENTRY + at, length);
        if (ret < 0)
            return ret;
        for (size_t i = 0; i < length; i += ASIF_ENTRY) {
            uint64_t number = asif_entry_chunk(img_get_be64(piece + i));
            if (number)
                numbers[(*count)++] = number;
        }
    }
    return 0;
}

/* A table that is there a million times would make a small file a disk without end. */
static int check_tables(struct img *image, struct img_error *err)
{
    CLEANUP_FREE uint64_t *numbers = NULL;
    size_t count;

    if (asif_state(image)->tables > MOST_TABLES)
        return img_error_set(err, EFBIG, "An ASIF image with more than %d tables is not supported", MOST_TABLES);
    numbers = img_calloc((size_t)asif_state(image)->tables + 1, sizeof *numbers);
    int ret = numbers ? list_tables(image, numbers, &count) : -ENOMEM;
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read a directory of the ASIF image");
    qsort(numbers, count, sizeof *numbers, by_number);
    for (size_t i = 1; i < count; i++)
        if (numbers[i] == numbers[i - 1])
            return img_error_set(err, EINVAL, "Two parts of the ASIF image have the same table");
    return 0;
}

static int asif_close(struct img *image)
{
    img_pages_free(asif_state(image)->pages);
    asif_state(image)->pages = NULL;
    return 0;
}

static int asif_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    uint8_t header[HEADER];

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Image is read-only");
    int ret = img_pread_padded(image->file, header, 0, sizeof header);
    if (ret < 0)
        return ret;
    if (!img_marks_show(image->driver->marks, header, sizeof header, ""))
        return img_error_set(err, EINVAL, "Image not in ASIF format, version 1");
    if ((ret = read_lengths(image, header, err)) < 0 || (ret = choose_directory(image, header, err)) < 0)
        return ret;
    /* (a check finds them all) */
    if ((ret = check_tables(image, err)) < 0 && !(image->flags & IMG_CHECK && err->code == EINVAL))
        return ret;
    img_error_clear(err);
    asif_state(image)->pages = img_pages_new(image, PAGE_BYTES, MEMORY, NULL);
    return asif_state(image)->pages ? 0 : -ENOMEM;
}

const struct img_driver img_driver_asif = {
    IMG_ROW(
        .name = "asif", .kind = IMG_FORMAT,
        .marks = IMG_MARKS(IMG_AT(0, "shdw\0\0\0\1"))
    ),
    .state_size = sizeof(struct asif),
    .open = asif_open,
    .close = asif_close,
    .map = asif_map,
    .check = asif_check,
};
