/* SPDX-License-Identifier: MIT */
/*
 * qcow2.h - state shared by the files of the qcow2 driver.
 * Specification: "Qcow2 Image File Format" (docs/interop/qcow2 of the QEMU documentation).
 *
 *   read.c      reading metadata
 *   header.c    header: parse, check, write
 *   extension.c header extensions and feature names
 *   open.c      the vtable, open and close
 *   crypt.c     encrypted images
 *   info.c      format specific information
 *   cache.c     L2 tables and refcount blocks in memory, written back in order
 *   map.c       guest range -> extent; decode
 *   l2.c        tables for writing, and the order in which metadata reach the disk
 *   reserve.c   reserve, publish, cancel: guest writes; zero.c: zero, discard
 *   refcount.c  reference counts, cluster allocation
 *   overlap.c   no write may hit metadata
 *   change/     an image that stands: size, options, backing file, no guest clusters any more
 *   snapshot/   the snapshot table; create, apply, delete
 *   bitmap/     the bitmap directory, the bits of a bitmap, what users do with them
 *   create/     new images, also such that are written in order; places before there is data; the room that one needs
 *   check/      what is wrong, and mending it; shadow.c: many tables change as one
 */
#ifndef QCOW2_H
#define QCOW2_H

#include "../../libimg/codec/codec.h"
#include "../../libimg/driver.h"
#include "../../libimg/io/cipher-node.h"
#include "../../libimg/io/luks-volume.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/vector.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1_BYTES (32u << 20)
#define QCOW2_MAX_REFCOUNT_TABLE_BYTES (8u << 20)
#define QCOW2_MAX_SNAPSHOTS 65536
#define QCOW2_MAX_SNAPSHOT_TABLE_BYTES (1024u * QCOW2_MAX_SNAPSHOTS)
#define QCOW2_MAX_BACKING_NAME 1023

/* L1 and L2 entries */
#define QCOW2_COPIED (1ull << 63)
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO 1ull
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_L1_RESERVED 0x7f000000000001ffull
#define QCOW2_L2_RESERVED 0x3f000000000001feull

enum { QCOW2_INCOMPAT_DIRTY = 1, QCOW2_INCOMPAT_CORRUPT = 2, QCOW2_INCOMPAT_DATA_FILE = 4,
       QCOW2_INCOMPAT_COMPRESSION = 8, QCOW2_INCOMPAT_EXTENDED_L2 = 16, QCOW2_INCOMPAT_KNOWN = 31 };
enum { QCOW2_COMPAT_LAZY_REFCOUNTS = 1, QCOW2_COMPAT_KNOWN = 1 };
enum { QCOW2_AUTOCLEAR_BITMAPS = 1, QCOW2_AUTOCLEAR_DATA_FILE_RAW = 2, QCOW2_AUTOCLEAR_KNOWN = 3 };

enum { QCOW2_EXT_END = 0, QCOW2_EXT_BACKING_FORMAT = 0xe2792aca, QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
       QCOW2_EXT_BITMAPS = 0x23852875, QCOW2_EXT_CRYPTO = 0x0537be77, QCOW2_EXT_DATA_FILE = 0x44415441 };

enum { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };
enum { QCOW2_BITMAP_IN_USE = 1, QCOW2_BITMAP_AUTO = 2 };
enum { QCOW2_BITMAP_DIRTY_TRACKING = 1 };     /* the only type */

struct qcow2_header {               /* in host byte order */
    uint32_t version;
    uint64_t backing_offset; uint32_t backing_length;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size; uint64_t l1_offset;
    uint64_t refcount_table_offset; uint32_t refcount_table_clusters;
    uint32_t snapshot_count; uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order, length;
    uint8_t compression;
    /* header bytes after those that we know, kept unchanged */
    uint8_t *unknown; uint32_t unknown_length;
};

struct qcow2_extension {            /* one that we do not interpret, kept unchanged */
    uint32_t type, length;
    uint8_t *data;
};

struct qcow2_feature_name { uint8_t kind, bit; char name[47]; };

struct qcow2_snapshot {
    struct img_snapshot shown;
    uint64_t l1_offset; uint32_t l1_size;
    uint8_t *extra; uint32_t extra_length;   /* whole extra data area as read */
};

struct qcow2_bitmap {
    char *name;
    uint64_t table_offset; uint32_t table_size;
    uint32_t flags;                 /* bit 0 in use, 1 auto, 2 extra data compatible */
    uint8_t type, granularity_bits;
    uint64_t entry;                 /* its host offset in the directory; 0: not there yet */
    struct qcow2_bits *bits;        /* bitmap/bits.c; NULL: not loaded */
    bool marked;                    /* we set "in use" on disk; the flag here stays off */
    bool flags_newer;               /* the flags differ from those in the directory on disk */
};

