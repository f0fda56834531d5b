/* SPDX-License-Identifier: MIT */
/*
 * The headers of sparse extents: KDMV (hosted products and streams) and COWD (ESX).
 * Specification: "Hosted Sparse Extents", "ESXi Host Sparse Extents", "Stream-Optimized Compressed"; for COWD also
 * the documentation of libvmdk ("The COWD sparse extent data file").
 */
#include "vmdk.h"
#include <inttypes.h>

enum { MAX_VERSION = 3, COWD_TABLE_ENTRIES = 4096 };
enum { FOOTER_SECTORS = 3 };            /* marker, footer, end of stream */

/* ---- KDMV -------------------------------------------------------------------------------- */

/* Are these the last sectors of a stream? */
static bool is_end(const uint8_t *bytes, struct vmdk_header *header)
{
    const uint8_t *end = bytes + 2 * VMDK_SECTOR;

    return img_get_le32(bytes + 8) == 0 && img_get_le32(bytes + 12) == VMDK_MARKER_FOOTER && img_get_le64(end) == 0 &&
           img_get_le32(end + 8) == 0 && img_get_le32(end + 12) == VMDK_MARKER_END &&
           vmdk_get_header(bytes + VMDK_SECTOR, header);
}

/* Read the footer, whose header has the place of the directory, from the last three sectors of a stream; if it is not
 * there, look for it from the front on. */
static int read_footer(struct vmdk_extent *extent, struct vmdk_header *header, struct img_error *err)
{
    uint8_t bytes[FOOTER_SECTORS * VMDK_SECTOR];
    uint64_t size = img_align_up(img_size(extent->file), VMDK_SECTOR);
    int ret = size < sizeof bytes ? -EINVAL : vmdk_read(extent->file, bytes, size - sizeof bytes, sizeof bytes);
    int walked;

    if (ret == 0 && is_end(bytes, header))
        return 0;
    walked = vmdk_walk_stream(extent->file, header, &extent->rebuilt);
    if (walked == 0)
        return 0;
    if (walked == -ENOMEM)
        return img_error_memory(err);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to read footer");
    img_error_advise(err, "the end of the image is missing, and data with it: get the whole file again");
    return img_error_set(err, EINVAL, "Invalid footer");
}

static int check_header(const struct img *image, const struct vmdk_extent *extent, const struct vmdk_header *header,
                        struct img_error *err)
{
    /* Computed as in qemu-img: in 64 bits, with overflow. */
    uint64_t overhead = header->overhead * VMDK_SECTOR;

    if (header->version > MAX_VERSION)
        return img_error_set(err, ENOTSUP, "Unsupported VMDK version %" PRIu32, header->version);
    if (header->version == MAX_VERSION && image->flags & IMG_RDWR && header->compression != VMDK_DEFLATE)
        return img_error_set(err, EINVAL, "VMDK version 3 must be read only");
    if (header->table_entries > VMDK_GT_ENTRIES)
        return img_error_set(err, EINVAL, "L2 table size too big");
    if ((uint32_t)(header->table_entries * header->grain) == 0)
        return img_error_set(err, EINVAL, "L1 entry size is invalid");
    if (img_size(extent->file) + VMDK_SECTOR - 1 < overhead || (overhead == 0 && header->overhead))
        return img_error_set(err, EINVAL, "File truncated, expecting at least %" PRId64 " bytes", (int64_t)overhead);
    return 0;
}

/* Convert sectors to bytes; an impossible place becomes the maximum, which reads refuse. */
static uint64_t place(uint64_t sector)
{
    uint64_t bytes;

    return img_mul(sector, VMDK_SECTOR, &bytes) ? bytes : UINT64_MAX;
}

static int open_hosted(struct img *image, struct vmdk_extent *extent, uint64_t *sectors,
                       const struct vmdk_header *first, struct img_error *err)
{
    struct vmdk_header header = *first;
    int ret = 0;

    extent->at_end = header.directory == VMDK_GD_AT_END;
    if (extent->at_end && vmdk_goes_forward(extent->file, &header))
        header.directory = header.redundant_directory = 0;      /* they are not needed */
    else if (extent->at_end)
        ret = read_footer(extent, &header, err);
    if (ret == 0)
        ret = check_header(image, extent, &header, err);
    if (ret == 0 && extent->rebuilt && image->flags & IMG_RDWR)
        ret = img_error_set(err, EACCES, "A stream without its grain directory can only be read");
    if (ret < 0)
        return ret;
    *sectors = header.capacity;
    extent->version = header.version;
    extent->grain = place(header.grain);
    extent->entry_size = 4;
    extent->table_entries = header.table_entries;
    extent->tables = extent->grain == UINT64_MAX ? 0 : img_div_up(header.capacity, header.grain * header.table_entries);
    extent->directory = place(header.directory);
    extent->redundant = header.flags & VMDK_REDUNDANT_GD ? place(header.redundant_directory) : 0;
    extent->zeroed = header.flags & VMDK_ZEROED_GRAIN;
    extent->compressed = header.compression == VMDK_DEFLATE;
    extent->markers = header.flags & VMDK_MARKERS;
    return 0;
}

/* ---- COWD ------------------------------------------------------------------------------------ */

static void open_cowd(struct vmdk_extent *extent, uint64_t *sectors, const uint8_t *bytes)
{
    *sectors = img_get_le32(bytes + 12);
    extent->version = img_get_le32(bytes + 4);
    extent->grain = place(img_get_le32(bytes + 16));
    extent->entry_size = 4;
    extent->table_entries = COWD_TABLE_ENTRIES;
    extent->tables = img_get_le32(bytes + 24);
    extent->directory = place(img_get_le32(bytes + 20));
}

int vmdk_open_sparse(struct img *image, struct vmdk_extent *extent, uint64_t *sectors, struct vmdk_header *header,
                     struct img_error *err)
{
    uint8_t bytes[VMDK_SECTOR];
    int ret = vmdk_read(extent->file, bytes, 0, sizeof bytes);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read header from file '%s'", img_filename(extent->file));
    extent->kind = VMDK_SPARSE;
    if (vmdk_get_header(bytes, header))
        return open_hosted(image, extent, sectors, header, err);
    if (img_get_le32(bytes) != VMDK_COWD_MAGIC)
        return img_error_set(err, EINVAL, "Image not in VMDK format");
    open_cowd(extent, sectors, bytes);
    return 0;
}
