/* SPDX-License-Identifier: MIT */
/*
 * parallels.h - state shared by the files of the parallels driver.
 * Specification: "Parallels Expandable Image File Format" (docs/interop/parallels of the QEMU documentation); for the
 * bundles "Parallels Disk Format" (docs/interop/prl-xml).
 *
 *   open.c       the vtable, options, open, close
 *   header.c     the header: read, validate, mark as in use
 *   bat.c        the block allocation table (BAT): guest cluster -> place in the file
 *   space.c      allocation, and the length of the file
 *   map.c        guest range -> extent; writes, zeroes, discards
 *   check.c      check and repair
 *   extension.c  the format extension: dirty bitmaps
 *   create.c     new images
 *   bundle.c     a folder with DiskDescriptor.xml; descriptor.c: its content; xml.c: its syntax
 *
 * "Place" is the file offset of a cluster.
 */
#ifndef PARALLELS_H
#define PARALLELS_H

#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/vector.h"

#define PARALLELS_DESCRIPTOR "DiskDescriptor.xml"
#define PARALLELS_ROOT "Parallels_disk_image"
#define PARALLELS_IN_USE 0x746f6e59u
#define PARALLELS_CLOSED 0x312e3276u
/* For any disk, as in qemu-img. */
#define PARALLELS_MAX_SIZE (INT64_MAX - (1ull << 30) + 1)

enum { PARALLELS_SECTOR = 512, PARALLELS_HEADER = 64 };
enum { PARALLELS_MAX_TRACKS = 0x7fffffff / 513, PARALLELS_MAX_ENTRIES = 0x7fffffff / 4 };

/* Fields of the header. */
enum {
    PARALLELS_AT_VERSION = 16, PARALLELS_AT_HEADS = 20, PARALLELS_AT_CYLINDERS = 24, PARALLELS_AT_TRACKS = 28,
    PARALLELS_AT_ENTRIES = 32, PARALLELS_AT_SECTORS = 36, PARALLELS_AT_IN_USE = 44, PARALLELS_AT_DATA_OFF = 48,
    PARALLELS_AT_FLAGS = 52, PARALLELS_AT_EXT_OFF = 56
};

/* One expandable image file. */
struct parallels {
    struct img *file;
    uint8_t header[PARALLELS_HEADER];   /* as on disk */
    bool wide;                      /* "WithouFreSpacExt": the BAT counts clusters, otherwise sectors */
    uint32_t entries;               /* of the BAT */
    uint64_t cluster;               /* bytes; any multiple of a sector */
    uint64_t size;                  /* of the disk, bytes */
    uint64_t table_end;             /* smallest valid data offset */
    uint64_t data_start;            /* the data offset, corrected if needed */
    bool bad_data_off, unclean;     /* the header must be repaired */
    uint64_t extension;             /* offset of the format extension; 0: none */
    struct img_pages *bat;
    uint64_t changed_from, changed_to;  /* bytes of the table that are newer in memory; empty when equal */
    uint64_t changes;               /* how often entries changed */
    uint64_t known_from, known_to;  /* there the file is known to have data, or a hole */
    bool known_hole;

    /* Writing. */
    bool changing;                  /* marked as in use on disk, by us */
    uint64_t grid;                  /* allocated clusters are at multiples of `cluster` from here on */
    uint64_t **used;                /* one bit per place, set if used */
    uint64_t used_pieces;
    uint64_t first_free;            /* no place before is free */
    uint64_t data_end;              /* end of the last cluster */
    uint64_t fresh;                 /* from here on the file was never written */
    bool given_back;                /* the BAT on disk still refers to places that are free in memory */
    struct img_debt reused;         /* used places that were zeroed to be allocated again: the table must not refer to
                                     * them before */
    uint64_t reserve;               /* bytes by which the file grows ahead of the data */
    bool truncate;                  /* ... without allocating storage for them */
};

extern const struct img_driver img_driver_parallels;
struct parallels_bundle;

struct parallels_image {
    struct parallels disk;
    struct parallels_bundle *bundle;    /* NULL: the image is one file */
};

static inline struct parallels *parallels_disk(const struct img *image)
{
    return &((struct parallels_image *)image->state)->disk;
}

/* Bytes per unit of a BAT entry. */
static inline uint64_t parallels_unit(const struct parallels *p)
{
    return p->wide ? p->cluster : PARALLELS_SECTOR;
}

/* header.c -------------------------------------------------------------------- */
/* Read and validate the header of p->file, a file below `image`.  Ignores the BAT. */
int parallels_read_header(struct parallels *p, struct img *image, struct img_error *err);
/* Before the first change: durably mark the image as in use, and remove what the change invalidates. */
int parallels_begin_change(struct parallels *p);
/* At close, when everything is durable: clear the in-use mark. */
int parallels_end_change(struct parallels *p);
void parallels_set_data_start(struct parallels *p, uint64_t start);

