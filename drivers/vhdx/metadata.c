/* SPDX-License-Identifier: MIT */
/* metadata.c - the metadata table and its items.  [MS-VHDX] 2.6 "Metadata Region". */
#include "vhdx.h"

/* GUIDs as stored: the first three fields are little-endian. */
const uint8_t vhdx_bat_guid[VHDX_GUID] = {
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08
};
const uint8_t vhdx_metadata_guid[VHDX_GUID] = {
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e
};

enum item { FILE_PARAMETERS, DISK_SIZE, PAGE_83, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR, ITEMS };

static const struct { uint8_t guid[VHDX_GUID]; uint32_t length, flags; } items[ITEMS] = {
    { { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b }, 8,
      VHDX_ITEM_REQUIRED },
    { { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 }, 8,
      VHDX_ITEM_REQUIRED | VHDX_ITEM_DISK },
    { { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 }, 16,
      VHDX_ITEM_REQUIRED | VHDX_ITEM_DISK },
    { { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f }, 4,
      VHDX_ITEM_REQUIRED | VHDX_ITEM_DISK },
    { { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 }, 4,
      VHDX_ITEM_REQUIRED | VHDX_ITEM_DISK },
    { { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c }, 0,
      VHDX_ITEM_REQUIRED }
};

struct table {
    bool found[ITEMS];
    uint64_t place[ITEMS];          /* in the file */
    uint32_t length[ITEMS];         /* as stored */
};

static int take_entry(struct vhdx *s, const uint8_t *entry, struct table *table)
{
    for (int i = 0; i < ITEMS; i++) {
        if (memcmp(entry, items[i].guid, VHDX_GUID) != 0)
            continue;
        if (table->found[i])
            return -EINVAL;
        table->found[i] = true;
        table->place[i] = s->metadata_offset + img_get_le32(entry + 16);
        table->length[i] = img_get_le32(entry + 20);
        return 0;
    }
    return img_get_le32(entry + 24) & VHDX_ITEM_REQUIRED ? -ENOTSUP : 0;
}

static int read_table(struct img *image, struct table *table)
{
    struct vhdx *s = vhdx_state(image);
    CLEANUP_FREE uint8_t *bytes = malloc(VHDX_TABLE_BYTES);
    int ret = bytes ? vhdx_read(image, bytes, s->metadata_offset, VHDX_TABLE_BYTES) : -ENOMEM;

    if (ret < 0)
        return ret;
    if (memcmp(bytes, "metadata", 8) != 0 || img_get_le16(bytes + 10) > VHDX_MAX_ENTRIES)
        return -EINVAL;
    for (unsigned i = 0; ret == 0 && i < img_get_le16(bytes + 10); i++)
        ret = take_entry(s, bytes + (i + 1) * VHDX_TABLE_ENTRY, table);
    for (int i = 0; ret == 0 && i < PARENT_LOCATOR; i++)
        ret = table->found[i] ? 0 : -ENOTSUP;
    return ret;
}

static int read_item(struct img *image, const struct table *table, enum item item, uint8_t bytes[8])
{
    memset(bytes, 0, 8);
    return vhdx_read(image, bytes, table->place[item], items[item].length);
}

static int read_items(struct img *image, const struct table *table)
{
    struct vhdx *s = vhdx_state(image);
    uint8_t parameters[8], size[8], logical[8], physical[8];
    int ret;

    if ((ret = read_item(image, table, FILE_PARAMETERS, parameters)) < 0 ||
        (ret = read_item(image, table, DISK_SIZE, size)) < 0 ||
        (ret = read_item(image, table, LOGICAL_SECTOR, logical)) < 0 ||
        (ret = read_item(image, table, PHYSICAL_SECTOR, physical)) < 0 ||
        (ret = vhdx_read(image, s->disk_id, table->place[PAGE_83], VHDX_GUID)) < 0)
        return ret;
    s->block_size = img_get_le32(parameters);
    s->keeps_blocks = img_get_le32(parameters + 4) & VHDX_LEAVE_ALLOCATED;
    s->differencing = img_get_le32(parameters + 4) & VHDX_HAS_PARENT;
    s->disk_size = img_get_le64(size);
    s->size_place = table->place[DISK_SIZE];
    s->logical_sector = img_get_le32(logical);
    s->physical_sector = img_get_le32(physical);
    return 0;
}

