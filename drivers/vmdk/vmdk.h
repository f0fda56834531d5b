/* SPDX-License-Identifier: MIT */
/*
 * vmdk.h - state shared by the files of the vmdk driver.
 * Specification: VMware, "Virtual Disk Format 5.0" (section names below are its); for COWD files and markers also
 * the format documentation of libvmdk.
 *
 *   options.c     the option table
 *   header.c      sparse extent header and markers as bytes ("Hosted Sparse Extents", "Stream-Optimized Compressed")
 *   descriptor.c  the descriptor as text: values, extent lines ("The Descriptor File"); encoding.c: its characters
 *   cid.c         content ids: check the parent's, renew our own on the first write; change the backing file
 *   open.c        the vtable, open and close
 *   extent.c      the extents; list.c: those that a descriptor lists; sparse.c, sesparse.c: the headers of sparse ones
 *   walk.c        streams without their end: looks for footer and directory by the markers
 *   table.c       caches grain directories and grain tables
 *   map.c         guest range -> extent of the file that holds it; decode
 *   write.c       reserve, publish, zero; coded.c: the same for compressed grains
 *   stream.c      grains, tables and footer in the order of a stream; pipe.c: into a pipe
 *   forward.c     a stream that comes through a pipe
 *   create.c      new images; plan.c: their options and their descriptor
 *   check.c       consistency check; info.c: format specific information
 */
#ifndef VMDK_H
#define VMDK_H

#include "../../libimg/codec/codec.h"
#include "../../libimg/driver.h"
#include "../../libimg/io/pages.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/vector.h"

#define VMDK_MAGIC 0x564d444bu          /* "KDMV" */
#define VMDK_COWD_MAGIC 0x44574f43u     /* "COWD" */
#define VMDK_SESPARSE_MARK "\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0"  /* magic, version */
#define VMDK_GD_AT_END UINT64_MAX
#define VMDK_NO_PARENT 0xffffffffu      /* parentCID; some programs write 0 */

enum {
    VMDK_SECTOR = 512,
    VMDK_MAX_TABLES = 1 << 25,          /* of an extent: qemu-img's limit */
    VMDK_GRAIN_SECTORS = 128, VMDK_GRAIN = VMDK_GRAIN_SECTORS * VMDK_SECTOR,
    VMDK_GT_ENTRIES = 512, VMDK_GT_SECTORS = 4,
    VMDK_DESCRIPTOR_SECTOR = 1, VMDK_DESCRIPTOR_SECTORS = 20,
    VMDK_GRAIN_MARKER = 12              /* bytes before a compressed grain */
};
/* Flags of a sparse extent header. */
enum { VMDK_NEWLINE_TEST = 1, VMDK_REDUNDANT_GD = 2, VMDK_ZEROED_GRAIN = 4, VMDK_COMPRESSED = 1 << 16,
       VMDK_MARKERS = 1 << 17 };
enum { VMDK_ZEROED_ENTRY = 1 };         /* of a table, if VMDK_ZEROED_GRAIN is set */
enum { VMDK_DEFLATE = 1 };              /* compressAlgorithm: an RFC 1950 stream */
enum vmdk_marker { VMDK_MARKER_END, VMDK_MARKER_TABLE, VMDK_MARKER_DIRECTORY, VMDK_MARKER_FOOTER };

/* ---- header.c ------------------------------------------------------------------ */

struct vmdk_header {                    /* SparseExtentHeader in host byte order; offsets are in sectors */
    uint32_t version, flags;
    uint64_t capacity, grain;
    uint64_t descriptor, descriptor_sectors;
    uint32_t table_entries;
    uint64_t redundant_directory, directory;
    uint64_t overhead;                  /* start of the first grain, or marker */
    bool unclean;
    uint16_t compression;
};
/* Write all 512 bytes. */
void vmdk_put_header(uint8_t *sector, const struct vmdk_header *header);
/* Returns false if the magic does not match. */
bool vmdk_get_header(const uint8_t *sector, struct vmdk_header *header);
/* A marker alone in its sector; `sectors` of metadata follow it. */
void vmdk_put_marker(uint8_t *sector, enum vmdk_marker type, uint64_t sectors);
/* The VMDK_GRAIN_MARKER bytes before the compressed grain of guest sector `lba`. */
void vmdk_put_grain_marker(uint8_t *bytes, uint64_t lba, uint32_t length);

