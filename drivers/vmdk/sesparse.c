/* SPDX-License-Identifier: MIT */
/*
 * seSparse extents (snapshots of ESXi 6.5 and later), read only.  No specification is published: the fields were
 * found by changing numbers in files and observing qemu-img.
 *
 * A constant header is in sector 0, then a volatile one; all numbers have 64 bits.  The directory refers to tables
 * by number; the tables are consecutive.  A table refers to grains in the same way.
 */
#include "vmdk.h"
#include <inttypes.h>
#include <string.h>

enum { WORDS = VMDK_SECTOR / 8, GRAIN_SECTORS = 8, TABLE_SECTORS = 64, TABLE_BYTES = TABLE_SECTORS * VMDK_SECTOR };
/* Word indexes in the constant header. */
enum { MAGIC, VERSION, CAPACITY, GRAIN_SIZE, TABLE_SIZE, FLAGS, RESERVED, VOLATILE_AT = 10, DIRECTORY_AT = 16,
       DIRECTORY_SIZE, TABLES_AT, GRAINS_AT = 24, CONSTANT_END = 26 };
/* Word indexes in the volatile header. */
enum { REPLAY = 3, VOLATILE_END };
/* The top four bits of a table entry. */
enum { FREE, UNMAPPED, ZEROED, ALLOCATED };

#define CONSTANT_MAGIC 0xcafebabeull
#define VOLATILE_MAGIC 0xcafecafeull
#define KNOWN_VERSION 0x200000001ull
#define TABLE_PRESENT 0x10000000ull         /* upper half of a directory entry */

static bool all_zero(const uint64_t *words, unsigned from)
{
    while (from < WORDS && words[from] == 0)
        from++;
    return from == WORDS;
}

static int read_words(const struct vmdk_extent *extent, uint64_t sector, uint64_t *words, const char *what,
                      struct img_error *err)
{
    uint8_t bytes[VMDK_SECTOR];
    uint64_t offset;
    int ret = img_mul(sector, VMDK_SECTOR, &offset) ? vmdk_read(extent->file, bytes, offset, sizeof bytes) : -EIO;

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read %s header from file '%s'", what, img_filename(extent->file));
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = img_get_le64(bytes + i * 8);
    return 0;
}

static int check_constant(const uint64_t *w, struct img_error *err)
{
    if (w[MAGIC] != CONSTANT_MAGIC)
        return img_error_set(err, ENOTSUP, "Bad const header magic: 0x%016" PRIx64, w[MAGIC]);
    if (w[VERSION] != KNOWN_VERSION)
        return img_error_set(err, ENOTSUP, "Unsupported version: 0x%016" PRIx64, w[VERSION]);
    if (w[GRAIN_SIZE] != GRAIN_SECTORS)
        return img_error_set(err, ENOTSUP, "Unsupported grain size: %" PRIu64, w[GRAIN_SIZE]);
    if (w[TABLE_SIZE] != TABLE_SECTORS)
        return img_error_set(err, ENOTSUP, "Unsupported grain table size: %" PRIu64, w[TABLE_SIZE]);
    if (w[FLAGS])
        return img_error_set(err, ENOTSUP, "Unsupported flags: 0x%016" PRIx64, w[FLAGS]);
    if (w[RESERVED] || w[RESERVED + 1] || w[RESERVED + 2] || w[RESERVED + 3])
        return img_error_set(err, ENOTSUP, "Unsupported reserved bits: 0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64
                             " 0x%016" PRIx64, w[RESERVED], w[RESERVED + 1], w[RESERVED + 2], w[RESERVED + 3]);
    if (!all_zero(w, CONSTANT_END))
        return img_error_set(err, ENOTSUP, "Unsupported non-zero const header padding");
    return 0;
}

static int check_volatile(const uint64_t *w, struct img_error *err)
{
    if (w[MAGIC] != VOLATILE_MAGIC)
        return img_error_set(err, ENOTSUP, "Bad volatile header magic: 0x%016" PRIx64, w[MAGIC]);
    if (w[REPLAY])
        return img_error_set(err, ENOTSUP, "Image is dirty, Replaying journal not supported");
    if (!all_zero(w, VOLATILE_END))
        return img_error_set(err, ENOTSUP, "Unsupported non-zero volatile header padding");
    return 0;
}

int vmdk_open_sesparse(struct vmdk_extent *extent, uint64_t *sectors, struct img_error *err)
{
    uint64_t w[WORDS], changing[WORDS];
    int ret = read_words(extent, 0, w, "const", err);

    if (ret < 0 || (ret = check_constant(w, err)) < 0 ||
        (ret = read_words(extent, w[VOLATILE_AT], changing, "volatile", err)) < 0 ||
        (ret = check_volatile(changing, err)) < 0)
        return ret;
    *sectors = w[CAPACITY];
    extent->grain = GRAIN_SECTORS * VMDK_SECTOR;
    extent->entry_size = 8;
    extent->table_entries = TABLE_BYTES / 8;
    if (!img_mul(w[DIRECTORY_SIZE], VMDK_SECTOR / 8, &extent->tables))
        extent->tables = UINT64_MAX;
    if (!img_mul(w[DIRECTORY_AT], VMDK_SECTOR, &extent->directory))
        extent->directory = UINT64_MAX;
    if (!img_mul(w[TABLES_AT], VMDK_SECTOR, &extent->tables_at) ||
        !img_mul(w[GRAINS_AT], VMDK_SECTOR, &extent->grains_at))
        return img_error_errno(err, EINVAL, "Could not open '%s'", img_filename(extent->file));
    return 0;
}

/* The offset of unit `number` of `size` bytes after `start`, if a file can be that long. */
static int locate(uint64_t start, uint64_t number, uint64_t size, uint64_t *place)
{
    uint64_t behind;

    return img_mul(number, size, &behind) && img_add(start, behind, place) && *place <= INT64_MAX ? 0 : -EIO;
}

int vmdk_sesparse_table(const struct vmdk_extent *extent, uint64_t entry, uint64_t *table)
{
    *table = 0;
    if (entry == 0)
        return 0;
    if (entry >> 32 != TABLE_PRESENT)
        return -EIO;
    return locate(extent->tables_at, (uint32_t)entry, TABLE_BYTES, table);
}

int vmdk_sesparse_grain(const struct vmdk_extent *extent, uint64_t entry, enum img_extent_kind *kind, uint64_t *host)
{
    /* The lowest twelve bits of the number are above the others. */
    uint64_t number = (entry >> 48 & 0xfff) | (entry & 0xffffffffffffull) << 12;

    *kind = IMG_ZERO;
    *host = 0;
    switch (entry >> 60) {
    case FREE:
        *kind = IMG_HOLE;
        return entry ? -EIO : 0;
    case UNMAPPED:
    case ZEROED:
        return 0;
    case ALLOCATED:
        *kind = IMG_DATA;
        return locate(extent->grains_at, number, extent->grain, host);
    default:
        return -EIO;
    }
}