/* The locator of a differencing disk. */
static int read_parent(struct img *image, const struct table *table, struct img_error *err)
{
    CLEANUP_FREE uint8_t *bytes = NULL;
    size_t length = table->length[PARENT_LOCATOR];
    int ret;

    if (!table->found[PARENT_LOCATOR] || length > VHDX_MIB)
        return img_error_set(err, EINVAL, "VHDX image has a parent, but no parent locator");
    image->has_parent = true;
    bytes = malloc(length + 1);
    ret = bytes ? vhdx_read(image, bytes, table->place[PARENT_LOCATOR], length) : -ENOMEM;
    if (ret == 0)
        ret = vhdx_read_locator(image, bytes, length);
    return ret == -EINVAL ? img_error_set(err, EINVAL, "VHDX parent locator is not valid") : ret;
}

/* Without a parent the table ends with the last block, else with the bitmap of the last chunk. */
uint64_t vhdx_bat_entries(const struct vhdx *s, uint64_t blocks)
{
    uint64_t chunks = (blocks + (1ull << s->ratio_bits) - 1) >> s->ratio_bits;

    if (s->differencing)
        return chunks * ((1ull << s->ratio_bits) + 1);
    /* (32 bits wide even without blocks: images from qemu-img have a table of that size) */
    return blocks + ((uint32_t)(blocks - 1) >> s->ratio_bits);
}

static int check_items(struct vhdx *s)
{
    if (s->logical_sector != 512 && s->logical_sector != 4096)
        return -ENOTSUP;
    if (!img_power_of_two(s->block_size) || s->block_size < VHDX_MIN_BLOCK || s->block_size > VHDX_MAX_BLOCK)
        return -EINVAL;
    if (s->disk_size > VHDX_MAX_SIZE)
        return -EINVAL;
    s->block_bits = (unsigned)__builtin_ctz(s->block_size);
    s->ratio_bits = VHDX_CHUNK_BITS + (unsigned)__builtin_ctz(s->logical_sector) - s->block_bits;
    s->blocks = img_div_up(s->disk_size, s->block_size);
    s->entries = vhdx_bat_entries(s, s->blocks);
    return s->entries * 8 > s->bat_length ? -EINVAL : 0;
}

int vhdx_read_metadata(struct img *image, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    struct table table = { .found = { false } };
    int ret = read_table(image, &table);

    if (ret == 0)
        ret = read_items(image, &table);
    if (ret == 0 && table.found[PARENT_LOCATOR] && !s->differencing)
        return img_error_set(err, EINVAL, "VHDX image has a parent locator, but no parent");
    if (ret == 0)
        ret = check_items(s);
    if (ret == 0 && s->differencing)
        ret = read_parent(image, &table, err);
    return ret == 0 || err->text ? ret : vhdx_refuse(image, -ret, err);
}

/* ---- New images --------------------------------------------------------------------- */

static void put_item(const struct vhdx *s, enum item item, uint8_t *at)
{
    switch (item) {
    case FILE_PARAMETERS:
        img_put_le32(at, s->block_size);
        img_put_le32(at + 4, (s->keeps_blocks ? VHDX_LEAVE_ALLOCATED : 0u) | (s->differencing ? VHDX_HAS_PARENT : 0u));
        break;
    case DISK_SIZE:
        img_put_le64(at, s->disk_size);
        break;
    case PAGE_83:
        memcpy(at, s->disk_id, VHDX_GUID);
        break;
    case PHYSICAL_SECTOR:
        img_put_le32(at, s->physical_sector);
        break;
    default:
        img_put_le32(at, s->logical_sector);
    }
}

void vhdx_build_metadata(const struct vhdx *s, const uint8_t *locator, size_t locator_length, uint8_t *table)
{
    uint32_t place = VHDX_TABLE_BYTES;
    int count = locator ? ITEMS : PARENT_LOCATOR;

    memcpy(table, "metadata", 8);
    img_put_le16(table + 10, (uint16_t)count);
    for (int i = 0; i < count; i++) {
        uint8_t *entry = table + (i + 1) * VHDX_TABLE_ENTRY;
        uint32_t length = i == PARENT_LOCATOR ? (uint32_t)locator_length : items[i].length;
        memcpy(entry, items[i].guid, VHDX_GUID);
        img_put_le32(entry + 16, place);
        img_put_le32(entry + 20, length);
        img_put_le32(entry + 24, items[i].flags);
        if (i == PARENT_LOCATOR)
            memcpy(table + place, locator, locator_length);
        else
            put_item(s, (enum item)i, table + place);
        place += length;
    }
}
