/* SPDX-License-Identifier: MIT */
/*
 * Sparse extent headers and the markers of streams as bytes, all little-endian.
 * Specification: "Hosted Sparse Extents" (SparseExtentHeader), "Stream-Optimized Compressed" (markers).
 */
#include "vmdk.h"
#include <string.h>

/* Bytes that a text-mode transfer would change. */
static const uint8_t newline_test[] = { '\n', ' ', '\r', '\n' };

void vmdk_put_header(uint8_t *sector, const struct vmdk_header *header)
{
    memset(sector, 0, VMDK_SECTOR);
    img_put_le32(sector, VMDK_MAGIC);
    img_put_le32(sector + 4, header->version);
    img_put_le32(sector + 8, header->flags);
    img_put_le64(sector + 12, header->capacity);
    img_put_le64(sector + 20, header->grain);
    img_put_le64(sector + 28, header->descriptor);
    img_put_le64(sector + 36, header->descriptor_sectors);
    img_put_le32(sector + 44, header->table_entries);
    img_put_le64(sector + 48, header->redundant_directory);
    img_put_le64(sector + 56, header->directory);
    img_put_le64(sector + 64, header->overhead);
    sector[72] = header->unclean;
    memcpy(sector + 73, newline_test, sizeof newline_test);
    img_put_le16(sector + 77, header->compression);
}

bool vmdk_get_header(const uint8_t *sector, struct vmdk_header *header)
{
    if (img_get_le32(sector) != VMDK_MAGIC)
        return false;
    *header = (struct vmdk_header){
        .version = img_get_le32(sector + 4), .flags = img_get_le32(sector + 8),
        .capacity = img_get_le64(sector + 12), .grain = img_get_le64(sector + 20),
        .descriptor = img_get_le64(sector + 28), .descriptor_sectors = img_get_le64(sector + 36),
        .table_entries = img_get_le32(sector + 44),
        .redundant_directory = img_get_le64(sector + 48), .directory = img_get_le64(sector + 56),
        .overhead = img_get_le64(sector + 64), .unclean = sector[72] != 0,
        .compression = img_get_le16(sector + 77),
    };
    return true;
}

void vmdk_put_marker(uint8_t *sector, enum vmdk_marker type, uint64_t sectors)
{
    memset(sector, 0, VMDK_SECTOR);
    img_put_le64(sector, sectors);
    img_put_le32(sector + 12, type);
}

void vmdk_put_grain_marker(uint8_t *bytes, uint64_t lba, uint32_t length)
{
    img_put_le64(bytes, lba);
    img_put_le32(bytes + 8, length);
}