/* ---- An open image ------------------------------------------------------------------ */

enum vmdk_kind { VMDK_FLAT, VMDK_ZERO, VMDK_SPARSE, VMDK_SESPARSE, VMDK_NO_ACCESS };

struct vmdk_extent {
    enum vmdk_kind kind;
    const char *type;                   /* as in the descriptor; "" if it has no line */
    struct img *file;                   /* NULL: ZERO, NO_ACCESS */
    uint64_t start, end;                /* guest bytes */
    uint64_t host;                      /* FLAT: file offset of `start` */
    /* Sparse; offsets are in bytes of the file. */
    uint32_t version;
    uint64_t grain;                     /* bytes, 0: not sparse */
    unsigned entry_size;                /* of tables and directory: 4 or 8 bytes */
    uint32_t table_entries;
    uint64_t tables;                    /* number of directory entries */
    uint64_t directory, redundant;      /* redundant == 0: there is none */
    uint32_t *rebuilt;                  /* the directory, if the file has none; owned.  NULL: in the file */
    uint64_t tables_at, grains_at;      /* SESPARSE: base of the table and grain numbers */
    bool zeroed;                        /* an entry of 1 is a grain of zeroes */
    bool compressed, markers;
    bool at_end;                        /* the directory is named by a footer, not by the header on disk */
    uint64_t next;                      /* end of everything allocated */
    struct img_debt data;               /* writes of data that tables may refer to */
};

struct vmdk {
    IMG_VECTOR(struct vmdk_extent) extents;
    char create_type[128];
    uint32_t cid, parent_cid;
    uint64_t descriptor_at, descriptor_room;    /* in image->file, in bytes; room: maximum length */
    bool embedded;
    bool markers;                       /* compressed grains have markers */
    bool renewed;                       /* the content id was changed since open */
    bool parent_known;                  /* the backing file was compared with parent_cid */
    struct img_pages *pages;            /* directories and tables of all extents */
    struct vmdk_stream *stream;         /* a streamOptimized image being written from front to back */
    struct vmdk_forward *forward;       /* a stream that is read as it comes */
    bool failed;                        /* a grain is missing, so do not write the end */
    bool foreign_text;                  /* the descriptor is in UTF-16, and is not written */
    bool told;                          /* that an extent may not be accessed */
    bool told_changed;                  /* that the parent is another one; atomic */
};

static inline struct vmdk *vmdk_state(const struct img *image)
{
    return image->state;
}

/* The extent that contains a guest offset. */
struct vmdk_extent *vmdk_extent_at(const struct img *image, uint64_t offset);
/* Read metadata: img_pread_padded, but -EIO for an impossible offset. */
int vmdk_read(struct img *file, void *bytes, uint64_t offset, size_t length);

/* descriptor.c: the text is hostile, and ends at its first NUL. */
/* Read at most `room` bytes of the file from `offset`, and append a NUL; caller frees.  *read (or NULL): how many. */
int vmdk_read_text(struct img *file, uint64_t offset, uint64_t room, char **text, size_t *read);
/* The quoted text of the line KEY="...".  If there is none, that after the first KEY= , also within a comment or
 * another key, as in qemu-img.  False: none, or longer than `size` allows. */
bool vmdk_text_value(const char *text, const char *key, char *value, size_t size);
/* The same for a hexadecimal number. */
bool vmdk_text_number(const char *text, const char *key, uint32_t *number);
/* *changed: the text with another content id; caller frees.  NULL: it has none. */
int vmdk_text_with_id(const char *text, uint32_t cid, char **changed);