/* cache.c: tables of one cluster each (L2 tables, or refcount blocks), big-endian as on disk. */
struct qcow2_cache;

struct qcow2_range { uint64_t offset, length; };

/*
 * Why clusters are freed.  This decides whether to discard them in the file below (the open options pass-discard-*):
 * never after an overwrite, always after shrinking the disk.
 */
enum qcow2_discard { QCOW2_DISCARD_NEVER, QCOW2_DISCARD_ALWAYS, QCOW2_DISCARD_REQUEST, QCOW2_DISCARD_SNAPSHOT,
                     QCOW2_DISCARD_OTHER, QCOW2_DISCARDS };
struct qcow2_dropped { uint64_t offset, length; bool discard; };

struct qcow2 {
    struct qcow2_header h;
    uint32_t cluster_size;
    unsigned l2_entry_size;         /* 8, or 16 with extended L2 */
    unsigned l2_bits;               /* log2 of entries in an L2 table */
    unsigned subclusters;           /* 1 or 32 per cluster */
    uint32_t subcluster_size;
    unsigned refcount_bits;         /* 1 << h.refcount_order */
    uint64_t refcount_max;
    unsigned refblock_bits;         /* log2 of entries in a refcount block */

    uint64_t *l1;                   /* active L1 (or that of the snapshot shown), host byte order, h.l1_size */
    uint64_t *refcount_table;       /* host byte order, refcount_table_size entries; loaded by open */
    uint32_t refcount_table_size;
    struct qcow2_cache *l2_cache, *refblock_cache;

    bool refblocks_distinct;        /* no block is referred to twice, as far as checked */
    uint64_t free_cluster_index;    /* no cluster below is free */
    uint64_t coded_tail;            /* where the next compressed cluster may be packed; 0: none */
    bool corrupt_reported;          /* one notice per image is enough */
    bool broken;                    /* fatal damage: no more reads or writes */
    bool prealloc_known, prealloc;  /* metadata preallocation suspected: DATA extents recurse */

    bool has_crypto;                /* crypto header extension: the LUKS header lies at luks.start */
    struct img_luks_volume luks;
    struct img *cipher;             /* the node between guest clusters and storage; NULL: they are not encrypted */

    struct { uint8_t *bytes; uint64_t offset; size_t length; } ahead;   /* while the image is opened: see read.c */

    char *data_file_name;           /* as the header extension stores it, NULL */
    IMG_VECTOR(struct qcow2_extension) extensions;
    IMG_VECTOR(struct qcow2_feature_name) features;
    IMG_VECTOR(struct qcow2_snapshot) snapshots;
    IMG_VECTOR(struct qcow2_bitmap) bitmaps;
    uint32_t bitmap_count; uint64_t bitmap_directory_offset, bitmap_directory_size;
    bool bitmaps_valid;             /* the directory is valid */
    bool bitmaps_stale;             /* the last writer did not know bitmaps: drop them */
    bool bitmaps_edited;            /* bitmaps were added or removed, or flags changed: rewrite the directory */
    bool bitmaps_paused;            /* current writes are not guest writes */
    IMG_VECTOR(struct qcow2_range) bitmap_trash;    /* to free once nothing on disk refers to it */
    size_t bitmap_memory;           /* bytes of bits in memory */

    /* Guest writes (reserve.c, refcount.c, overlap.c).  All empty after qcow2_flush, so close needs nothing more than that. */
    unsigned overlap_sections;      /* enum qcow2_section bits that writes are checked against; open sets qcow2_overlap_template() */
    uint64_t l1_dirty_from, l1_dirty_to;    /* L1 entries that are newer in memory than on disk: [from, to) */
    uint64_t l1_changes, l1_writes; /* how often they changed, and were written */
    bool flushing;                  /* a flush is under way that releases the lock */
    IMG_VECTOR(struct qcow2_dropped) dropped;   /* host ranges whose count goes down once no table on disk names them */
    uint64_t next_guest, next_host; /* a write that was answered in part goes on here, best there; next_host 0: unknown */
    uint64_t *metadata_filter;      /* overlap.c; free() in close */
    uint64_t metadata_filter_mask;
    bool discards[QCOW2_DISCARDS];  /* for which reasons freed clusters are discarded below */
    bool keep_discarded;            /* open option discard-no-unref */
    bool shadowed;                  /* shadow.c: copies are active on disk; write tables in any order */
    struct img_codec_how coding;    /* how to compress clusters while the image is open */
    bool coded_written;             /* compressed clusters were written: the file may end inside a sector */
    uint64_t published, durable;    /* number of published reservations, and of those with durable bytes */
    bool creating;                  /* a new image, which is removed if a write fails */
    bool lazy;                      /* lazy refcounts are on: no order between refcounts and L2 tables */
};

