/* SPDX-License-Identifier: MIT */
/* The block map, cached by pages, since it may be 2 GiB long. */
#include "vdi.h"
#include "../../libimg/io/entries.h"

enum { ENTRY = 4, PAGE_ENTRIES = 4096, MEMORY = 4 << 20 };

int vdi_open_map(struct img *image)
{
    vdi_state(image)->pages = img_pages_new(image, ENTRY * PAGE_ENTRIES, MEMORY, vdi_settle);
    return vdi_state(image)->pages ? 0 : -ENOMEM;
}

uint32_t vdi_blocks_in_file(const struct img *image)
{
    const struct vdi *s = vdi_state(image);
    uint64_t size = img_size(image->file);

    return size <= s->map_offset ? 0 : (uint32_t)img_min(s->blocks, img_div_up(size - s->map_offset, 4));
}

static int find_entry(struct img *image, uint32_t block, uint8_t **entry)
{
    const struct vdi *s = vdi_state(image);

    return img_pages_entry(s->pages, s->map_offset, (uint64_t)block * ENTRY, entry);
}

int vdi_entries(struct img *image, uint32_t block, const uint8_t **entries, uint32_t *count)
{
    uint8_t *first;
    int status = find_entry(image, block, &first);

    if (status < 0)
        return status;
    *entries = first;
    *count = (uint32_t)img_min(PAGE_ENTRIES - block % PAGE_ENTRIES, vdi_state(image)->blocks - block);
    return 0;
}

int vdi_get_entry(struct img *image, uint32_t block, uint32_t *value)
{
    const struct vdi *s = vdi_state(image);
    uint8_t *entry;
    int status = img_pages_look(s->pages, s->map_offset, (uint64_t)block * ENTRY, &entry);

    if (status == 0)
        *value = img_get_le32(entry);
    return status;
}

int vdi_put_entry(struct img *image, uint32_t block, uint32_t value)
{
    uint8_t *entry;
    int status = find_entry(image, block, &entry);

    if (status < 0)
        return status;
    img_put_le32(entry, value);
    img_pages_entry_changed(vdi_state(image)->pages, entry, ENTRY);
    return 0;
}

/* How many bytes of a block are on the disk? */
static uint64_t block_length(const struct img *image, uint32_t block)
{
    uint64_t start = (uint64_t)block << VDI_BLOCK_BITS;

    return start < image->size ? img_min(VDI_BLOCK, image->size - start) : 0;
}

bool vdi_block_is_there(struct img *image, uint32_t block, uint32_t entry)
{
    return !vdi_has_place(entry) ||
           img_has_bytes(image, image->file, vdi_place(vdi_state(image), entry), block_length(image, block));
}

int vdi_look_for_missing(struct img *image)
{
    const struct vdi *s = vdi_state(image);
    const uint8_t *entries;
    uint32_t count;

    if (!img_has_bytes(image, image->file, s->map_offset, (uint64_t)s->blocks * ENTRY))
        return -IMG_ETRUNCATED;
    for (uint32_t block = 0; block < s->blocks; block += count) {
        int status = vdi_entries(image, block, &entries, &count);
        if (status < 0)
            return status;
        for (uint32_t i = 0; i < count; i++)
            vdi_block_is_there(image, block + i, img_get_le32(entries + 4 * i));
    }
    return 0;
}

static int look(struct img *image, uint64_t table, uint64_t guest, struct img_extent *block)
{
    const struct vdi *s = vdi_state(image);
    uint32_t entry = VDI_UNALLOCATED, index = (uint32_t)(guest >> VDI_BLOCK_BITS);
    int status = index < s->blocks ? vdi_get_entry(image, index, &entry) : 0;

    (void)table;
    if (status == 0 && index < s->blocks)
        status = img_check_table(image, image->file, s->map_offset + (guest >> VDI_BLOCK_BITS) * ENTRY, ENTRY);
    if (status < 0)
        return status;
    /* What is discarded reads as zeroes, but what was never written is the parent's. */
    block->kind = s->differencing && entry == VDI_UNALLOCATED ? IMG_HOLE : IMG_ZERO;
    if (!vdi_has_place(entry))
        return 0;
    block->kind = IMG_DATA;
    block->host_valid = true;
    block->recurse = s->type == VDI_TYPE_STATIC;
    block->file = image->file;
    block->host = vdi_place(s, entry) + (guest & (VDI_BLOCK - 1));
    return 0;
}

int vdi_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    static const struct img_entries entries = { .unit = VDI_BLOCK, .look = look };

    return img_map_entries(image, &entries, offset, length, extent);
}