/* bat.c ------------------------------------------------------------------------- */
/* `image`: its lock is held when the table is used. */
int parallels_bat_open(struct parallels *p, struct img *image);
/* The place of a guest cluster, 0: none. */
int parallels_bat_get(struct parallels *p, uint32_t index, uint64_t *place);
int parallels_bat_put(struct parallels *p, uint32_t index, uint64_t place);
/* Find the first allocated cluster from `from` on, before `to`.  Returns 1 if found; 0 if not, with *index == `to`;
 * IMG_LOOK_AGAIN if there is none up to *index. */
int parallels_bat_next(struct parallels *p, uint32_t from, uint32_t to, uint32_t *index, uint64_t *place);
/* What has changed of the table.  `aside`: for a flush, as img_pages_write_aside. */
int parallels_bat_write(struct parallels *p, bool aside);

/* space.c ------------------------------------------------------------------------ */
/*
 * Find the used places from the BAT.  `twice` (may be NULL) is called for each cluster whose place is already in
 * use.
 */
typedef void parallels_twice_fn(void *context, uint32_t index);
int parallels_find_used(struct parallels *p, parallels_twice_fn *twice, void *context);
void parallels_forget_used(struct parallels *p);
/* Allocate up to *count clusters in a row, at least one; they read as zeroes. */
int parallels_allocate(struct parallels *p, uint64_t *count, uint64_t *place);
void parallels_give_back(struct parallels *p, uint64_t place, uint64_t count);
/* The end of a file without clusters; as in qemu-img, a zero entry counts as one at the start. */
uint64_t parallels_empty_end(const struct parallels *p);
/* Is that cluster completely inside the file, and after the table? */
bool parallels_inside(const struct parallels *p, uint64_t place);
/* Truncate the file after its last cluster. */
int parallels_trim(struct parallels *p);

/* map.c -------------------------------------------------------------------------- */
/* Map the disk in *p; `offset` in `extent` is that of the caller. */
/* See look_for_missing of the driver. */
int parallels_look_for_missing(struct img *image, struct parallels *p);
int parallels_map_disk(struct parallels *p, uint64_t offset, uint64_t length, struct img_extent *extent);
int parallels_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int parallels_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int parallels_discard(struct img *image, uint64_t offset, uint64_t length);
int parallels_flush(struct img *image);

/* check.c ------------------------------------------------------------------------ */
int parallels_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);
/* Before the first write: repair what must be repaired, and find the used places. */
int parallels_make_sound(struct img *image, struct img_error *err);

/* extension.c -------------------------------------------------------------------- */
int parallels_read_extension(struct parallels *p, bool writable, struct img_error *err);

/* create.c ------------------------------------------------------------------------- */
struct parallels_create_options {
    int64_t size, cluster_size;
};
int parallels_create(const struct img_create *request, struct img_error *err);

/* descriptor.c ---------------------------------------------------------------------- */
/* Sectors [start, end) of the disk, in one file. */
struct parallels_part {
    uint64_t start, end, block;
    unsigned images;                /* more than one: the disk has snapshots */
    char *type, *file;
};

struct parallels_descriptor {
    uint64_t sectors, padding;
    char *version, *engine;         /* engine: of the encryption */
    unsigned snapshots;
    IMG_VECTOR(struct parallels_part) parts;
};

/* Free it after an error, too. */
int parallels_parse_descriptor(const char *text, size_t length, struct parallels_descriptor *found,
                               struct img_error *err);
void parallels_free_descriptor(struct parallels_descriptor *descriptor);

/* xml.c ---------------------------------------------------------------------------------- */
/*
 * Calls back for each element and its text, in order.  `path` is that of the element: "a/b/c".  Entities and
 * document types, which a hostile text could abuse, are refused.
 */
enum parallels_xml_event { PARALLELS_XML_OPEN, PARALLELS_XML_CLOSE };
struct parallels_xml_handler {
    /* OPEN: `text` is the raw attributes; CLOSE: the text of the element, without surrounding blanks. */
    int (*event)(void *context, enum parallels_xml_event event, const char *path, const char *text,
                 struct img_error *err);
    void *context;
};
int parallels_read_xml(const char *text, size_t length, const struct parallels_xml_handler *handler,
                       struct img_error *err);

/* bundle.c --------------------------------------------------------------------------- */
/* image->file is the descriptor; sets image->size, and image->extents to the files. */
int parallels_open_bundle(struct img *image, struct parallels_bundle **bundle, struct img_error *err);
void parallels_free_bundle(struct parallels_bundle *bundle);
int parallels_look_at_bundle(struct img *image, struct parallels_bundle *bundle);
int parallels_map_bundle(struct parallels_bundle *bundle, uint64_t offset, uint64_t length,
                         struct img_extent *extent);

#endif