static inline struct qcow2 *qcow2_state(const struct img *image)
{
    return image->state;
}

/* Is there an L2 table for this guest offset? */
static inline bool qcow2_has_l2(const struct qcow2 *s, uint64_t guest)
{
    uint64_t index = guest >> (s->h.cluster_bits + s->l2_bits);

    return index < s->h.l1_size && s->l1[index] & QCOW2_OFFSET_MASK;
}

/* Host offset of the refcount block with this index, from the table; 0: none. */
static inline uint64_t qcow2_refblock_at(const struct qcow2 *s, uint64_t index)
{
    return index < s->refcount_table_size ? s->refcount_table[index] & ~511ull : 0;
}

/* The storage that holds guest clusters: the external data file, or the image file. */
static inline struct img *qcow2_storage(const struct img *image)
{
    return image->data_file ? image->data_file : image->file;
}

/* The node through which they are read and written. */
static inline struct img *qcow2_data_node(const struct img *image)
{
    struct img *cipher = qcow2_state(image)->cipher;

    return cipher ? cipher : qcow2_storage(image);
}

/* header.c -------------------------------------------------------------------- */
/*
 * Read and validate the header and its extensions into s (spec: Header, Header extensions).  IMG_CHECK: tolerates
 * damage.
 */
int qcow2_read_header(struct img *image, struct img_error *err);
/* Write header, extensions and backing name from s to cluster 0.  -ENOSPC: they do not fit.  The disk holds the old
 * header or the new one at each moment, if all but the names of features fits into a sector. */
int qcow2_write_header(struct img *image);
/* Build the header cluster (cluster_size bytes, caller frees), for create, before the image is open.  Takes the
 * backing name and format from image->backing_name, backing_format. */
int qcow2_build_header(const struct img *image, uint8_t *cluster);
void qcow2_free_header(struct qcow2 *s);
/* read.c ------------------------------------------------------------------------ */
/* Read metadata from the image file; what lies behind its end reads as zeroes, as in qemu-img. */
int qcow2_read(struct img *image, void *buffer, uint64_t offset, size_t length);
/* The same for tables of guest clusters, which must be there (img_check_table). */
int qcow2_read_table(struct img *image, void *buffer, uint64_t offset, size_t length);
/* What will be read in small pieces from `offset` on is read at once, unless it was already; good until the next call. */
void qcow2_read_ahead(struct img *image, uint64_t offset, size_t length);
void qcow2_forget_ahead(struct qcow2 *s);

/* extension.c ----------------------------------------------------------------- */
/* Parse the extensions in [offset, end) of the header cluster.  `names_only`: only the feature names. */
int qcow2_read_extensions(struct img *image, uint64_t offset, uint64_t end, bool names_only, struct img_error *err);
/* Append all extensions (`lean`: without the names of features) and the end marker at *at of `cluster`.  -ENOSPC: they
 * do not fit. */
int qcow2_build_extensions(const struct img *image, bool lean, uint8_t *cluster, size_t *at);
void qcow2_free_extensions(struct qcow2 *s);
/* "dirty bit, Unknown incompatible feature: 100"; caller frees. */
char *qcow2_feature_list(const struct qcow2 *s, uint64_t incompatible);
/* Set or clear one incompatible bit on disk at once. */
int qcow2_set_incompatible(struct img *image, uint64_t bit, bool on);
/* Derive numbers (cluster_size, l2_bits, ...) from s->h. */
void qcow2_derive(struct qcow2 *s);

/* open.c */
extern const struct img_driver img_driver_qcow2;
/* Report damage once ("qcow2: Marking image as corrupt: ..."), and set the corrupt bit if writable; returns -EIO. */
int qcow2_signal_corrupt(struct img *image, bool fatal, const char *format, ...) IMG_PRINTF(3, 4);

