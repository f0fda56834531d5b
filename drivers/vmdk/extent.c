/* SPDX-License-Identifier: MIT */
/*
 * The extents of an image: one in the same file as the descriptor, or those that the descriptor lists, each in a
 * file beside it.
 * Specification: "The Descriptor File" (extent descriptions).
 */
#include "vmdk.h"
#include <string.h>

/* Sectors per grain: qemu-img's limit. */
enum { MAX_GRAIN_SECTORS = 1 << 21, OLD_COWD_VERSION = 3, OLD_COWD_TABLE_ENTRIES = 512 };
/* Of any image. */
#define MAX_LENGTH (INT64_MAX - (1ull << 30) + 1)

int vmdk_read(struct img *file, void *bytes, uint64_t offset, size_t length)
{
    return img_within(offset, length, INT64_MAX) ? img_pread_padded(file, bytes, offset, length) : -EIO;
}

struct vmdk_extent *vmdk_extent_at(const struct img *image, uint64_t offset)
{
    const struct vmdk *s = vmdk_state(image);
    size_t low = 0, high = s->extents.count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->extents.at[middle].start <= offset)
            low = middle;
        else
            high = middle;
    }
    return &s->extents.at[low];
}

static int check_sparse(const struct vmdk_extent *extent, struct img_error *err)
{
    uint64_t directory_end;

    if (extent->grain == 0 || extent->grain > (uint64_t)MAX_GRAIN_SECTORS * VMDK_SECTOR)
        return img_error_set(err, EFBIG, "Invalid granularity, image may be corrupt");
    if (extent->tables > VMDK_MAX_TABLES)
        return img_error_set(err, EFBIG, "L1 size too big");
    if (!img_add(extent->directory, extent->tables * extent->entry_size, &directory_end) || directory_end > INT64_MAX)
        return img_error_errno(err, EIO, "Could not read l1 table from extent '%s'", img_filename(extent->file));
    if (!img_add(extent->redundant, extent->tables * extent->entry_size, &directory_end) || directory_end > INT64_MAX)
        return img_error_errno(err, EIO, "Could not read l1 backup table from extent '%s'",
                               img_filename(extent->file));
    return 0;
}

int vmdk_add_extent(struct img *image, const struct vmdk_extent *extent, uint64_t sectors, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent added = *extent;
    uint64_t length;
    int ret = extent->grain || extent->kind == VMDK_SPARSE ? check_sparse(extent, err) : 0;

    if (ret < 0)
        return ret;
    added.start = image->size;
    if (!img_mul(sectors, VMDK_SECTOR, &length) || !img_add(added.start, length, &added.end) || added.end > MAX_LENGTH)
        return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    added.next = added.file ? img_size(added.file) : 0;
    image->size = added.end;
    return IMG_VECTOR_PUSH(&s->extents, added) ? 0 : img_error_memory(err);
}

/* ---- One file ------------------------------------------------------------------------------- */

/*
 * Open an ESX extent without its descriptor.  It could be the delta of a snapshot, whose holes are not zeroes, and
 * nothing in it names the parent.  So open it only if it says that it is a complete disk.
 */
static int open_bare_cowd(struct img *image, struct vmdk_extent *extent, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    uint8_t geometry[12];
    int ret = vmdk_read(image->file, geometry, 32, sizeof geometry);
    uint32_t heads = img_get_le32(geometry + 4), sectors = img_get_le32(geometry + 8);

    if (ret < 0 || img_get_le32(geometry) == 0 || heads == 0 || heads > 255 || sectors == 0 || sectors > 63)
        return img_error_errno(err, EINVAL, "Could not open '%s'", img_filename(image));
    if (extent->version == OLD_COWD_VERSION)
        extent->table_entries = OLD_COWD_TABLE_ENTRIES;
    s->cid = s->parent_cid = VMDK_NO_PARENT;
    s->renewed = true;
    return 0;
}

