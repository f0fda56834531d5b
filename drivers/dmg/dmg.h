/* SPDX-License-Identifier: MIT */
/*
 * dmg.h - shared by the files of the dmg driver.
 *
 * Specification: "Universal Disk Image Format (UDIF)", https://keramics.github.io/udif.html.  Numbers are big-endian.
 *
 * All of it may be encrypted (crypt.c).
 *
 *     data fork       the coded chunks of the disk
 *     property list   XML; its <data> elements are block tables, one for each partition of the disk
 *     resource fork   the same tables in older images
 *     file footer     512 bytes, "koly": the offsets of the above
 */
#ifndef DMG_H
#define DMG_H

#include "../../libimg/driver.h"
#include "../../libimg/io/chunk-cache.h"
#include "../../libimg/io/cipher-node.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/vector.h"

enum { DMG_SECTOR = 512, DMG_MAX_LENGTH = 64 << 20, DMG_MAX_SECTORS = DMG_MAX_LENGTH / DMG_SECTOR };

/* Entry types of a block table. */
#define DMG_ZERO       0x00000000u
#define DMG_RAW        0x00000001u
#define DMG_IGNORE     0x00000002u
#define DMG_COMMENT    0x7ffffffeu
#define DMG_ADC        0x80000004u
#define DMG_ZLIB       0x80000005u
#define DMG_BZIP2      0x80000006u
#define DMG_LZFSE      0x80000007u
#define DMG_XZ         0x80000008u
#define DMG_TERMINATOR 0xffffffffu

struct dmg_chunk {
    uint64_t sector, sectors;       /* on the disk */
    uint64_t offset;                /* in the file */
    uint32_t length;
    uint32_t type;                  /* DMG_ZERO also stands for DMG_IGNORE */
};

struct dmg {
    IMG_VECTOR(struct dmg_chunk) chunks;    /* in ascending order of sectors */
    size_t largest;                 /* decoded size of the largest coded chunk */
    uint64_t data_fork;             /* base of the offsets in block tables */
    uint64_t end;                   /* the sector behind the last that a block table covers */
    bool warned_unknown, warned_bzip2, warned_xz;
    struct img_chunk_cache *cache;
    struct img *cipher;             /* shows what is encrypted; NULL: nothing is */
};

/* Does it have to be decoded? */
static inline bool dmg_is_coded(const struct dmg_chunk *chunk)
{
    return chunk->type != DMG_ZERO && chunk->type != DMG_RAW;
}

static inline struct dmg *dmg_state(const struct img *image)
{
    return image->state;
}

/* The bytes of the image, decrypted. */
static inline struct img *dmg_bytes(const struct img *image)
{
    struct img *cipher = dmg_state(image)->cipher;

    return cipher ? cipher : image->file;
}

/* crypt.c: make the cipher if the file is encrypted; `key_secret` may be NULL. */
int dmg_open_cipher(struct img *image, const char *key_secret, struct img_error *err);

/* Has it the older kind of header, which is at the end? */
bool dmg_is_first_version(struct img *file);

/* sparse.c: append the bands of a sparse image as chunks.  1, and *sectors is set; 0: it is no such image. */
int dmg_read_sparse(struct img *image, uint64_t *sectors, struct img_error *err);

/* tables.c: append the chunks of all tables in the property list or the resource fork.  Returns -EINVAL if there is
 * no message of its own. */
int dmg_read_plist(struct img *image, uint64_t offset, uint64_t length);
int dmg_read_resources(struct img *image, uint64_t offset, uint64_t length);

/* read.c */
size_t dmg_chunk_length(struct img *image, uint64_t chunk);
int dmg_decode_chunk(struct img *image, uint64_t chunk, void *plain, struct img_scratch *coded);
int dmg_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int dmg_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

#endif