/* cache.c --------------------------------------------------------------------- */
/* `section`: QCOW2_AT_ACTIVE_L2 or QCOW2_AT_REFBLOCK, the kind of tables; `memory`: maximum bytes in the cache. */
struct qcow2_cache *qcow2_cache_new(struct img *image, unsigned section, size_t memory);
void qcow2_cache_free(struct qcow2_cache *cache);       /* drops dirty tables */
/* Write `after` before anything dirty of `cache`: refcounts before L2 tables. */
void qcow2_cache_depends(struct qcow2_cache *cache, struct qcow2_cache *after);
/* Get the table at host `offset`, reading it if needed.  The pointer is valid until the next get/new on this cache. */
int qcow2_cache_get(struct qcow2_cache *cache, uint64_t offset, uint8_t **table);
/* The same, for map and reserve before they have changed anything: may release image->lock while the table is read,
 * and then returns IMG_LOOK_AGAIN (io/waiting.h). */
int qcow2_cache_look(struct qcow2_cache *cache, uint64_t offset, uint8_t **table);
/* Add a zeroed new table, dirty, without reading. */
int qcow2_cache_new_table(struct qcow2_cache *cache, uint64_t offset, uint8_t **table);
void qcow2_cache_dirty(struct qcow2_cache *cache, uint64_t offset);
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset);   /* drop without writing */
int qcow2_cache_write(struct qcow2_cache *cache);       /* all dirty ones, in order */
/* The same, with image->lock released while what they rely on is synced (io/waiting.h): what they are when it begins is
 * written.  One call at a time. */
int qcow2_cache_write_aside(struct qcow2_cache *cache);
void qcow2_cache_clear(struct qcow2_cache *cache);      /* drop all without writing */

/* map.c ----------------------------------------------------------------------- */
int qcow2_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
int qcow2_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);
int64_t qcow2_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
/*
 * Host offset and byte length (whole sectors, less the start inside the first) of a compressed L2 entry (spec:
 * Compressed Clusters Descriptor).
 */
void qcow2_coded_range(const struct qcow2 *s, uint64_t entry, uint64_t *host, uint64_t *length);
/* Read an L1 table of `size` entries into a fresh host-order array. */
int qcow2_read_l1(struct img *image, uint64_t offset, uint32_t size, uint64_t **l1);

/* refcount-table.c --------------------------------------------------------------- */
/* New refcount blocks and a new table, in one run at `start`; they count `clusters` clusters, themselves included. */
struct qcow2_refcount_area {
    uint64_t start, clusters;
    uint64_t block_index, block_offset;     /* a block that the new table must refer to already; offset 0: none */
    bool exact;                             /* no spare room for growth */
};
int qcow2_write_refcount_area(struct img *image, const struct qcow2_refcount_area *area, uint64_t *end);
/* Number of block and table clusters that count `clusters` clusters and themselves; -EFBIG: too many. */
int qcow2_refcount_area_size(const struct qcow2 *s, bool exact, uint64_t clusters, uint64_t *blocks, uint64_t *table);

/* Is each refcount block referred to only once?  Call it before walking through all of them: a small file can refer
 * to one a million times.  -EIO: no, and the image is marked corrupt. */
int qcow2_check_refblocks(struct img *image);

/* refcount.c -------------------------------------------------------------------- */
/* What was written is to be durable before what comes next.  `aside`: image->lock is released meanwhile (io/waiting.h). */
int qcow2_barrier(struct img *image);
int qcow2_barrier_aside(struct img *image);
/* The guest bytes of the first `published` reservations are to be durable before what comes next: the L2 entries that
 * show them. */
int qcow2_data_barrier(struct img *image, uint64_t published, bool aside);
int qcow2_read_refcount_table(struct img *image, struct img_error *err);
/* Raw access to entry `index` of a refcount block of this width. */
uint64_t qcow2_refcount_at(const struct qcow2 *s, const uint8_t *block, uint64_t index);
void qcow2_refcount_put(const struct qcow2 *s, uint8_t *block, uint64_t index, uint64_t value);
int qcow2_refcount_get(struct img *image, uint64_t cluster, uint64_t *count);
/* Add +1 or -1 to the refcounts of [offset, offset+length); clusters that reach 0 are free. */
int qcow2_refcount_change(struct img *image, uint64_t offset, uint64_t length, int delta);
/* Allocate `length` bytes of consecutive clusters, first fit, with refcount 1. */
int qcow2_alloc_clusters(struct img *image, uint64_t length, uint64_t *offset);
/* Allocate up to *length bytes exactly at `offset`, as many as are free; *length becomes the number taken (0: none). */
int qcow2_alloc_at(struct img *image, uint64_t offset, uint64_t *length);
/*
 * Allocate space for compressed bytes, packed after the previous ones if they fit (spec: compressed clusters may
 * share host clusters).
 */