int vmdk_open_monolithic(struct img *image, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent extent = { .file = image->file, .type = "" };
    struct vmdk_header header = { .version = 0 };
    CLEANUP_FREE char *text = NULL;
    uint64_t sectors;
    int ret = vmdk_open_sparse(image, &extent, &sectors, &header, err);

    if (ret < 0 || (ret = vmdk_add_extent(image, &extent, sectors, err)) < 0)
        return ret;
    s->embedded = true;
    strcpy(s->create_type, extent.compressed ? "streamOptimized" : "monolithicSparse");
    s->descriptor_at = VMDK_DESCRIPTOR_SECTOR * VMDK_SECTOR;
    s->descriptor_room = VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR;
    ret = vmdk_read_text(image->file, s->descriptor_at, s->descriptor_room, &text);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read from file '%s'", img_filename(image));
    if (header.grain == 0 && !strstr(text, "CID"))
        return open_bare_cowd(image, &s->extents.at[0], err);
    if (header.descriptor == VMDK_DESCRIPTOR_SECTOR && header.descriptor_sectors &&
        header.descriptor_sectors < VMDK_DESCRIPTOR_SECTORS)
        s->descriptor_room = header.descriptor_sectors * VMDK_SECTOR;
    ret = vmdk_read_ids(image, text, err);
    if (ret == 0 && s->extents.at[0].grain && vmdk_goes_forward(image->file, &header))
        ret = vmdk_open_forward(image, &header, err);
    return ret;
}

/* ---- Separate files ----------------------------------------------------------------------------- */

static const char *known_type(const char *type)
{
    static const char *const types[] = { "FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", "ZERO" };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i]) == 0)
            return types[i];
    }
    return NULL;
}

/* Does the line have all fields of its type, and can the type be read? */
static bool is_whole(const struct vmdk_line *line, const char *type)
{
    if (line->sectors < 0)
        return false;
    if (strcmp(type, "ZERO") == 0)
        return line->fields >= 3;
    if (strcmp(type, "FLAT") == 0)
        return line->fields == 5 && line->offset >= 0;
    return line->fields == 4;
}

static int check_line(const struct img *image, const struct vmdk_line *line, const char *text, size_t length,
                      struct img_error *err)
{
    const char *type = known_type(line->type);

    if (!type && line->fields >= 4)
        return img_error_set(err, ENOTSUP, "Unsupported extent type '%s'", line->type);
    if (!type || !is_whole(line, type))
        return img_error_set(err, EINVAL, "Invalid extent line: %.*s", (int)length, text);
    if (strcmp(line->access, "NOACCESS") == 0)
        return img_error_set(err, EACCES, "Extent '%s' may not be accessed", line->name);
    if (strcmp(line->access, "RDONLY") == 0 && image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "Extent '%s' is read-only", line->name);
    return 0;
}

/* The options given for extent number `index`, or NULL. */
static const struct img_doc *options_of(const struct img_doc *options, size_t index)
{
    char key[24];

    snprintf(key, sizeof key, "%zu", index);
    return options && img_doc_type(options) == IMG_DOC_OBJECT ? img_doc_get(options, key) : NULL;
}

static int open_line(struct img *image, const struct vmdk_line *line, const struct img_doc *options,
                     struct img_error *err)
{
    struct vmdk_extent extent = { .type = known_type(line->type) };
    uint64_t sectors = (uint64_t)line->sectors;
    struct vmdk_header header;
    int ret;

    if (strcmp(extent.type, "ZERO") == 0) {
        extent.kind = VMDK_ZERO;
        return vmdk_add_extent(image, &extent, sectors, err);
    }
    ret = img_open_extent(image, line->name, options_of(options, image->extent_count), err);
    if (ret < 0)
        return ret;
    extent.file = image->extents[image->extent_count - 1];
    if (strcmp(extent.type, "SESPARSE") == 0) {
        extent.kind = VMDK_SESPARSE;
        ret = vmdk_open_sesparse(&extent, &sectors, err);
        if (ret == 0 && image->flags & IMG_RDWR)
            ret = img_error_set(err, EACCES, "No write support for seSparse images available");
    } else if (strcmp(extent.type, "FLAT") == 0 || strcmp(extent.type, "VMFS") == 0) {
        if (!img_mul((uint64_t)line->offset, VMDK_SECTOR, &extent.host) || extent.host > MAX_LENGTH)
            return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    } else {
        header.descriptor = 0;
        ret = vmdk_open_sparse(image, &extent, &sectors, &header, err);
        /* Without sectors it only carries a descriptor, and an extent must not have one. */
        if (ret == 0 && sectors == 0 && header.descriptor)
            ret = img_error_set(err, EINVAL, "invalid VMDK image descriptor");
    }
    return ret < 0 ? ret : vmdk_add_extent(image, &extent, sectors, err);
}

int vmdk_open_extents(struct img *image, const char *text, const struct img_doc *options, struct img_error *err)
{
    struct vmdk_line line;
    const char *at = text, *where;
    size_t length;

    while (vmdk_next_line(&at, &line, &where, &length)) {
        int ret = check_line(image, &line, where, length, err);

        if (ret == 0 && line.sectors > 0)
            ret = open_line(image, &line, options, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}