struct vmdk_lines {
    const char *at;                     /* what is left of the text */
    unsigned number;                    /* of the line before it */
};
struct vmdk_line {                      /* RW 4192256 SPARSE "test-s001.vmdk" 0 */
    char access[11], type[11], name[512];
    int64_t sectors, offset;
    int fields;                         /* how many of the five are present; what follows them is passed over */
    bool known;                         /* false: no extent, and nothing else that may be in a descriptor */
    const char *text;                   /* the line itself */
    size_t length;
};
/* Take the next line of an extent, or the next that is not understood; false: none. */
bool vmdk_next_line(struct vmdk_lines *lines, struct vmdk_line *line);

/* code-page.c: in a build with tables of its own */
/* -ENOTSUP, -EILSEQ: the encoding is unknown, or the name is not in it.  The caller frees the name in UTF-8. */
int vmdk_from_code_page(const char *encoding, const char *name, char **converted);

/* encoding.c */
/* Make it UTF-8 without a byte order mark.  *foreign: it was UTF-16.  -EILSEQ: it is damaged. */
int vmdk_plain_text(char **text, size_t length, bool *foreign);
/* *converted: the name in UTF-8, from the encoding that the descriptor is in; caller frees.  NULL: it is the same.
 * -ENOTSUP, -EILSEQ: the encoding is unknown, or the name is not in it.  `encoding`: its name, "": none. */
int vmdk_name_in_utf8(const char *text, const char *name, char *encoding, size_t size, char **converted);

/* cid.c */
/* Read both ids and the name of the parent from the text.  `given`: the caller names the backing file. */
int vmdk_read_ids(struct img *image, const char *text, bool given, struct img_error *err);
/* Call it before the first change of the content. */
int vmdk_renew_id(struct img *image);
/* Is the backing file the one that the image was made on?  Checked once. */
void vmdk_check_parent(struct img *image);
/* Its content was asked for, and is not given: say why. */
void vmdk_backing_refused(struct img *image);
uint32_t vmdk_new_id(void);
/* Is `candidate` the image whose content id we have as our parent's? */
bool vmdk_is_backing(const struct img *image, const struct img *candidate);

/* extent.c */
/* Open the single extent of a file that begins as a sparse extent. */
int vmdk_open_monolithic(struct img *image, bool backing_given, struct img_error *err);
/* The file is a part of a disk: say which one to open. */
int vmdk_refuse_part(const struct img *image, struct img_error *err);
/* *whole: the descriptor of the disk that a file of this name is a part of, as VMware names them; caller frees.  NULL:
 * it has no such name. */
int vmdk_whole_name(const char *part, char **whole);
/* list.c: open the extents that the descriptor lists; `options`: "extents" from the caller of open, or NULL. */
int vmdk_open_extents(struct img *image, const char *text, const struct img_doc *options, struct img_error *err);
/* Append an extent of `sectors` sectors. */
int vmdk_add_extent(struct img *image, const struct vmdk_extent *extent, uint64_t sectors, struct img_error *err);
/* sparse.c: read the header of a sparse extent, of either kind, into *extent and *sectors; *header: its raw fields,
 * if it is a KDMV one. */
int vmdk_open_sparse(struct img *image, struct vmdk_extent *extent, uint64_t *sectors, struct vmdk_header *header,
                     struct img_error *err);
/* walk.c: the footer is not at the end of the file: find it, or the directory, by the markers from the front on.  Then
 * *header has the place of the directory, or *rebuilt (caller frees) its entries.  -EINVAL: it is not complete. */
int vmdk_walk_stream(struct img *file, struct vmdk_header *header, uint32_t **rebuilt);
/* sesparse.c: the same for a seSparse extent. */
int vmdk_open_sesparse(struct vmdk_extent *extent, uint64_t *sectors, struct img_error *err);
/* The offset of the table of a directory entry, 0: none; the meaning of a table entry.  -EIO: invalid. */
int vmdk_sesparse_table(const struct vmdk_extent *extent, uint64_t entry, uint64_t *table);
int vmdk_sesparse_grain(const struct vmdk_extent *extent, uint64_t entry, enum img_extent_kind *kind, uint64_t *host);