int qcow2_alloc_coded(struct img *image, uint64_t length, uint64_t *offset);
int qcow2_free_clusters(struct img *image, uint64_t offset, uint64_t length);
/* The end of the last cluster in use within the file; 0: none is. */
int qcow2_end_of_use(struct img *image, uint64_t *offset);
/* Forget derived state, after tables were changed or moved as a whole. */
void qcow2_forget_derived(struct qcow2 *s);
/* Would a write to [offset, +length) of the image file hit metadata (other than of kind `except`)?  Then it is
 * reported as corruption, and -EIO is returned. */
enum qcow2_section { QCOW2_AT_HEADER = 1, QCOW2_AT_ACTIVE_L1 = 2, QCOW2_AT_ACTIVE_L2 = 4, QCOW2_AT_REFBLOCK = 8,
                     QCOW2_AT_REFTABLE = 16, QCOW2_AT_SNAPSHOT_TABLE = 32, QCOW2_AT_INACTIVE_L1 = 64,
                     QCOW2_AT_INACTIVE_L2 = 128, QCOW2_AT_BITMAP_DIRECTORY = 256 };
enum { QCOW2_SECTIONS = 9 };
int qcow2_check_overlap(struct img *image, unsigned except, uint64_t offset, uint64_t length);
/* overlap.c: write metadata to the image file, unless it would hit other metadata. */
int qcow2_write(struct img *image, unsigned except, const void *bytes, uint64_t offset, size_t length);
/* overlap.c: the sections of a template (none constant cached all); -EINVAL: no such name. */
int qcow2_overlap_template(const char *name, unsigned *sections);
/* overlap.c: a table (L2, refcount block) was placed at `offset`; updates the filter. */
void qcow2_note_metadata(struct img *image, uint64_t offset);

/* l2.c --------------------------------------------------------------------------- */
/* An L2 table that may be written, and the entry of a guest cluster in it. */
struct qcow2_l2 {
    uint64_t offset;                /* of the table, for qcow2_cache_dirty */
    uint8_t *table;                 /* valid until the next call that gets a table */
    uint32_t index, left;           /* the entry; entries from it to the end of the table */
};
/* Get the table for this guest offset, allocated or copied if needed.  IMG_LOOK_AGAIN as in qcow2_cache_look. */
int qcow2_l2_for_write(struct img *image, uint64_t guest, struct qcow2_l2 *l2);
static inline uint64_t qcow2_l2_entry(const struct qcow2 *s, const struct qcow2_l2 *l2, uint32_t ahead)
{
    return img_get_be64(l2->table + (size_t)(l2->index + ahead) * s->l2_entry_size);
}
/* Extended L2: bits 0-31 allocated, 32-63 zero; otherwise 0. */
static inline uint64_t qcow2_l2_bitmap(const struct qcow2 *s, const struct qcow2_l2 *l2, uint32_t ahead)
{
    return s->subclusters > 1 ? img_get_be64(l2->table + (size_t)(l2->index + ahead) * s->l2_entry_size + 8) : 0;
}
static inline void qcow2_l2_put(const struct qcow2 *s, struct qcow2_l2 *l2, uint32_t ahead, uint64_t entry,
                                uint64_t bitmap)
{
    uint8_t *at = l2->table + (size_t)(l2->index + ahead) * s->l2_entry_size;

    img_put_be64(at, entry);
    if (s->subclusters > 1)
        img_put_be64(at + 8, bitmap);
}
/* Change an entry of the L1 table in memory; the next flush writes it. */
void qcow2_set_l1(struct qcow2 *s, uint64_t index, uint64_t entry);
/*
 * Drop one reference to these host bytes once no table on disk refers to them; the second drops those of an L2
 * entry.
 */
void qcow2_drop(struct img *image, uint64_t offset, uint64_t length, enum qcow2_discard why);
void qcow2_drop_entry(struct img *image, uint64_t entry, enum qcow2_discard why);
/* Keeps the list of dropped ranges short; call it when the tables are consistent. */
int qcow2_settle(struct img *image);

