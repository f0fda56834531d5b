/* SPDX-License-Identifier: MIT */
/*
 * The block map: in memory by pages, since it may be 2 GiB long.
 */
#include "vdi.h"

enum { PAGE_ENTRIES = 4096, PAGE_BYTES = 4 * PAGE_ENTRIES, MEMORY = 4 << 20, MAX_LOOKED_AT = 16 * PAGE_ENTRIES };

void vdi_open_map(struct img *image)
{
    vdi_state(image)->pages = img_pages_new(image, PAGE_BYTES, MEMORY, vdi_settle);
}

uint32_t vdi_blocks_in_file(const struct img *image)
{
    const struct vdi *s = vdi_state(image);
    uint64_t size = img_size(image->file);

    return size <= s->map_offset ? 0 : (uint32_t)img_min(s->blocks, img_div_up(size - s->map_offset, 4));
}

static int get_page(struct img *image, uint32_t block, uint8_t **bytes)
{
    struct vdi *s = vdi_state(image);

    return img_pages_get(s->pages, s->map_offset + (uint64_t)(block / PAGE_ENTRIES) * PAGE_BYTES, bytes);
}

int vdi_entries(struct img *image, uint32_t block, const uint8_t **entries, uint32_t *count)
{
    uint32_t inside = block % PAGE_ENTRIES;
    uint8_t *bytes;
    int status = get_page(image, block, &bytes);

    if (status < 0)
        return status;
    *entries = bytes + 4 * inside;
    *count = (uint32_t)img_min(PAGE_ENTRIES - inside, vdi_state(image)->blocks - block);
    return 0;
}

int vdi_get_entry(struct img *image, uint32_t block, uint32_t *entry)
{
    const uint8_t *entries;
    uint32_t count;
    int status = vdi_entries(image, block, &entries, &count);

    if (status == 0)
        *entry = img_get_le32(entries);
    return status;
}

int vdi_put_entry(struct img *image, uint32_t block, uint32_t entry)
{
    uint32_t at = 4 * (block % PAGE_ENTRIES);
    uint8_t *bytes;
    int status = get_page(image, block, &bytes);

    if (status < 0)
        return status;
    img_put_le32(bytes + at, entry);
    img_pages_changed(vdi_state(image)->pages, at, 4);
    return 0;
}

/* Does a block with this entry go on with a run that began with `first`, `count` blocks before? */
static bool continues(uint32_t first, uint32_t count, uint32_t entry)
{
    return vdi_has_place(first) ? entry == first + count : !vdi_has_place(entry);
}

int vdi_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct vdi *s = vdi_state(image);
    uint32_t block = (uint32_t)(offset >> VDI_BLOCK_BITS), first = VDI_UNALLOCATED, run = 0, count;
    uint64_t inside = offset & (VDI_BLOCK - 1), wanted = img_min(img_div_up(inside + length, VDI_BLOCK), MAX_LOOKED_AT);
    bool ended = false;

    int status = vdi_get_entry(image, block, &first);
    if (status < 0)
        return status;
    while (!ended && run < wanted) {
        const uint8_t *entries;
        /* What can't be read is told when it is asked for. */
        if (vdi_entries(image, block + run, &entries, &count) < 0)
            break;
        for (uint32_t i = 0; i < count && run < wanted && !ended; i++) {
            ended = !continues(first, run, img_get_le32(entries + 4 * i));
            run += !ended;
        }
    }
    *extent = (struct img_extent){
        .offset = offset, .length = img_min(length, ((uint64_t)run << VDI_BLOCK_BITS) - inside), .kind = IMG_ZERO,
    };
    if (vdi_has_place(first)) {
        extent->kind = IMG_DATA;
        extent->host_valid = true;
        extent->recurse = s->type == VDI_TYPE_STATIC;
        extent->file = image->file;
        extent->host = vdi_place(s, first) + inside;
    }
    return 0;
}
