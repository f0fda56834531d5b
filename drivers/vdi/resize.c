/* SPDX-License-Identifier: MIT */
/*
 * A larger disk needs a longer block map.  It grows where it is, if there is room before the blocks.  Otherwise the first
 * blocks of the file move to its end, and the new map is written to where they were: the old one stays as it is until one
 * write of the header, which is a sector, names the new map, the new place of block 0, and the new size.
 *
 * So a killed process leaves the old disk or the new one.  The entries of moved blocks may be larger than the old count of
 * blocks for a moment, which check reports; the next resize goes on from there.
 */
#include "vdi.h"

enum { ENTRY = 4, CHUNK_ENTRIES = 16 << 10 };

struct layout {
    uint64_t size, map, data;
    uint32_t blocks;
    uint32_t shift;                 /* how much lower the numbers of blocks become */
    uint32_t next;                  /* static: where the first new block goes; in new numbers */
};

/* What the map refers to. */
struct usage {
    uint32_t end;                   /* of all places */
    uint32_t low;                   /* blocks with a place below `limit` */
    uint32_t limit;
};

/* Look at all entries; the last one counts of those with the same place. */
static int look_at_map(struct img *image, struct usage *usage, struct img_error *err)
{
    struct vdi *s = vdi_state(image);
    const uint8_t *entries;
    uint32_t count;

    for (uint32_t block = 0; block < s->blocks; block += count) {
        int status = vdi_entries(image, block, &entries, &count);
        if (status < 0)
            return img_error_errno(err, -status, "Could not read the block map");
        for (uint32_t i = 0; i < count; i++) {
            uint32_t place = img_get_le32(entries + ENTRY * i);
            if (!vdi_has_place(place))
                continue;
            if (place >= VDI_MAX_BLOCKS || !vdi_block_is_there(image, block + i, place))
                return img_error_set(err, EINVAL, "Block %u lies behind the end of the file", block + i);
            usage->end = (uint32_t)img_max(usage->end, place + 1);
            usage->low += place < usage->limit;
        }
    }
    return 0;
}

static int copy_block(struct img *file, uint64_t from, uint64_t to, void *bytes)
{
    int status = img_pread_padded(file, bytes, from, VDI_BLOCK);

    return status < 0 ? status : img_pwrite(file, bytes, to, VDI_BLOCK);
}

/* Move the blocks before the places from `usage->limit` on behind the others. */
static int move_blocks(struct img *image, struct usage *usage)
{
    struct vdi *s = vdi_state(image);
    CLEANUP_FREE void *bytes = malloc(VDI_BLOCK);
    int status = bytes ? 0 : -ENOMEM;

    for (uint32_t block = 0; block < s->blocks && usage->low > 0 && status == 0; block++) {
        uint32_t place = VDI_UNALLOCATED;
        if ((status = vdi_get_entry(image, block, &place)) < 0 || place >= usage->limit)
            continue;
        status = copy_block(image->file, vdi_place(s, place), vdi_place(s, usage->end), bytes);
        if (status == 0)
            status = vdi_put_entry(image, block, usage->end);
        usage->end++;
        usage->low--;
        s->end = (uint32_t)img_max(s->end, usage->end);
    }
    if (status == 0)
        status = img_pages_write(s->pages);
    return status < 0 ? status : img_barrier(image);
}

/* The entry of a block in the new map. */
static uint32_t new_entry(const struct vdi *s, const struct layout *to, uint32_t block, uint32_t old)
{
    if (block < s->blocks)
        return vdi_has_place(old) ? old - to->shift : old;
    return s->type == VDI_TYPE_STATIC ? to->next + (block - s->blocks) : VDI_UNALLOCATED;
}

/* Write the entries of the new map from `first` on. */
static int write_map(struct img *image, const struct layout *to, uint32_t first)
{
    const struct vdi *s = vdi_state(image);
    uint32_t room = (uint32_t)(img_align_up(ENTRY * (uint64_t)to->blocks, 512) / ENTRY);
    CLEANUP_FREE uint8_t *chunk = malloc(ENTRY * CHUNK_ENTRIES);
    int status = chunk ? 0 : -ENOMEM;

    while (first < room && status == 0) {
        uint32_t count = (uint32_t)img_min(room - first, CHUNK_ENTRIES);
        for (uint32_t i = 0; i < count && status == 0; i++) {
            uint32_t old = VDI_UNALLOCATED, block = first + i;
            if (block < s->blocks)
                status = vdi_get_entry(image, block, &old);
            img_put_le32(chunk + ENTRY * i, block < to->blocks ? new_entry(s, to, block, old) : 0);
        }
        if (status == 0)
            status = img_pwrite(image->file, chunk, to->map + ENTRY * (uint64_t)first, ENTRY * (size_t)count);
        first += count;
    }
    return status < 0 ? status : img_barrier(image);
}