/* reserve.c ---------------------------------------------------------------------- */
int qcow2_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
uint64_t qcow2_coded_entry(const struct qcow2 *s, uint64_t host, uint64_t length);
int qcow2_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);
int qcow2_publish(struct img *image, struct img_reservation *at);
void qcow2_cancel(struct img *image, struct img_reservation *at);
int qcow2_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int qcow2_discard(struct img *image, uint64_t offset, uint64_t length);
int qcow2_flush(struct img *image);
/* The same with image->lock released while the file is synced (io/waiting.h); the driver's callback. */
int qcow2_flush_aside(struct img *image);
/* The same, and durable: counts are on disk before anything new names what they count. */
int qcow2_sync(struct img *image);
int qcow2_grow_l1(struct img *image, uint64_t entries);
int qcow2_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);
/* preallocate.c: allocate the guest clusters of [offset, end); the header may not have the size `end` yet. */
enum qcow2_preallocation { QCOW2_PREALLOC_OFF, QCOW2_PREALLOC_METADATA, QCOW2_PREALLOC_FALLOC, QCOW2_PREALLOC_FULL };
int qcow2_preallocation_parse(const char *name, enum qcow2_preallocation *mode);
int qcow2_preallocate(struct img *image, uint64_t offset, uint64_t end, enum qcow2_preallocation mode,
                      struct img_error *err);
/* amend.c, refcount-width.c, downgrade.c: change options of an existing image. */
int qcow2_amend(struct img *image, const void *options, const struct img_amend *how, struct img_error *err);
int qcow2_amend_refcounts(struct img *image, unsigned order, const struct img_amend *how, struct img_error *err);
int qcow2_downgrade(struct img *image, const struct img_amend *how, struct img_error *err);
/* resize.c: number of L1 entries for a disk of this size, and the size of the largest disk. */
uint64_t qcow2_l1_entries(const struct qcow2 *s, uint64_t size);
uint64_t qcow2_largest_disk(const struct qcow2 *s);
/* backing.c, empty.c: see driver.h. */
int qcow2_change_backing(struct img *image, const char *name, const char *format);
int qcow2_make_empty(struct img *image);
int qcow2_mark_dirty(struct img *image);      /* lazy refcounts: call it before the first refcount is delayed */
int qcow2_mark_clean(struct img *image);

/* crypt.c ------------------------------------------------------------------------ */
/* The options encrypt.* of open fit the header; `options` has those that the table does not know. */
int qcow2_check_encrypt_options(const struct img *image, const char *format, struct img_doc *options,
                                struct img_error *err);
/* Read the LUKS header, and make s->cipher unless the image is opened without I/O.  The data file is open. */
int qcow2_open_encryption(struct img *image, const char *key_secret, struct img_error *err);
void qcow2_close_encryption(struct qcow2 *s);
void qcow2_put_encryption(const struct qcow2 *s, struct img_doc *data);
struct qcow2_create_options;
int qcow2_check_amend_encryption(const struct img *image, const struct qcow2_create_options *given,
                                 struct img_error *err);
int qcow2_amend_encryption(struct img *image, const struct qcow2_create_options *given, bool force,
                           struct img_error *err);
/* A new image: are the right options given; which *method they mean (of the header), and, for LUKS, its header, whose
 * payload is its length in the image. */
int qcow2_check_new_encryption(const struct qcow2_create_options *given, struct img_error *err);
int qcow2_plan_encryption(struct img_luks_volume *luks, const struct qcow2_create_options *given, uint32_t *method,
                          struct img_error *err);
struct qcow2_new;
/* Make the key, before a file is touched; later write it, and the header of the image once more. */
int qcow2_make_encryption(struct qcow2_new *plan, struct img_error *err);
int qcow2_write_encryption(struct qcow2_new *plan, struct img_error *err);

/* info.c: the format specific "data" object. */
int qcow2_info(struct img *image, struct img_doc *data, struct img_error *err);

/* create.c, snapshot.c, bitmap.c, check.c, repair.c --------------------------------- */
int qcow2_create(const struct img_create *request, struct img_error *err);
int qcow2_measure(const void *create_options, struct img *source, uint64_t size, struct img_measure *result,
                  struct img_error *err);
extern const struct img_option qcow2_options[];   /* options.c */
extern const struct img_stream_ops qcow2_stream_ops;    /* stream.c */
int qcow2_read_snapshots(struct img *image, struct img_error *err);
int qcow2_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err);
int qcow2_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err);
void qcow2_free_snapshots(struct qcow2 *s);
/* snapshot/write.c: driver callbacks. */
int qcow2_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err);
int qcow2_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err);
int qcow2_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err);
/* Write the list, with `more` (NULL: nothing) at its end, as a table at a new place.  The list itself is not
 * changed: it describes the active table. */