/* table.c: s->pages is written after the data that it refers to. */
int vmdk_open_tables(struct img *image);
/* The offset of the table of grain `index`, 0: none. */
int vmdk_find_table(struct img *image, const struct vmdk_extent *extent, uint64_t index, uint64_t *table);
/* How many grains from `index` on have nothing in one step: by entries of `table`; or, table 0, by those of the directory,
 * from the first grain of that table on.  0: unknown, or there is something. */
uint64_t vmdk_count_empty(struct img *image, const struct vmdk_extent *extent, uint64_t table, uint64_t index);
/* The same, and of the redundant one (*again, 0: none is kept); what is not there is made.  For this and the put below
 * `extent` is sparse with entries of 4 bytes. */
int vmdk_need_tables(struct img *image, struct vmdk_extent *extent, uint64_t index, uint64_t *table, uint64_t *again);
/* The entry of grain `index`, 0 if it has no table; put also writes the redundant table. */
int vmdk_get_entry(struct img *image, const struct vmdk_extent *extent, uint64_t index, uint64_t *entry);
int vmdk_put_entry(struct img *image, struct vmdk_extent *extent, uint64_t index, uint32_t entry);
/* Only grains below this one can have tables: their directory entries are inside the file. */
uint64_t vmdk_known_grains(const struct vmdk_extent *extent);

/* map.c */
/* The meaning of an entry: hole, zeroes, or data or coded bytes at *host.  -EIO: invalid. */
int vmdk_entry_means(const struct vmdk_extent *extent, uint64_t entry, enum img_extent_kind *kind, uint64_t *host);
/* The same for the grain at `index`; a hole if it has no table. */
int vmdk_find_grain(struct img *image, struct vmdk_extent *extent, uint64_t index, enum img_extent_kind *kind,
                    uint64_t *host);
/* Is a flat extent, or the table of that many grains, in the file? */
bool vmdk_flat_is_there(struct img *image, const struct vmdk_extent *extent);
bool vmdk_table_is_there(struct img *image, const struct vmdk_extent *extent, uint64_t table, uint64_t grains);
bool vmdk_directory_is_there(struct img *image, const struct vmdk_extent *extent);
/* The bytes of a grain in the file, without those behind the end of the disk. */
int vmdk_grain_length(struct img *image, const struct vmdk_extent *extent, uint64_t index, enum img_extent_kind kind,
                      uint64_t host, uint64_t *length);
int vmdk_look_for_missing(struct img *image);
int vmdk_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
int vmdk_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length);

/* forward.c */
/* Is the file with this header read by its markers? */
bool vmdk_goes_forward(const struct img *file, const struct vmdk_header *header);
/* The only extent is there; at_end: its directory is not. */
int vmdk_open_forward(struct img *image, const struct vmdk_header *header, struct img_error *err);
int vmdk_map_forward(struct img *image, const struct vmdk_extent *extent, uint64_t end, struct img_extent *run);

/* write.c */
int vmdk_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to);
int vmdk_publish(struct img *image, struct img_reservation *at);
void vmdk_cancel(struct img *image, struct img_reservation *at);
int vmdk_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);

/* coded.c: compressed grains */
int64_t vmdk_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity);
int vmdk_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to);
int vmdk_publish_coded(struct img *image, struct img_reservation *at);
void vmdk_cancel_coded(struct img *image, struct img_reservation *at);
/* Write the end of a stream; an image without grains becomes a stream. */
int vmdk_finish_stream(struct img *image);

int vmdk_create(const struct img_create *request, struct img_error *err);
int vmdk_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err);
int vmdk_info(struct img *image, struct img_doc *data, struct img_error *err);
extern const struct img_driver img_driver_vmdk;

/* ---- plan.c: a new image --------------------------------------------------------- */

enum vmdk_subformat { VMDK_MONOLITHIC_SPARSE, VMDK_MONOLITHIC_FLAT, VMDK_SPLIT_SPARSE, VMDK_SPLIT_FLAT,
                      VMDK_STREAM_OPTIMIZED };