static int write_header(struct img *image, const struct layout *to, uint32_t allocated)
{
    uint8_t head[VDI_HEADER_BYTES];
    int status = img_pread(image->file, head, 0, sizeof head);

    img_put_le32(head + VDI_MAP_OFFSET, (uint32_t)to->map);
    img_put_le32(head + VDI_DATA_OFFSET, (uint32_t)to->data);
    img_put_le64(head + VDI_DISK_SIZE, to->size);
    img_put_le32(head + VDI_BLOCKS, to->blocks);
    img_put_le32(head + VDI_BLOCKS_ALLOCATED, allocated);
    if (status == 0)
        status = img_pwrite(image->file, head, 0, sizeof head);
    return status < 0 ? status : img_barrier(image);
}

/* What is behind the end of the disk in its last block must not appear. */
static int clear_tail(struct img *image)
{
    struct vdi *s = vdi_state(image);
    uint64_t inside = image->size & (VDI_BLOCK - 1);
    uint32_t block = (uint32_t)(image->size >> VDI_BLOCK_BITS), place = VDI_UNALLOCATED;
    int status = inside && block < s->blocks ? vdi_get_entry(image, block, &place) : 0;

    if (status < 0 || !vdi_has_place(place))
        return status;
    return img_zero(image->file, vdi_place(s, place) + inside, VDI_BLOCK - inside, IMG_ZERO_MAY_UNMAP);
}

/* Begin again with the new map. */
static int take_over(struct img *image, const struct layout *to)
{
    struct vdi *s = vdi_state(image);

    img_pages_forget(s->pages);
    s->map_offset = to->map;
    s->data_offset = to->data;
    s->blocks = to->blocks;
    free(s->used);
    s->used = NULL;
    s->first_free = s->first_fresh = s->end = 0;
    image->size = to->size;
    return vdi_prepare_to_write(image);
}

static int make_room(struct img *image, struct layout *to, struct usage *usage)
{
    const struct vdi *s = vdi_state(image);

    to->map = s->data_offset;
    to->data = s->data_offset + ((uint64_t)usage->limit << VDI_BLOCK_BITS);
    to->shift = usage->limit;
    if (to->data > UINT32_MAX)
        return -EFBIG;
    usage->end = (uint32_t)img_max(usage->end, usage->limit);
    return move_blocks(image, usage);
}

static int grow(struct img *image, struct layout *to, struct usage *usage)
{
    struct vdi *s = vdi_state(image);
    bool in_place = to->map + ENTRY * (uint64_t)to->blocks <= to->data;
    struct img_error ignored = IMG_ERROR_INIT;
    int status = clear_tail(image);

    if (status == 0 && !in_place)
        status = make_room(image, to, usage);
    if (status < 0)
        return status;
    to->next = (uint32_t)img_max(usage->end, to->shift) - to->shift;
    uint32_t end = to->next + (s->type == VDI_TYPE_STATIC ? to->blocks - s->blocks : 0);
    /* Its places are numbers of blocks. */
    if (end > to->blocks && s->type == VDI_TYPE_STATIC)
        return -EFBIG;
    uint64_t length = to->data + ((uint64_t)end << VDI_BLOCK_BITS);
    if (img_size(image->file) < length)
        status = img_resize_file(image->file, length, NULL, &ignored);
    img_error_clear(&ignored);
    if (status == 0)
        status = write_map(image, to, in_place ? s->blocks : 0);
    if (status == 0)
        status = write_header(image, to, end);
    if (status < 0)
        return status;
    s->counted = end;
    return take_over(image, to);
}

int vdi_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct vdi *s = vdi_state(image);
    struct layout to = { .size = img_align_up(size, 512), .map = s->map_offset, .data = s->data_offset };
    struct usage usage = { 0 };
    int status;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (s->differencing)
        return img_error_set(err, ENOTSUP, "A differencing disk has the size of its parent");
    if (to.size < image->size)
        return img_error_set(err, ENOTSUP, "Shrinking images is currently not supported");
    if (to.size > VDI_MAX_SIZE)
        return img_error_set(err, ENOTSUP, "Unsupported VDI image size (size is 0x%llx, max supported is 0x%llx)",
                             (unsigned long long)to.size, (unsigned long long)VDI_MAX_SIZE);
    to.blocks = (uint32_t)img_max(img_div_up(to.size, VDI_BLOCK), s->blocks);
    usage.limit = (uint32_t)img_div_up(ENTRY * (uint64_t)to.blocks, VDI_BLOCK);
    if ((status = look_at_map(image, &usage, err)) < 0)
        return status;
    status = grow(image, &to, &usage);
    return status < 0 ? img_error_errno(err, -status, "Failed to resize") : 0;
}
