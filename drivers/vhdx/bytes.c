/* SPDX-License-Identifier: MIT */
/* bytes.c - checksums; reading metadata. */
#include "vhdx.h"

/* CRC-32C (polynomial 0x1edc6f41, reflected), a nibble at a time: only metadata need it. */
uint32_t vhdx_checksum(uint32_t sum, const void *bytes, size_t length)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75
    };
    const uint8_t *at = bytes, *end = at + length;

    sum = ~sum;
    while (at < end) {
        sum ^= *at++;
        sum = table[sum & 15] ^ sum >> 4;
        sum = table[sum & 15] ^ sum >> 4;
    }
    return ~sum;
}

/* The checksum of a structure whose checksum field, at offset 4, counts as 0. */
static uint32_t sum_of(const uint8_t *bytes, size_t length)
{
    static const uint8_t nothing[4];
    uint32_t sum = vhdx_checksum(0, bytes, 4);

    sum = vhdx_checksum(sum, nothing, 4);
    return vhdx_checksum(sum, bytes + 8, length - 8);
}

bool vhdx_sealed(uint8_t *bytes, size_t length)
{
    return img_get_le32(bytes + 4) == sum_of(bytes, length);
}

void vhdx_seal(uint8_t *bytes, size_t length)
{
    img_put_le32(bytes + 4, sum_of(bytes, length));
}

static void apply(const struct vhdx_patch *patch, uint8_t *buffer, uint64_t offset, uint64_t length)
{
    uint64_t from = img_max(offset, patch->offset);
    uint64_t to = img_min(offset + length, patch->offset + patch->length);

    if (from >= to)
        return;
    if (patch->bytes)
        memcpy(buffer + (from - offset), patch->bytes + (from - patch->offset), to - from);
    else
        memset(buffer + (from - offset), 0, to - from);
}

int vhdx_read(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct vhdx *s = vhdx_state(image);

    /* Offsets come from the image: far beyond the end there is nothing. */
    if (offset > INT64_MAX - length) {
        memset(buffer, 0, length);
        return 0;
    }
    int ret = img_pread(image->file, buffer, offset, length);

    if (ret < 0)
        return ret;
    for (size_t i = 0; i < s->patches.count; i++)
        apply(&s->patches.at[i], buffer, offset, length);
    return 0;
}

int vhdx_refuse(struct img *image, int code, struct img_error *err)
{
    const char *name = image->file->filename;

    return name && *name ? img_error_errno(err, code, "Could not open '%s'", name)
                         : img_error_errno(err, code, "Could not open image");
}
