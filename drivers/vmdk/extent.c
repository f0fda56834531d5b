/* SPDX-License-Identifier: MIT */
/*
 * The extents of an image: one in the same file as the descriptor, or those that the descriptor lists (list.c).
 * Specification: "The Descriptor File" (extent descriptions).
 */
#include "vmdk.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>
#include <strings.h>

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

/* "#" stands for a digit. */
static bool matches(const char *pattern, const char *text)
{
    for (; *pattern; pattern++, text++) {
        if (*pattern == '#' ? *text < '0' || *text > '9' : *text != *pattern)
            return false;
    }
    return true;
}

/* "disk-flat.vmdk", "disk-s001.vmdk": the suffix before the last dot, as its length; 0: there is none. */
static size_t part_suffix(const char *stem, size_t length)
{
    static const char *const suffixes[] = { "-flat", "-delta", "-sesparse", "-s###", "-f###", "-rdm", "-rdmp" };

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t width = strlen(suffixes[i]);

        if (width < length && stem[length - width - 1] != '/' && matches(suffixes[i], stem + length - width))
            return width;
    }
    return 0;
}

int vmdk_whole_name(const char *part, char **whole)
{
    const char *slash = strrchr(part, '/'), *dot = strrchr(slash ? slash : part, '.');
    size_t length = dot ? (size_t)(dot - part) : 0, suffix = part_suffix(part, length);

    *whole = NULL;
    if (suffix == 0 || strcasecmp(dot, ".vmdk") != 0)
        return 0;
    *whole = img_asprintf("%.*s%s", (int)(length - suffix), part, dot);
    return *whole ? 0 : -ENOMEM;
}

int vmdk_refuse_part(const struct img *image, struct img_error *err)
{
    CLEANUP_FREE char *whole = NULL;

    if (vmdk_whole_name(img_filename(image->file), &whole) < 0)
        return img_error_memory(err);
    if (whole)
        return img_error_set(err, EINVAL, "The file is an extent of a disk: open its descriptor, '%s'", whole);
    return img_error_set(err, EINVAL, "The file is an extent of a disk: open the descriptor that names it");
}

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
        return vmdk_refuse_part(image, err);
    if (extent->version == OLD_COWD_VERSION)
        extent->table_entries = OLD_COWD_TABLE_ENTRIES;
    s->cid = s->parent_cid = VMDK_NO_PARENT;
    s->renewed = true;
    return 0;
}

/* Is it an extent of a split disk?  Some writers keep room for a descriptor in each, so then its name has to say so. */
static bool is_part(const struct img *image, const struct vmdk_header *header, const char *text)
{
    CLEANUP_FREE char *whole = NULL;

    return header->descriptor == 0 || (!*text && vmdk_whole_name(img_filename(image->file), &whole) == 0 && whole);
}

int vmdk_open_monolithic(struct img *image, bool backing_given, struct img_error *err)
{
    struct vmdk *s = vmdk_state(image);
    struct vmdk_extent extent = { .file = image->file, .type = "" };
    struct vmdk_header header = { .version = 0 };
    CLEANUP_FREE char *text = NULL;
    uint64_t sectors;
    int ret = vmdk_open_sparse(image, &extent, &sectors, &header, err);

    if (ret == 0)
        ret = vmdk_add_extent(image, &extent, sectors, err);
    if (ret < 0) {
        free(extent.rebuilt);
        return ret;
    }
    s->embedded = true;
    strcpy(s->create_type, extent.compressed ? "streamOptimized" : "monolithicSparse");
    s->descriptor_at = VMDK_DESCRIPTOR_SECTOR * VMDK_SECTOR;
    s->descriptor_room = VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR;
    ret = vmdk_read_text(image->file, s->descriptor_at, s->descriptor_room, &text, NULL);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read from file '%s'", img_filename(image));
    if (header.grain == 0 && !strstr(text, "CID"))
        return open_bare_cowd(image, &s->extents.at[0], err);
    if (header.descriptor == VMDK_DESCRIPTOR_SECTOR && header.descriptor_sectors &&
        header.descriptor_sectors < VMDK_DESCRIPTOR_SECTORS)
        s->descriptor_room = header.descriptor_sectors * VMDK_SECTOR;
    if (!strstr(text, "CID") && is_part(image, &header, text))
        return vmdk_refuse_part(image, err);
    ret = vmdk_read_ids(image, text, backing_given, err);
    if (ret == 0 && s->extents.at[0].grain && vmdk_goes_forward(image->file, &header))
        ret = vmdk_open_forward(image, &header, err);
    return ret;
}
