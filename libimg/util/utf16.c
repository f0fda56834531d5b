/* SPDX-License-Identifier: MIT */
/* utf16.c - UTF-16 to UTF-8 and back (see utf16.h). */
#include "utf16.h"
#include "strbuf.h"
#include "utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t unit_at(const uint8_t *bytes, bool big)
{
    return big ? (uint32_t)bytes[0] << 8 | bytes[1] : (uint32_t)bytes[1] << 8 | bytes[0];
}

static uint8_t *put_unit(uint8_t *to, uint32_t unit, bool big)
{
    to[!big] = (uint8_t)(unit >> 8);
    to[big] = (uint8_t)unit;
    return to + 2;
}

static bool is_high(uint32_t unit)
{
    return unit >= 0xD800 && unit < 0xDC00;
}

static bool is_low(uint32_t unit)
{
    return unit >= 0xDC00 && unit < 0xE000;
}

int img_utf16_to_utf8(const uint8_t *bytes, size_t length, bool big, char **text)
{
    struct img_strbuf buffer = { 0 };

    *text = NULL;
    img_strbuf_add(&buffer, "");
    for (size_t at = 0; at + 2 <= length; at += 2) {
        uint32_t code = unit_at(bytes + at, big);
        char character[4];
        if (code == 0)
            break;
        if (is_high(code) && at + 4 <= length && is_low(unit_at(bytes + at + 2, big))) {
            at += 2;
            code = 0x10000 + ((code - 0xD800) << 10) + (unit_at(bytes + at, big) - 0xDC00);
        }
        if (!img_utf8_valid(code)) {
            img_strbuf_free(&buffer);
            return -EILSEQ;
        }
        img_strbuf_add_bytes(&buffer, character, img_utf8_put(character, code));
    }
    *text = img_strbuf_take(&buffer);
    return *text ? 0 : -ENOMEM;
}

int img_utf16_from_utf8(const char *text, bool big, uint8_t **bytes, size_t *length)
{
    const char *end = text + strlen(text);
    /* (a character takes no more units than bytes) */
    uint8_t *to = img_malloc(2 * (size_t)(end - text));

    *bytes = to;
    if (!to)
        return -ENOMEM;
    while (text < end) {
        int32_t code = img_utf8_next(&text, end);
        if (code <= 0) {
            free(*bytes);
            *bytes = NULL;
            return -EILSEQ;
        }
        if (code >= 0x10000) {
            to = put_unit(to, 0xD800 + ((uint32_t)(code - 0x10000) >> 10), big);
            code = 0xDC00 + ((code - 0x10000) & 0x3FF);
        }
        to = put_unit(to, (uint32_t)code, big);
    }
    *length = (size_t)(to - *bytes);
    return 0;
}
