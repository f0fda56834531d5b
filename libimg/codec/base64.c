/* SPDX-License-Identifier: MIT */
#include "codec/base64.h"
#include <stdint.h>
#include <string.h>

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : c == '=' ? 0 : -1;
}

size_t img_base64_decode(void *out, const char *text, size_t length)
{
    uint8_t *to = out;
    uint32_t group = 0;
    unsigned have = 0;
    char kept[4];

    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i]);
        if (value < 0)
            continue;
        kept[have++] = text[i];
        group = group << 6 | (uint32_t)value;
        if (have < 4)
            continue;
        *to++ = (uint8_t)(group >> 16);
        if (kept[2] != '=')
            *to++ = (uint8_t)(group >> 8);
        if (kept[3] != '=')
            *to++ = (uint8_t)group;
        have = 0;
    }
    return (size_t)(to - (uint8_t *)out);
}

bool img_base64_is(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (value_of(text[i]) < 0 && text[i] != '\n')
            return false;
    }
    return true;
}