int qcow2_put_snapshot_table(struct img *image, const struct qcow2_snapshot *more, struct qcow2_range *at);
/* snapshot.c: the fixed part of an entry, and the extra data that we know. */
enum { QCOW2_SNAPSHOT_ENTRY = 40, QCOW2_SNAPSHOT_EXTRA = 24 };
/* Decode the fixed part of an entry, and its extra data, which are already in *snapshot. */
void qcow2_parse_snapshot(const struct qcow2 *s, const uint8_t *entry, struct qcow2_snapshot *snapshot);
void qcow2_free_snapshot(struct qcow2_snapshot *snapshot);
/* The first snapshot with this id (NULL: any) and this name (NULL: any); NULL: none. */
struct qcow2_snapshot *qcow2_find_snapshot(const struct qcow2 *s, const char *id, const char *name);
/* Is the place of its L1 table valid, as far as the entry shows? */
int qcow2_check_snapshot_l1(const struct qcow2 *s, const struct qcow2_snapshot *snapshot, struct img_error *err);
/* Length in bytes of the table on disk. */
uint64_t qcow2_snapshot_table_length(const struct qcow2 *s);
/* Build the table of the snapshots of s for the disk; caller frees.  -EFBIG: too large. */
int qcow2_build_snapshot_table(const struct qcow2 *s, uint8_t **table, uint64_t *length);
/* snapshot/tree.c: add `delta` (+1, -1 or 0) to the refcounts of all that an L1 table in memory refers to, and set
 * or clear the copied flags in its L2 tables (on disk) and in `l1`.  The L2 cache must be empty. */
struct qcow2_tree {
    uint64_t *l1;
    uint32_t entries;
    int delta;
    bool flags;                     /* update the copied flags */
    const uint64_t *only;           /* skip entries that are 0 here; NULL: none */
    IMG_VECTOR(struct qcow2_range) freed;   /* clusters that became free; free(freed.at) */
};
int qcow2_tree_update(struct img *image, struct qcow2_tree *tree);
/* shadow.c: begin flushes.  After it, write tables in place in any order, and allocate nothing.  commit then makes
 * the changes visible, together with s->l1, s->h.size and the snapshot fields of s->h; rollback undoes them.
 * `indexes`: L1 entries whose L2 tables will be written.  Both ends free *shadow; a commit that fails has rolled
 * back. */
struct qcow2_shadow;
int qcow2_shadow_begin(struct img *image, const uint32_t *indexes, size_t count, struct qcow2_shadow **shadow);
int qcow2_shadow_commit(struct img *image, struct qcow2_shadow *shadow);
void qcow2_shadow_rollback(struct img *image, struct qcow2_shadow *shadow);
int qcow2_read_bitmaps(struct img *image, struct img_error *err);
void qcow2_free_bitmap(struct qcow2 *s, struct qcow2_bitmap *bitmap);
void qcow2_free_bitmaps(struct qcow2 *s);
enum { QCOW2_BITMAP_ENTRY = 24 };       /* fixed part of a directory entry */
enum { QCOW2_MAX_BITMAPS = 65535, QCOW2_MAX_BITMAP_DIRECTORY = QCOW2_MAX_BITMAPS * 1024,
       QCOW2_MAX_BITMAP_BYTES = 512 << 20 };
/* Length of the directory entry of a bitmap with this name. */
static inline uint64_t qcow2_bitmap_entry_bytes(const char *name)
{
    return img_align_up(QCOW2_BITMAP_ENTRY + strlen(name), 8);
}
/* Number of clusters of bits for a disk of this size at this granularity. */
uint64_t qcow2_bitmap_clusters(const struct qcow2 *s, unsigned granularity_bits);
/* An entry of a bitmap table: a cluster of bits, or (without a cluster) all bits 0 or 1. */
enum { QCOW2_BITS_ALL_ONES = 1 };
bool qcow2_bitmap_entry_sound(const struct qcow2 *s, uint64_t entry);
/* The table, in host order, caller frees.  -EINVAL: an entry is invalid. */
int qcow2_read_bitmap_table(struct img *image, const struct qcow2_bitmap *bitmap, uint64_t **table);

/* Free it once nothing on disk refers to it; a range beyond the end of the file is damage and is not freed. */
void qcow2_bitmap_trash(struct img *image, uint64_t offset, uint64_t length);
/* Does nothing else use these clusters?  In a damaged image shared clusters must not be written in place. */
bool qcow2_bitmap_alone(struct img *image, uint64_t offset, uint64_t length);

/* bitmap/bits.c: the bits of one bitmap, loaded cluster by cluster, and kept while there is memory. */
int qcow2_bits_load(struct img *image, struct qcow2_bitmap *bitmap);   /* loads the table, no bits yet */
void qcow2_bits_free(struct qcow2 *s, struct qcow2_bitmap *bitmap);
/* Set the bits of a guest range.  Marks the bitmap in use, since this may change the disk. */
int qcow2_bits_set(struct img *image, struct qcow2_bitmap *bitmap, uint64_t offset, uint64_t length);
void qcow2_bits_clear(struct img *image, struct qcow2_bitmap *bitmap);
/* See next of struct img_bitmap_ops. */
int qcow2_bits_next(struct img *image, struct qcow2_bitmap *bitmap, uint64_t offset, uint64_t *start,
                    uint64_t *length);
