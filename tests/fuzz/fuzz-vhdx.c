/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the input is a vhdx image of 4 MiB without its zeroes: records of offset (4 bytes), length (2 bytes)
 * and bytes, after a byte of flags.  Unless the first flag is set, the checksums of headers, region tables and log
 * entries are corrected: a wrong one would hide all later code.
 */
#include "fuzz-image.h"
#include "drivers/vhdx/vhdx.h"

enum { IMAGE = 4 << 20, LOG = 1 << 20, LOG_END = 2 << 20, RECORD = 6, KEEP_SUMS = 1 };

static void unpack(uint8_t *image, const uint8_t *data, size_t size)
{
    while (size > RECORD) {
        size_t offset = img_get_le32(data) % IMAGE, length = img_get_le16(data + 4);

        data += RECORD;
        size -= RECORD;
        length = length < size ? length : size;
        memcpy(image + offset, data, length < IMAGE - offset ? length : IMAGE - offset);
        data += length;
        size -= length;
    }
}

static void seal_log(uint8_t *image)
{
    for (size_t at = LOG; at < LOG_END; at += VHDX_SECTOR) {
        size_t length = img_get_le32(image + at + 8);

        if (memcmp(image + at, "loge", 4) == 0 && length >= VHDX_SECTOR && length <= LOG_END - at)
            vhdx_seal(image + at, length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t image[IMAGE];

    if (size == 0)
        return 0;
    memset(image, 0, sizeof image);
    unpack(image, data + 1, size - 1);
    if (!(data[0] & KEEP_SUMS)) {
        vhdx_seal(image + VHDX_HEADER_1, VHDX_HEADER_BYTES);
        vhdx_seal(image + VHDX_HEADER_2, VHDX_HEADER_BYTES);
        vhdx_seal(image + VHDX_REGIONS_1, VHDX_TABLE_BYTES);
        if (image[VHDX_REGIONS_2])
            vhdx_seal(image + VHDX_REGIONS_2, VHDX_TABLE_BYTES);
        seal_log(image);
    }
    return fuzz_image("vhdx", NULL, image, sizeof image);
}
