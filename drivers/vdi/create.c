/* SPDX-License-Identifier: MIT */
/* New vdi images: header, block map and, for a static image, all blocks as a hole in the file. */
#include "vdi.h"
#include "../../libimg/util/uuid.h"
#include <inttypes.h>

enum { MAP_CHUNK = 64 << 10 };

struct plan {
    uint64_t size;
    uint32_t blocks;
    uint64_t data_offset;
    bool fixed;
};

static int plan_image(const struct img_create *request, struct plan *plan, struct img_error *err)
{
    const struct vdi_create_options *given = request->options;

    plan->size = img_align_up(given->size < 0 ? 0 : (uint64_t)given->size, 512);
    plan->fixed = given->fixed == 1;
    if (plan->size > VDI_MAX_SIZE) {
        int status = img_check_target(request->name, err);
        return status < 0 ? status : img_error_set(err, ENOTSUP, "Unsupported VDI image size (size is 0x%" PRIx64
                                                   ", max supported is 0x%" PRIx64 ")", plan->size, VDI_MAX_SIZE);
    }
    plan->blocks = (uint32_t)img_div_up(plan->size, VDI_BLOCK);
    plan->data_offset = VDI_HEADER_BYTES + img_align_up(4ull * plan->blocks, 512);
    return 0;
}

static void make_uuid(uint8_t *uuid)
{
    img_uuid_make(uuid);
    img_uuid_swap(uuid);
}

static int write_header(struct img *file, const struct plan *plan)
{
    static const char text[] = "<<< QEMU VM Virtual Disk Image >>>\n";
    uint8_t head[VDI_HEADER_BYTES] = { 0 };

    memcpy(head, text, sizeof text);
    img_put_le32(head + VDI_SIGNATURE, VDI_MAGIC);
    img_put_le32(head + VDI_VERSION, VDI_VERSION_1_1);
    img_put_le32(head + VDI_HEADER_SIZE, 0x180);
    img_put_le32(head + VDI_TYPE, plan->fixed ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC);
    img_put_le32(head + VDI_MAP_OFFSET, VDI_HEADER_BYTES);
    img_put_le32(head + VDI_DATA_OFFSET, (uint32_t)plan->data_offset);
    img_put_le32(head + VDI_SECTOR_SIZE, 512);
    img_put_le64(head + VDI_DISK_SIZE, plan->size);
    img_put_le32(head + VDI_BLOCK_SIZE, VDI_BLOCK);
    img_put_le32(head + VDI_BLOCKS, plan->blocks);
    if (plan->fixed)
        img_put_le32(head + VDI_BLOCKS_ALLOCATED, plan->blocks);
    make_uuid(head + VDI_UUID);
    make_uuid(head + VDI_UUID_MODIFIED);
    return img_pwrite(file, head, 0, sizeof head);
}

static int write_map(struct img *file, const struct plan *plan)
{
    uint64_t left = plan->data_offset - VDI_HEADER_BYTES, at = VDI_HEADER_BYTES;
    CLEANUP_FREE uint8_t *chunk = malloc(MAP_CHUNK);
    uint32_t block = 0;
    int status = 0;

    if (!chunk)
        return -ENOMEM;
    while (left > 0 && status == 0) {
        size_t length = (size_t)img_min(left, MAP_CHUNK);
        for (size_t i = 0; i < length; i += 4, block++) {
            uint32_t entry = plan->fixed ? block : VDI_UNALLOCATED;
            img_put_le32(chunk + i, block < plan->blocks ? entry : 0);
        }
        status = img_pwrite(file, chunk, at, length);
        at += length;
        left -= length;
    }
    return status;
}

static int write_image(struct img *file, const struct plan *plan, struct img_error *err)
{
    int status = write_header(file, plan);

    if (status < 0)
        return img_error_set(err, -status, "Error writing header");
    status = write_map(file, plan);
    if (status < 0)
        return img_error_set(err, -status, "Error writing bmap");
    if (!plan->fixed)
        return 0;
    status = img_resize_file(file, plan->data_offset + ((uint64_t)plan->blocks << VDI_BLOCK_BITS), NULL, err);
    return status < 0 ? img_error_prefix(err, "Failed to statically allocate file") : 0;
}

int vdi_create(const struct img_create *request, struct img_error *err)
{
    struct img *file = NULL;
    struct plan plan = { 0 };
    int status = plan_image(request, &plan, err);

    if (status == 0)
        status = img_create_file(request->name, 0, IMG_PERM_ALL, request->rest, &file, err);
    if (status < 0)
        return status;
    return img_close_file(file, write_image(file, &plan, err), err);
}