struct vmdk_create_options {
    int64_t size;
    char *adapter_type, *backing_file, *backing_fmt, *hwversion, *toolsversion, *subformat;
    int8_t compat6, zeroed_grain;
};
extern const struct img_option vmdk_options[];

struct vmdk_plan {
    const struct vmdk_create_options *given;
    enum vmdk_subformat subformat;
    uint64_t size;                      /* bytes */
    uint32_t cid, parent_cid;
    const char *hwversion, *adapter, *toolsversion;
    const char *base_name;              /* the part of the name after the last "/", for the extent lines */
};
static inline bool vmdk_is_flat(const struct vmdk_plan *plan)
{
    return plan->subformat == VMDK_MONOLITHIC_FLAT || plan->subformat == VMDK_SPLIT_FLAT;
}

/* Check the options, with qemu-img's order and messages; no file is touched or opened.  cid is random. */
int vmdk_plan(struct vmdk_plan *plan, const struct vmdk_create_options *given, const char *name,
              struct img_error *err);
/* The header of a new, empty sparse extent of `size` bytes. */
void vmdk_plan_header(const struct vmdk_plan *plan, uint64_t size, struct vmdk_header *header);
/* The whole text of the descriptor; `extents`: the lines of the extents, each with its newline.  Caller frees. */
char *vmdk_plan_descriptor(const struct vmdk_plan *plan, const char *extents);

/* ---- stream.c: streamOptimized in the order of a stream ----------------------------- */

/*
 * Layout, in sectors:  0 header (directory GD_AT_END), 1..20 descriptor, zeroes up to 128; then, for each grain
 * table with grains, its grains (marker + zlib stream, padded to a sector), a table marker and the table (4);
 * directory marker and directory; footer marker and footer (the header with the real place of the directory); end
 * marker.  Grains may arrive in any order, but a table that gets more grains after it was written is rewritten in
 * place.  So only grains in disk order make a stream that is written once, from front to back.
 */
struct vmdk_stream {
    /* Write bytes at `offset` of the file.  If grains are in order, calls are in ascending order, without overlap. */
    int (*write)(void *context, const void *bytes, uint64_t offset, size_t length);
    int (*read)(void *context, void *bytes, uint64_t offset, size_t length);   /* NULL: grains arrive in order */
    void *context;
    struct vmdk_header header;
    uint64_t next;                      /* end of what is allocated, in sectors */
    uint32_t *directory;                /* sectors of the tables, 0: none */
    uint64_t tables;                    /* number of its entries */
    uint64_t current;                   /* index of the table in `table`; UINT64_MAX: none */
    bool changed;                       /* it is newer than in the file */
    uint32_t table[VMDK_GT_ENTRIES];
};
/* Fill in the header for a disk of `size` bytes, and allocate the directory.  -ENOMEM. */
int vmdk_stream_init(struct vmdk_stream *stream, uint64_t size);
void vmdk_stream_free(struct vmdk_stream *stream);
/* Write header and descriptor, up to the first grain (sector 128). */
int vmdk_stream_begin(struct vmdk_stream *stream, const char *descriptor);
/*
 * Reserve space for the grain at guest byte `offset`, whose zlib stream has `length` bytes.  The caller writes its
 * marker at *host, then the zlib stream, and zeroes up to the next sector.  If the grain starts another table, the
 * previous one is written.
 */
int vmdk_stream_place(struct vmdk_stream *stream, uint64_t offset, uint32_t length, uint64_t *host);
/* The place of that grain; 0: none. */
int vmdk_stream_find(struct vmdk_stream *stream, uint64_t offset, uint64_t *host);
/* Forget the place of a grain whose write failed. */
int vmdk_stream_drop(struct vmdk_stream *stream, uint64_t offset);
/* Write the rest: table, directory, footer, end.  stream->next is then the length of the file in sectors. */
int vmdk_stream_end(struct vmdk_stream *stream);
/* pipe.c: the driver callbacks for an image that is written in order, on top of it. */
extern const struct img_stream_ops vmdk_stream_ops;

#endif
