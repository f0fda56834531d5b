/* SPDX-License-Identifier: MIT */
/* The vtable; the file footer, open and close.  Specification: "File footer". */
#include "dmg.h"
#include <stdlib.h>
#include <string.h>

/* Fields of the footer. */
enum { DATA_FORK = 24, RESOURCES = 40, RESOURCES_LENGTH = 48, PLIST = 216, PLIST_LENGTH = 224, SECTORS = 492,
       FOOTER = 512 };

/* Longest supported disk. */
#define MAX_SECTORS ((INT64_MAX & ~((1ull << 30) - 1)) / DMG_SECTOR)

/* "koly" may be anywhere in the last bytes of the file, less than a footer's length from the footer's regular place. */
static int find_footer(struct img *bytes, uint8_t footer[FOOTER], uint64_t *offset, struct img_error *err)
{
    uint64_t end = img_align_up(img_size(bytes), DMG_SECTOR);
    uint8_t last[2 * FOOTER];

    if (end < FOOTER)
        return img_error_set(err, EINVAL, "dmg file must be at least 512 bytes long");
    uint64_t start = end > sizeof last ? end - sizeof last : 0;
    int ret = img_pread(bytes, last, start, (size_t)(end - start));
    if (ret < 0)
        return ret;
    for (size_t at = end > sizeof last ? 1 : 0; at + FOOTER <= end - start; at++) {
        if (memcmp(last + at, "koly", 4) == 0) {
            memcpy(footer, last + at, FOOTER);
            *offset = start + at;
            return 0;
        }
    }
    return img_error_set(err, EINVAL, "Could not locate UDIF trailer in dmg file");
}

/* An empty range must start before the end, too. */
static bool before(uint64_t end, uint64_t offset, uint64_t length)
{
    return offset < end && length <= end - offset;
}

/* The tables are before the footer; the older place, if present, takes precedence. */
static int read_tables(struct img *image, const uint8_t *footer, uint64_t end)
{
    uint64_t resources = img_get_be64(footer + RESOURCES), resources_length = img_get_be64(footer + RESOURCES_LENGTH);
    uint64_t plist = img_get_be64(footer + PLIST), plist_length = img_get_be64(footer + PLIST_LENGTH);

    if (!before(end, resources, resources_length) || !before(end, plist, plist_length))
        return -EINVAL;
    if (resources_length)
        return dmg_read_resources(image, resources, resources_length);
    return plist_length ? dmg_read_plist(image, plist, plist_length) : -EINVAL;
}

