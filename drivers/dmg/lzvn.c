/* SPDX-License-Identifier: MIT */
/* LZVN, the simple coding of small LZFSE blocks.  Specification: "LZVN compressed data format", "Opcodes". */
#include "lzfse.h"
#include "../../libimg/util/endian.h"
#include <errno.h>

/* A code: literals that follow it, then a match; `bytes` is the length of the code. */
struct code {
    size_t bytes, literals, match, distance;
};

enum { CODE_MATCH = 0, CODE_NOTHING, CODE_END, CODE_BAD };

/* LLMMMDDD and its variants, chosen by the three low bits. */
static int parse_match(const uint8_t *at, size_t left, struct code *code)
{
    uint8_t op = *at;

    code->literals = op >> 6;
    code->match = (op >> 3 & 7u) + 3;
    switch (op & 7) {
    case 6:
        code->bytes = 1;                /* the previous distance */
        return CODE_MATCH;
    case 7:
        code->bytes = 3;
        if (left >= 3)
            code->distance = img_get_le16(at + 1);
        return code->distance ? CODE_MATCH : CODE_BAD;
    default:
        code->bytes = 2;
        if (left >= 2)
            code->distance = (op & 7u) << 8 | at[1];
        return code->distance ? CODE_MATCH : CODE_BAD;
    }
}

static int parse_medium(const uint8_t *at, size_t left, struct code *code)
{
    if (left < 3)
        return CODE_BAD;
    unsigned rest = img_get_le16(at + 1);
    code->bytes = 3;
    code->literals = *at >> 3 & 3;
    code->match = ((*at & 7u) << 2 | (rest & 3)) + 3;
    code->distance = rest >> 2;
    return code->distance ? CODE_MATCH : CODE_BAD;
}

/* 1110LLLL and 1111MMMM; if the number is 0, it is in the next byte. */
static int parse_run(const uint8_t *at, size_t left, struct code *code)
{
    size_t run = *at & 15;

    code->bytes = 1;
    if (run == 0) {
        if (left < 2)
            return CODE_BAD;
        run = at[1] + 16u;
        code->bytes = 2;
    }
    *(*at >= 0xf0 ? &code->match : &code->literals) = run;
    return CODE_MATCH;
}

static int parse_code(const uint8_t *at, size_t left, size_t distance, struct code *code)
{
    uint8_t op = *at;

    *code = (struct code){ .bytes = 1, .distance = distance };
    if (op >= 0xe0)
        return parse_run(at, left, code);
    if (op >= 0xd0 || (op >= 0x70 && op < 0x80))
        return CODE_BAD;
    if (op >= 0xa0 && op < 0xc0)
        return parse_medium(at, left, code);
    if ((op & 7) == 6 && op < 0x40)
        return op == 0x06 ? CODE_END : op == 0x0e || op == 0x16 ? CODE_NOTHING : CODE_BAD;
    if ((op & 7) != 6)
        code->distance = 0;
    return parse_match(at, left, code);
}

int dmg_lzvn_block(const uint8_t *coded, size_t coded_length, struct dmg_output *out)
{
    const uint8_t *end = coded + coded_length;
    struct code code = { 0 };

    while (coded < end) {
        int kind = parse_code(coded, (size_t)(end - coded), code.distance, &code);
        if (kind == CODE_END)
            return 0;
        if (kind == CODE_BAD)
            return -EIO;
        coded += code.bytes;
        if (code.literals > (size_t)(end - coded) || dmg_copy_literals(out, coded, code.literals) < 0)
            return -EIO;
        coded += code.literals;
        if (code.match && dmg_copy_match(out, code.distance, code.match) < 0)
            return -EIO;
    }
    return -EIO;
}