/* Set all bits that are set in `from`, which has the same granularity; cluster sizes may differ. */
int qcow2_bits_merge(struct img *image, struct qcow2_bitmap *bitmap, struct img *source, struct qcow2_bitmap *from);
/* The disk was `old_size` bytes long: adapt the table to its new size. */
int qcow2_bits_resize(struct img *image, struct qcow2_bitmap *bitmap, uint64_t old_size);
bool qcow2_bits_changed(const struct qcow2_bitmap *bitmap);
/* Write all loaded bits to clusters; the table stays in memory.  Then the table, in host order. */
int qcow2_bits_write(struct img *image, struct qcow2_bitmap *bitmap);
const uint64_t *qcow2_bits_table(const struct qcow2_bitmap *bitmap, uint64_t *entries);
void qcow2_bits_written(struct qcow2_bitmap *bitmap);

/* bitmap/write.c: a guest range is about to change. */
int qcow2_bitmaps_track(struct img *image, uint64_t offset, uint64_t length);
/* Load it and mark it in use on disk, before the first change. */
int qcow2_bitmap_begin(struct img *image, struct qcow2_bitmap *bitmap);
/* Before close: write back changes, and clear the "in use" marks that we set. */
int qcow2_bitmaps_store(struct img *image);
/* Before and after a change of size; before: -EINVAL with *err if one of them is inconsistent. */
int qcow2_bitmaps_before_resize(struct img *image, struct img_error *err);
int qcow2_bitmaps_after_resize(struct img *image, uint64_t old_size);
/* bitmap/edit.c */
extern const struct img_bitmap_ops qcow2_bitmap_ops;
int qcow2_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);

/* The IMG_AT_CREATE options. */
struct qcow2_create_options {
    char *encrypt_format, *encrypt_key_secret;      /* the first, as in qcow2_open_options */
    char *encryption;               /* the older option */
    struct img_luks_options luks;
    int64_t size, cluster_size, refcount_bits, extent_size_hint;
    char *compat, *backing_file, *backing_fmt, *preallocation, *compression_type, *data_file;
    int64_t compression_level, compression_window;
    int8_t lazy_refcounts, extended_l2, data_file_raw, keep_data_file, nocow;
};
/* The cluster size of a new image with these options, if valid. */
int qcow2_cluster_size_of(const struct qcow2_create_options *given, uint64_t *cluster_size, struct img_error *err);

/* create.c: an image being created. */
struct qcow2_new {
    struct qcow2 state;             /* as for an open image; must be first: see stream.c */
    struct img image;
    const struct qcow2_create_options *given;
    const char *name;               /* of the new file; NULL: the image goes to a stream */
    struct img_doc *rest;           /* options for the file below */
    uint64_t size;
    struct img_luks_made crypto;    /* encrypted with LUKS: the header and the first key slot */
    enum qcow2_preallocation preallocation;
};
/* Check all options, and derive the state from them; touches no file.  Call qcow2_new_release after an error, too. */
int qcow2_new_begin(struct qcow2_new *plan, const struct qcow2_create_options *given, struct img_error *err);
/* Build the names and the header (caller frees), to know that they fit before a file is touched. */
int qcow2_new_header(struct qcow2_new *plan, uint8_t **header, struct img_error *err);
void qcow2_new_release(struct qcow2_new *plan);

/* options.c: -EINVAL with "Parameter ... does not accept value ...". */
int qcow2_bad_choice(struct img_error *err, const char *name, const char *value);
/* options.c: choose how clusters are compressed; level and window are -1 if not given. */
int qcow2_choose_coding(uint8_t compression, int64_t level, int64_t window, struct img_codec_how *how,
                        struct img_error *err);

/* The IMG_AT_OPEN options. */
struct qcow2_open_options {
    char *encrypt_format, *encrypt_key_secret;
    int8_t lazy_refcounts, pass_discard_request, pass_discard_snapshot, pass_discard_other, discard_no_unref;
    char *overlap_check, *overlap_template;
    int8_t overlap[QCOW2_SECTIONS];         /* by bit number of enum qcow2_section */
    int64_t cache_size, l2_cache_size, l2_cache_entry_size, refcount_cache_size, cache_clean_interval;
    int64_t compression_level, compression_window;
};

#endif