static int by_sector(const void *a, const void *b)
{
    const struct dmg_chunk *one = a, *other = b;

    if (one->sector != other->sector)
        return one->sector < other->sector ? -1 : 1;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

static void sort_chunks(struct dmg *s)
{
    for (size_t i = 1; i < s->chunks.count; i++) {
        if (s->chunks.at[i].sector < s->chunks.at[i - 1].sector) {
            qsort(s->chunks.at, s->chunks.count, sizeof *s->chunks.at, by_sector);
            return;
        }
    }
}

/* A disk that is stored as it is, from byte 0 on; the length of a chunk has 32 bits. */
static int take_raw(struct dmg *s, uint64_t sectors)
{
    enum { MOST = 1 << 21 };

    for (uint64_t at = 0; at < sectors; at += MOST) {
        uint64_t count = img_min(MOST, sectors - at);
        struct dmg_chunk chunk = { .sector = at, .sectors = count, .offset = at * DMG_SECTOR,
                                   .length = (uint32_t)(count * DMG_SECTOR), .type = DMG_RAW };
        if (!IMG_VECTOR_PUSH(&s->chunks, chunk))
            return -ENOMEM;
    }
    return 0;
}

static int make_cache(struct img *image, uint64_t sectors, struct img_error *err)
{
    struct dmg *s = dmg_state(image);

    if (sectors > MAX_SECTORS)
        return img_error_set(err, EFBIG, "Could not refresh total sector count: %s", img_strerror(EFBIG));
    sort_chunks(s);
    s->cache = img_chunk_cache_new(image, &(struct img_chunks){ s->largest, dmg_chunk_length, dmg_decode_chunk });
    if (!s->cache)
        return -ENOMEM;
    image->no_details = true;
    image->size = sectors * DMG_SECTOR;
    return 0;
}

/* Encrypted, and without a footer: a disk that can be written on macOS. */
static int open_plain(struct img *image, struct img_error *err)
{
    uint64_t sectors = img_size(dmg_bytes(image)) / DMG_SECTOR;
    int ret = take_raw(dmg_state(image), sectors);

    img_error_clear(err);
    return ret < 0 ? ret : make_cache(image, sectors, err);
}

/*
 * Without a footer only the name says that it is such an image.  macOS takes the file for the disk itself, as hdiutil
 * writes it with -format UDRW.  If it begins with a coded chunk, its end was cut off.
 */
static bool dmg_claims(struct img *file)
{
    static const struct img_mark coded[] = {
        IMG_AT(0, "x\x01"), IMG_OR, IMG_AT(0, "x\x5e"), IMG_OR, IMG_AT(0, "x\x9c"), IMG_OR,
        IMG_AT(0, "x\xda"), IMG_OR, IMG_AT(0, "BZh"), IMG_OR, IMG_AT(0, "\xfd" "7zXZ\0"), IMG_OR,
        IMG_AT(0, "bvx"), { .kind = IMG_MARK_END }
    };
    struct img_error err = IMG_ERROR_INIT;
    uint8_t footer[FOOTER], head[8];
    uint64_t at;
    int ret = find_footer(file, footer, &at, &err);

    img_error_clear(&err);
    return ret == 0 || dmg_is_first_version(file) || (img_pread_padded(file, head, 0, sizeof head) == 0 &&
                                                      img_marks_show(coded, head, sizeof head, ""));
}

static int open_image(struct img *image, struct img_error *err)
{
    struct dmg *s = dmg_state(image);
    uint8_t footer[FOOTER] = { 0 };
    uint64_t at = 0;

    uint64_t sectors;
    int ret = dmg_read_sparse(image, &sectors, err);
    if (ret != 0)
        return ret < 0 ? ret : make_cache(image, sectors, err);
    ret = find_footer(dmg_bytes(image), footer, &at, err);
    if (ret < 0 && s->cipher)
        return open_plain(image, err);
    if (ret < 0) {
        img_error_advise(err, "if it is not cut off, it is the disk itself: use -f raw");
        return ret;
    }
    sectors = img_get_be64(footer + SECTORS);
    s->data_fork = img_get_be64(footer + DATA_FORK);
    if (sectors > INT64_MAX || s->data_fork > at)
        return -EINVAL;
    if ((ret = read_tables(image, footer, at)) < 0)
        return ret;
    /* libdmg-hfsplus counts none. */
    if (sectors == 0)
        sectors = s->end;
    if (sectors == 0)
        return img_error_set(err, EINVAL, "Neither the trailer nor a block table tells how long the disk is");
    return make_cache(image, sectors, err);
}

static int dmg_close(struct img *image)
{
    struct dmg *s = dmg_state(image);

    img_chunk_cache_free(s->cache);
    free(s->chunks.at);
    img_cipher_node_free(s->cipher);
    *s = (struct dmg){ 0 };
    return 0;
}

struct dmg_open_options {
    char *key_secret;
};

static int dmg_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct dmg_open_options *given = parsed;

    (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Image is read-only");
    int ret = dmg_open_cipher(image, given->key_secret, err);
    if (ret == 0)
        ret = open_image(image, err);
    if (ret < 0) {
        dmg_close(image);
        if (!err->text)
            img_error_errno(err, -ret, "Could not open '%s'", img_filename(image->file));
    }
    return ret;
}

static const struct img_option options_table[] = {
    { .name = "key-secret", .help = "ID of the secret with the password of an encrypted image", .type = IMG_OPT_STRING,
      .when = IMG_AT_OPEN, .offset = offsetof(struct dmg_open_options, key_secret) },
    { .name = NULL }
};

static const char *const strong_options[] = { "key-secret", NULL };

const struct img_driver img_driver_dmg = {
    IMG_ROW(
        .name = "dmg", .kind = IMG_FORMAT, .precedence = -1,
        /* The format's magic is at the end of the file, so probe by name; but not that of an encrypted or a sparse one. */
        .marks = IMG_MARKS(IMG_NAME_ENDS(".dmg"), IMG_OR, IMG_AT(0, "encrcdsa"), IMG_OR, IMG_AT(0, "sprs\0\0\0\3"))
    ),
    .traits = IMG_READS_CONCURRENTLY | IMG_MAP_UNTOLD,
    .state_size = sizeof(struct dmg),
    .options = options_table,
    .open_size = sizeof(struct dmg_open_options),
    .strong_options = strong_options,
    .claims = dmg_claims,
    .open = dmg_open,
    .close = dmg_close,
    .pread = dmg_pread,
    .map = dmg_map,
};
