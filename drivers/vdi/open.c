/* SPDX-License-Identifier: MIT */
/*
 * The vdi driver: the vtable, the header, open and close.  The header is checked in qemu-img's order, so that of
 * several errors the same one is reported.
 */
#include "vdi.h"
#include <inttypes.h>

static const struct img_option vdi_options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct vdi_create_options, size) },
    { .name = "static", .help = "VDI static (pre-allocated) image", .type = IMG_OPT_BOOL, .standard = "off",
      .when = IMG_AT_CREATE, .offset = offsetof(struct vdi_create_options, fixed) },
    { .name = NULL }
};

/* ---- The header ------------------------------------------------------------------ */

static int check_layout(const uint8_t *head, struct img_error *err)
{
    uint32_t version = img_get_le32(head + VDI_VERSION), map = img_get_le32(head + VDI_MAP_OFFSET);
    uint32_t data = img_get_le32(head + VDI_DATA_OFFSET), sector = img_get_le32(head + VDI_SECTOR_SIZE);
    uint32_t block = img_get_le32(head + VDI_BLOCK_SIZE);

    if (img_get_le32(head + VDI_SIGNATURE) != VDI_MAGIC)
        return img_error_set(err, EINVAL, "Image not in VDI format (bad signature %08x)",
                             img_get_le32(head + VDI_SIGNATURE));
    if (version != VDI_VERSION_1_1)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (version %u.%u)", version >> 16, version & 0xffff);
    if (!img_aligned(map, 512))
        return img_error_set(err, ENOTSUP, "unsupported VDI image (unaligned block map offset 0x%x)", map);
    if (!img_aligned(data, 512))
        return img_error_set(err, ENOTSUP, "unsupported VDI image (unaligned data offset 0x%x)", data);
    if (sector != 512)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (sector size %u is not 512)", sector);
    if (block != VDI_BLOCK)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (block size %u is not %u)", block, VDI_BLOCK);
    return 0;
}

static int read_header(struct img *image, struct img_error *err)
{
    struct vdi *s = vdi_state(image);
    uint8_t head[VDI_HEADER_BYTES];
    uint64_t size, room;

    int status = img_pread(image->file, head, 0, sizeof head);
    if (status < 0)
        return status;
    size = img_get_le64(head + VDI_DISK_SIZE);
    if (size > VDI_MAX_SIZE)
        return img_error_set(err, ENOTSUP, "Unsupported VDI image size (size is 0x%" PRIx64 ", max supported is 0x%"
                             PRIx64 ")", size, VDI_MAX_SIZE);
    /* A disk may end inside a sector: other programs round it up, too. */
    size = img_align_up(size, 512);
    if ((status = check_layout(head, err)) < 0)
        return status;
    s->blocks = img_get_le32(head + VDI_BLOCKS);
    room = (uint64_t)s->blocks << VDI_BLOCK_BITS;
    /* Old versions of qemu-img rounded the number of blocks down: the last one reads as zeroes. */
    if (size > room && size - room >= VDI_BLOCK)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (disk size %" PRIu64 ", image bitmap has room for "
                             "%" PRIu64 ")", size, room);
    s->type = img_get_le32(head + VDI_TYPE);
    bool linked = !img_is_zero(head + VDI_UUID_LINK, VDI_UUID_BYTES);
    if (linked && s->type != VDI_TYPE_DIFFERENCING)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (non-NULL link UUID)");
    if (!linked && !img_is_zero(head + VDI_UUID_PARENT_MODIFIED, VDI_UUID_BYTES))
        return img_error_set(err, ENOTSUP, "unsupported VDI image (non-NULL parent UUID)");
    if (s->blocks > VDI_MAX_BLOCKS)
        return img_error_set(err, ENOTSUP, "unsupported VDI image (too many blocks %u, max is %u)", s->blocks,
                             VDI_MAX_BLOCKS);
    s->map_offset = img_get_le32(head + VDI_MAP_OFFSET);
    s->data_offset = img_get_le32(head + VDI_DATA_OFFSET);
    s->counted = img_get_le32(head + VDI_BLOCKS_ALLOCATED);
    memcpy(s->uuid, head + VDI_UUID, VDI_UUID_BYTES);
    memcpy(s->modified, head + VDI_UUID_MODIFIED, VDI_UUID_BYTES);
    image->size = size;
    return linked ? vdi_read_parent(image, head, err) : 0;
}

/* ---- Opening and closing ------------------------------------------------------------ */

static void release(struct img *image)
{
    struct vdi *s = vdi_state(image);

    img_pages_free(s->pages);
    free(s->used);
    memset(s, 0, sizeof *s);
}

static int vdi_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    int status = read_header(image, err);

    (void)parsed, (void)options;
    if (status < 0)
        return status;
    image->limits.cluster = VDI_BLOCK;
    /* A block of the file may have holes, so small writes use little space. */
    image->limits.write_unit = vdi_state(image)->differencing ? VDI_BLOCK : VDI_HOLE_UNIT;
    status = vdi_open_map(image);
    if (status == 0 && image->flags & IMG_RDWR)
        status = vdi_prepare_to_write(image);
    if (status < 0)
        release(image);
    return status;
}

static int vdi_flush(struct img *image)
{
    return img_pages_write_aside(vdi_state(image)->pages);
}

static int vdi_close(struct img *image)
{
    int status = image->flags & IMG_RDWR ? vdi_flush(image) : 0;

    release(image);
    return status;
}

static bool vdi_zero_initialised(struct img *image)
{
    const struct vdi *s = vdi_state(image);

    return !s->differencing && (s->type != VDI_TYPE_STATIC || img_zero_initialised(image->file));
}

const struct img_driver img_driver_vdi = {
    IMG_ROW(
        .name = "vdi", .kind = IMG_FORMAT, .alias = "virtualbox vbox", .precedence = 1,
        .marks = IMG_MARKS(IMG_AT(64, "\x7f\x10\xda\xbe"))
    ),
    .traits = IMG_CAN_BACK | IMG_READS_FORWARD,
    .state_size = sizeof(struct vdi), .options = vdi_options, .create_size = sizeof(struct vdi_create_options),
    .open = vdi_open, .close = vdi_close, .create = vdi_create, .zero = vdi_zero, .map = vdi_map,
    .reserve = vdi_reserve, .publish = vdi_publish, .cancel = vdi_cancel,
    .check_parent = vdi_check_parent, .parent_suffix = ".vdi",
    .flush = vdi_flush, .resize = vdi_resize, .check = vdi_check, .look_for_missing = vdi_look_for_missing,
    .zero_initialised = vdi_zero_initialised,
};
