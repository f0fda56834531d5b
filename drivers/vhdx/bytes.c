/* SPDX-License-Identifier: MIT */
/* bytes.c - checksums; reading metadata. */
#include "vhdx.h"
#include <pthread.h>

/* CRC-32C: polynomial 0x1edc6f41, reflected. */
enum { POLYNOMIAL = 0x82f63b78, SLICES = 8 };

static uint32_t tables[SLICES][256];    /* of a byte with so many zero bytes behind it */
static pthread_once_t tables_made = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? (uint32_t)POLYNOMIAL : 0);
        tables[0][byte] = sum;
    }
    for (unsigned slice = 1; slice < SLICES; slice++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][before & 255];
        }
}

/* Eight bytes in a step that looks at no byte twice. */
uint32_t vhdx_checksum(uint32_t sum, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    pthread_once(&tables_made, make_tables);
    sum = ~sum;
    for (; length >= SLICES; length -= SLICES, at += SLICES) {
        sum ^= img_get_le32(at);
        sum = tables[7][sum & 255] ^ tables[6][sum >> 8 & 255] ^ tables[5][sum >> 16 & 255] ^ tables[4][sum >> 24] ^
              tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; length > 0; length--)
        sum = sum >> 8 ^ tables[0][(sum ^ *at++) & 255];
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
    if (offset > (uint64_t)INT64_MAX - length) {
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
