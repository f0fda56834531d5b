/* SPDX-License-Identifier: MIT */
/*
 * qed.h - state shared by the files of the qed driver.
 * Specification: "QED Image File Format Specification" (docs/interop/qed_spec of the QEMU documentation).
 *
 *   header.c    header: parse, refuse, write; backing.c: another backing file
 *   open.c      the vtable, open and close
 *   table.c     L1 and L2 tables in memory, and the order of metadata writes
 *   map.c       guest range -> extent
 *   write.c     reserve, publish; zero clusters
 *   check.c     check and repair
 *   create.c    new images
 */
#ifndef QED_H
#define QED_H

#include "../../libimg/io/pages.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"

#define QED_MAGIC 0x00444551u               /* "QED\0", little-endian */

/* The longest disk that the layers above can address. */
#define QED_MAX_LENGTH (INT64_MAX & ~((1ull << 30) - 1))

enum { QED_HEADER_BYTES = 64, QED_ENTRY = 8, QED_SECTOR = 512, QED_MAX_BACKING_NAME = 4095 };
enum { QED_MIN_CLUSTER = 1 << 12, QED_MAX_CLUSTER = 1 << 26, QED_DEFAULT_CLUSTER = 65536 };
enum { QED_MIN_TABLE = 1, QED_MAX_TABLE = 16, QED_DEFAULT_TABLE = 4 };
enum { QED_BACKING_FILE = 1, QED_NEED_CHECK = 2, QED_BACKING_NO_PROBE = 4, QED_FEATURES = 7 };

/* Special offsets in an L2 table; 0 is special in an L1 table, too. */
enum { QED_UNALLOCATED = 0, QED_ZERO = 1 };

struct qed_header {                 /* in host byte order */
    uint32_t cluster_size, table_size, header_size;     /* in bytes, clusters, clusters */
    uint64_t features, compat_features, autoclear_features;
    uint64_t l1_offset, size;
    uint32_t backing_offset, backing_length;
};

struct qed {
    struct qed_header h;
    uint64_t table_bytes, entries;  /* of a table */
    uint64_t span;                  /* guest bytes per L2 table */
    uint64_t end;                   /* host clusters before it are in use, or leaked */
    struct img_pages *l1, *l2;
};

static inline struct qed *qed_state(const struct img *image)
{
    return image->state;
}

/* header.c -------------------------------------------------------------------- */
/* Read the header into the state and validate it, in qemu-img's order. */
int qed_read_header(struct img *image, struct img_error *err);
void qed_encode_header(const struct qed_header *h, uint8_t bytes[QED_HEADER_BYTES]);
int qed_write_header(struct img *image);
/* The largest disk, modulo 2^64 as in qemu-img. */
uint64_t qed_max_size(uint32_t cluster_size, uint32_t table_size);
/* Can there be a cluster, or a table, at this host offset? */
bool qed_valid_cluster(const struct qed *s, uint64_t offset);
bool qed_valid_table(const struct qed *s, uint64_t offset);

/* backing.c ------------------------------------------------------------------- */
int qed_change_backing(struct img *image, const char *name, const char *format);

/* table.c --------------------------------------------------------------------- */
int qed_open_tables(struct img *image);
/* The host offset of the L2 table for `guest`, 0: none.  -EINVAL: the entry is invalid. */
int qed_find_table(struct img *image, uint64_t guest, uint64_t *table);
/* Has the file become longer?  Then entries may be valid now. */
bool qed_has_grown(struct img *image);
/* Is an entry for `length` bytes invalid because the file ends before them? */
bool qed_is_missing(struct img *image, uint64_t offset, uint64_t length);
int qed_look_for_missing(struct img *image);
/* The same for writing: allocates the table if needed. */
int qed_need_table(struct img *image, uint64_t guest, uint64_t *table);
/* Entry `index` of an L2 table. */
int qed_get_entry(struct img *image, uint64_t table, uint64_t index, uint64_t *value);
int qed_put_entry(struct img *image, uint64_t table, uint64_t index, uint64_t value);
/* Allocate host clusters at the end of the file.  Marks the image as needing a check. */
int qed_allocate(struct img *image, uint64_t clusters, uint64_t *offset);
int qed_flush(struct img *image);

/* map.c ----------------------------------------------------------------------- */
int qed_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);

/* write.c --------------------------------------------------------------------- */
int qed_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int qed_publish(struct img *image, struct img_reservation *at);
int qed_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);

/* check.c --------------------------------------------------------------------- */
int qed_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* create.c -------------------------------------------------------------------- */
struct qed_create_options {
    int64_t size;
    char *backing_file, *backing_fmt;
    int64_t cluster_size, table_size;
};
extern const struct img_option qed_options[];
int qed_create(const struct img_create *request, struct img_error *err);

#endif
