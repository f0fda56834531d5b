/* SPDX-License-Identifier: MIT */
/*
 * Apple Data Compression, and the match copy that the other decoders share.
 * Specification: "Apple Data Compression (ADC) data format", "ADC chunk".
 */
#include "lzfse.h"
#include "../../libimg/util/endian.h"
#include <errno.h>

enum { LITERALS = 0x80, LONG_MATCH = 0x40 };

int dmg_copy_literals(struct dmg_output *out, const uint8_t *from, size_t length)
{
    if (length > (size_t)(out->end - out->at))
        return -EIO;
    memcpy(out->at, from, length);
    out->at += length;
    return 0;
}

int dmg_copy_match(struct dmg_output *out, size_t distance, size_t length)
{
    uint8_t *to = out->at;

    if (distance == 0 || distance > (size_t)(to - out->start) || length > (size_t)(out->end - to))
        return -EIO;
    out->at += length;
    if (distance >= 8 && (size_t)(out->end - out->at) >= 8) {
        /* Copy in steps of 8 bytes; the last step may write into bytes that come later. */
        const uint8_t *from = to - distance;
        for (size_t i = 0; i < length; i += 8)
            memcpy(to + i, from + i, 8);
        return 0;
    }
    /* Source and target may overlap, which repeats the pattern. */
    while (length > 0) {
        size_t part = length < distance ? length : distance;
        memcpy(to, to - distance, part);
        to += part;
        length -= part;
        distance += part;
    }
    return 0;
}

int dmg_adc_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length)
{
    const uint8_t *end = coded + coded_length;
    struct dmg_output out = { plain, plain, (uint8_t *)plain + length };

    while (out.at < out.end && coded < end) {
        uint8_t code = *coded++;
        size_t left = (size_t)(end - coded);
        int ret = -EIO;

        if (code & LITERALS) {
            size_t run = (code & 0x7fu) + 1;
            if (run <= left)
                ret = dmg_copy_literals(&out, coded, run);
            coded += run;
        } else if (code & LONG_MATCH) {
            if (left >= 2)
                ret = dmg_copy_match(&out, img_get_be16(coded) + 1u, (code & 0x3fu) + 4);
            coded += 2;
        } else {
            if (left >= 1)
                ret = dmg_copy_match(&out, ((code & 3u) << 8 | coded[0]) + 1u, (code >> 2) + 3u);
            coded += 1;
        }
        if (ret < 0)
            return ret;
    }
    return out.at == out.end ? 0 : -EIO;
}
