/* SPDX-License-Identifier: MIT */
/*
 * LZFSE: the blocks of a stream and their headers.
 * Specification: "LZFSE compressed data format", "LZFSE block", "Decoding the Huffman encoded frequency table".
 */
#include "lzfse.h"
#include "../../libimg/util/endian.h"
#include <errno.h>
#include <stdbool.h>

#define MAGIC(kind) (0x00787662u | (uint32_t)(kind) << 24)

enum {
    V1_HEAD = 772,                  /* of a bvx1 block, including two bytes of padding after the tables */
    V1_FREQUENCIES = 50, V2_FREQUENCIES = 32,
    MOST_TRIPLES = 10000
};

/* The unread part of the stream. */
struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t field(const uint8_t *at, unsigned first, unsigned bits)
{
    return (uint32_t)(img_get_le64(at) >> first & ((1ull << bits) - 1));
}

/* ---- Tables of frequencies ----------------------------------------------------------- */

/* Decode one frequency from the low bits of `bits`.  Returns the number of bits used. */
static unsigned parse_frequency(uint32_t bits, uint16_t *frequency)
{
    if ((bits & 3) == 0 || (bits & 3) == 2) {
        *frequency = (bits & 3) == 2;
        return 2;
    }
    if ((bits & 7) == 1 || (bits & 7) == 5) {
        *frequency = (bits & 7) == 1 ? 2 : 3;
        return 3;
    }
    if ((bits & 7) == 3) {
        *frequency = (uint16_t)(4 + (bits >> 3 & 3));
        return 5;
    }
    if ((bits & 15) == 7) {
        *frequency = (uint16_t)(8 + (bits >> 4 & 15));
        return 8;
    }
    *frequency = (uint16_t)(24 + (bits >> 4 & 1023));
    return 14;
}

static int parse_frequencies(struct dmg_fse_block *block, const uint8_t *at, size_t length)
{
    const uint8_t *end = at + length;
    size_t count = sizeof block->frequencies / sizeof *block->frequencies;
    uint32_t bits = 0;
    unsigned have = 0;

    if (length == 0) {
        memset(block->frequencies, 0, sizeof block->frequencies);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        while (have <= 24 && at < end) {
            bits |= (uint32_t)*at++ << have;
            have += 8;
        }
        unsigned used = parse_frequency(bits, &block->frequencies[i]);
        if (used > have)
            return -EIO;
        bits >>= used;
        have -= used;
    }
    return have < 8 && at == end ? 0 : -EIO;
}

/* ---- Headers -------------------------------------------------------------------------- */

static int parse_v1(const struct input *in, struct dmg_fse_block *block, size_t *head)
{
    const uint8_t *at = in->at;

    if (in->left < V1_HEAD)
        return -EIO;
    block->literals = img_get_le32(at + 12);
    block->triples = img_get_le32(at + 16);
    block->literal_bytes = img_get_le32(at + 20);
    block->triple_bytes = img_get_le32(at + 24);
    block->literal_bits = (int32_t)img_get_le32(at + 28);
    block->triple_bits = (int32_t)img_get_le32(at + 40);
    for (int i = 0; i < 4; i++)
        block->literal_states[i] = img_get_le16(at + 32 + 2 * i);
    for (int i = 0; i < 3; i++)
        block->states[i] = img_get_le16(at + 44 + 2 * i);
    for (size_t i = 0; i < sizeof block->frequencies / sizeof *block->frequencies; i++)
        block->frequencies[i] = img_get_le16(at + V1_FREQUENCIES + 2 * i);
    *head = V1_HEAD;
    return 0;
}

static int parse_v2(const struct input *in, struct dmg_fse_block *block, size_t *head)
{
    const uint8_t *at = in->at;

    if (in->left < V2_FREQUENCIES)
        return -EIO;
    block->literals = field(at + 8, 0, 20);
    block->literal_bytes = field(at + 8, 20, 20);
    block->triples = field(at + 8, 40, 20);
    block->literal_bits = (int)field(at + 8, 60, 3) - 7;
    for (unsigned i = 0; i < 4; i++)
        block->literal_states[i] = (uint16_t)field(at + 16, 10 * i, 10);
    block->triple_bytes = field(at + 16, 40, 20);
    block->triple_bits = (int)field(at + 16, 60, 3) - 7;
    *head = img_get_le32(at + 24);
    for (unsigned i = 0; i < 3; i++)
        block->states[i] = (uint16_t)field(at + 24, 32 + 10 * i, 10);
    if (*head < V2_FREQUENCIES || *head > in->left)
        return -EIO;
    return parse_frequencies(block, at + V2_FREQUENCIES, *head - V2_FREQUENCIES);
}

static bool plausible(const struct dmg_fse_block *block)
{
    return block->literals <= DMG_MOST_LITERALS && block->literals % 4 == 0 && block->triples <= MOST_TRIPLES &&
           block->literal_bits <= 0 && block->literal_bits >= -7 && block->triple_bits <= 0 && block->triple_bits >= -7;
}

static int entropy_block(struct input *in, struct dmg_output *out, bool v2)
{
    struct dmg_fse_block block;
    size_t head, payload;

    if ((v2 ? parse_v2(in, &block, &head) : parse_v1(in, &block, &head)) < 0 || !plausible(&block))
        return -EIO;
    if (block.literal_bytes > in->left || block.triple_bytes > in->left)
        return -EIO;
    payload = block.literal_bytes + block.triple_bytes;
    if (payload > in->left - head)
        return -EIO;
    int ret = dmg_fse_decode(&block, in->at + head, out);
    in->at += head + payload;
    in->left -= head + payload;
    return ret;
}

/* ---- Streams ---------------------------------------------------------------------------- */

static int raw_block(struct input *in, struct dmg_output *out)
{
    size_t length;

    if (in->left < 8)
        return -EIO;
    length = img_get_le32(in->at + 4);
    if (length > in->left - 8 || dmg_copy_literals(out, in->at + 8, length) < 0)
        return -EIO;
    in->at += 8 + length;
    in->left -= 8 + length;
    return 0;
}

static int lzvn_block(struct input *in, struct dmg_output *out)
{
    size_t length;

    if (in->left < 12)
        return -EIO;
    length = img_get_le32(in->at + 8);
    if (length > in->left - 12 || dmg_lzvn_block(in->at + 12, length, out) < 0)
        return -EIO;
    in->at += 12 + length;
    in->left -= 12 + length;
    return 0;
}

static int block_of(uint32_t magic, struct input *in, struct dmg_output *out)
{
    switch (magic) {
    case MAGIC('-'):
        return raw_block(in, out);
    case MAGIC('n'):
        return lzvn_block(in, out);
    case MAGIC('1'):
    case MAGIC('2'):
        return entropy_block(in, out, magic == MAGIC('2'));
    default:
        return -EIO;
    }
}

int dmg_lzfse_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length)
{
    struct dmg_output out = { plain, plain, (uint8_t *)plain + length };
    struct input in = { coded, coded_length };

    while (in.left >= 4) {
        uint32_t magic = img_get_le32(in.at);
        if (magic == MAGIC('$'))
            return out.at == out.end ? 0 : -EIO;
        /* Each block stores its decoded size. */
        if (in.left < 8 || img_get_le32(in.at + 4) > (size_t)(out.end - out.at))
            return -EIO;
        uint8_t *want = out.at + img_get_le32(in.at + 4);
        if (block_of(magic, &in, &out) < 0 || out.at != want)
            return -EIO;
    }
    return -EIO;
}
