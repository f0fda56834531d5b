/* SPDX-License-Identifier: MIT */
/*
 * qcow.h - state shared by the files of the qcow (version 1) driver.
 * Specification: "The QCOW Image Format", version 1 (Mark McLoughlin), and "QEMU Copy-On-Write file format" (libqcow).
 *
 *   open.c      header, the vtable, open and close
 *   table.c     L1 and L2 tables in memory, allocation, and the order of metadata writes
 *   map.c       guest range -> extent; decode
 *   write.c     reserve, publish; zeroes; emptying the image
 *   create.c    new images
 */
#ifndef QCOW_H
#define QCOW_H

#include "../../libimg/io/cipher-node.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"

#define QCOW_MAGIC 0x514649fbu
#define QCOW_COMPRESSED (1ull << 63)

/* The longest file that the layers below can address. */
#define QCOW_MAX_OFFSET (INT64_MAX & ~((1ull << 30) - 1))

enum { QCOW_HEADER_BYTES = 48, QCOW_ENTRY = 8, QCOW_SECTOR = 512, QCOW_MAX_BACKING_NAME = 1023 };
enum { QCOW_MIN_CLUSTER_BITS = 9, QCOW_MAX_CLUSTER_BITS = 16, QCOW_MIN_L2_BITS = 6, QCOW_MAX_L2_BITS = 13 };
enum { QCOW_CRYPT_NONE, QCOW_CRYPT_AES };
/* Maximum number of entries in an L1 table. */
#define QCOW_MAX_L1 ((1u << 28) - 1)

struct qcow_header {                /* in host byte order */
    uint32_t version;
    uint64_t backing_offset; uint32_t backing_length;
    uint64_t size;
    uint8_t cluster_bits, l2_bits;
    uint32_t crypt_method;
    uint64_t l1_offset;
};

struct qcow {
    struct qcow_header h;
    uint32_t cluster_size, l2_bytes;
    uint64_t span;                  /* guest bytes per L2 table */
    uint64_t l1_entries;
    uint64_t end;                   /* host bytes before it are in use, or leaked */
    struct img_pages *l1, *l2;      /* pages of the L1 table; whole L2 tables */
    struct img *cipher;             /* between guest clusters and file; NULL: they are not encrypted */
};

static inline struct qcow *qcow_state(const struct img *image)
{
    return image->state;
}

/* The node through which guest clusters are read and written; compressed ones are not encrypted. */
static inline struct img *qcow_data_node(const struct img *image)
{
    const struct qcow *s = qcow_state(image);

    return s->cipher ? s->cipher : image->file;
}

/* Number of entries that an L1 table needs; false: too many. */
static inline bool qcow_l1_entries(uint64_t size, unsigned cluster_bits, unsigned l2_bits, uint64_t *entries)
{
    *entries = img_div_up(size, 1ull << (cluster_bits + l2_bits));
    return *entries <= QCOW_MAX_L1;
}

/* Is this a valid offset for an uncompressed cluster?  In whole sectors, as qemu-img reads it. */
static inline bool qcow_valid_cluster(const struct qcow *s, uint64_t offset)
{
    return img_aligned(offset, QCOW_SECTOR) && img_within(offset, s->cluster_size, QCOW_MAX_OFFSET);
}

/* table.c --------------------------------------------------------------------- */
int qcow_open_tables(struct img *image);
/* The host offset of the L2 table for `guest`, 0: none. */
int qcow_find_table(struct img *image, uint64_t guest, uint64_t *table);
int qcow_look_for_missing(struct img *image);
/* The same for writing: allocates the table if needed. */
int qcow_need_table(struct img *image, uint64_t guest, uint64_t *table);
int qcow_get_entry(struct img *image, uint64_t table, uint64_t index, uint64_t *value);
int qcow_put_entry(struct img *image, uint64_t table, uint64_t index, uint64_t value);
/* Allocate space at the end of the file, at a multiple of `unit`. */
int qcow_allocate(struct img *image, uint64_t bytes, uint64_t unit, uint64_t *offset);
int qcow_flush(struct img *image);

/* map.c ----------------------------------------------------------------------- */
int qcow_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
int qcow_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);
int64_t qcow_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);

/* write.c --------------------------------------------------------------------- */
int qcow_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int qcow_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);
int qcow_publish(struct img *image, struct img_reservation *at);
int qcow_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int qcow_make_empty(struct img *image);

/* create.c -------------------------------------------------------------------- */
struct qcow_open_options {
    char *encrypt_format, *encrypt_key_secret;
};
struct qcow_create_options {
    char *encrypt_format, *encrypt_key_secret;      /* the first, as in qcow_open_options */
    int64_t size;
    char *backing_file, *backing_fmt;
    char *encryption;               /* the older option */
};
extern const struct img_option qcow_options[];
int qcow_create(const struct img_create *request, struct img_error *err);

#endif
