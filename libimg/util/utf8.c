/* SPDX-License-Identifier: MIT */
/* UTF-8 (RFC 3629); the long lead bytes of RFC 2279 are recognised, so that a bad sequence has the right length. */
#include "utf8.h"

bool img_utf8_valid(uint32_t code)
{
    if (code > 0x10FFFF || (code & 0xFFFE) == 0xFFFE)
        return false;
    return !(code >= 0xD800 && code <= 0xDFFF) && !(code >= 0xFDD0 && code <= 0xFDEF);
}

/* Length of the sequence by its lead byte; 0 if it is not a lead byte. */
static unsigned promised_length(unsigned char lead)
{
    if (lead < 0xC0 || lead >= 0xFE)
        return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : lead < 0xFC ? 5 : 6;
}

/* The code of one character, whatever it is; -1: no such sequence. */
static int64_t decode(const char **at, const char *end)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000 };
    unsigned char lead = (unsigned char)*(*at)++;
    if (lead < 0x80)
        return lead;
    unsigned length = promised_length(lead);
    if (length == 0)
        return -1;
    uint32_t code = lead & (0x7Fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if (*at == end || ((unsigned char)**at & 0xC0) != 0x80)
            return -1;
        code = code << 6 | ((unsigned char)*(*at)++ & 0x3F);
    }
    return code < smallest[length] && !(code == 0 && length == 2) ? -1 : (int64_t)code;
}

int32_t img_utf8_next(const char **at, const char *end)
{
    int64_t code = decode(at, end);

    return code >= 0 && img_utf8_valid((uint32_t)code) ? (int32_t)code : -1;
}

bool img_utf8_is_text(const void *bytes, size_t length)
{
    const char *at = bytes, *end = at + length;

    while (at < end) {
        int64_t code = decode(&at, end);
        if (code <= 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
            return false;
    }
    return true;
}

unsigned img_utf8_put(char *to, uint32_t code)
{
    if (code > 0 && code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
