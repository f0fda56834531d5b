/* SPDX-License-Identifier: MIT */
/*
 * LZFSE blocks with finite state entropy coding: first all literals, then triples of literal run, match length and
 * distance.  Both streams are read from their last bit to the first.
 * Specification: "LZFSE compressed block with compressed tables", "LZFSE frequency table".
 *
 * An entry of `states` names the next symbol, and the bits that lead to the next state.  The states of a symbol of
 * frequency f are adjacent; the first of them take one bit more than the others, so that they reach all states.
 */
#include "lzfse.h"
#include "../../libimg/util/endian.h"
#include <errno.h>
#include <stdbool.h>

enum { LENGTH_STATES = 64, DISTANCE_STATES = 256, LITERAL_STATES = 1024, RUN_SYMBOLS = 20, DISTANCE_SYMBOLS = 64 };

/* ---- Bits ------------------------------------------------------------------------------- */

/* The next `have` bits are at the top of `bits`. */
struct bits {
    const uint8_t *start, *at;
    uint64_t bits;
    unsigned have;
    uint32_t made_up;                   /* how many of them are padding */
};

/* Afterwards at least 56 bits are available; before the start of the stream they are zeroes. */
static inline void refill(struct bits *in)
{
    unsigned bytes = (63 - in->have) / 8;

    if ((size_t)(in->at - in->start) >= 8) {
        /* Refill from the last `bytes` of the previous 8, without reading beyond the stream. */
        in->bits = in->bits << (8 * bytes) | img_get_le64(in->at - 8) >> 1 >> (63 - 8 * bytes);
        in->at -= bytes;
        in->have += 8 * bytes;
        return;
    }
    for (; bytes > 0; bytes--) {
        in->made_up += in->at == in->start ? 8 : 0;
        in->bits = in->bits << 8 | (in->at > in->start ? *--in->at : 0);
        in->have += 8;
    }
}

/* Were more bits taken than the stream has? */
static bool overrun(const struct bits *in)
{
    return in->have < in->made_up;
}

static inline uint32_t take(struct bits *in, unsigned count)
{
    in->have -= count;
    uint64_t value = in->bits >> in->have;
    in->bits &= (1ull << in->have) - 1;
    return (uint32_t)value;
}

static int start_bits(struct bits *in, const uint8_t *at, size_t length, int unused)
{
    *in = (struct bits){ .start = at, .at = at + length };
    if (length == 0)
        return unused ? -EIO : 0;
    in->bits = *--in->at;
    in->have = (unsigned)(8 + unused);
    return in->bits >> in->have ? -EIO : 0;
}

/* ---- Tables -------------------------------------------------------------------------------- */

/* For a state: number of bits to take, how many of them belong to the value, and the base to add. */
struct value_state {
    uint8_t total_bits, value_bits;
    int16_t next;
    uint32_t base;
};

struct literal_state {
    uint8_t bits, literal;
    int16_t next;
};

/* The states of one symbol: the number of bits, and the base of the next state. */
struct steps {
    unsigned states, bits, frequency, longer;
};

static struct steps steps_of(unsigned states, unsigned frequency)
{
    unsigned bits = (unsigned)(__builtin_clz(frequency) - __builtin_clz(states));

    return (struct steps){ states, bits, frequency, (2 * states >> bits) - frequency };
}

static unsigned step(const struct steps *steps, unsigned index, int16_t *next)
{
    if (index < steps->longer) {
        *next = (int16_t)(((steps->frequency + index) << steps->bits) - steps->states);
        return steps->bits;
    }
    *next = (int16_t)((index - steps->longer) << (steps->bits - 1));
    return steps->bits - 1;
}

/* The frequencies must add up to the number of states, so that every state is defined. */
static int check_frequencies(const uint16_t *frequencies, unsigned count, unsigned states)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += frequencies[i];
    return sum == states ? 0 : -EIO;
}

/*
 * A symbol below 16 (for distances, below 4) is its own value; a higher one is a range of 2 to the power of its
 * bits.
 */
static int make_values(struct value_state *table, const uint16_t *frequencies, unsigned count, unsigned states,
                       const uint8_t *extra)
{
    uint32_t base = 0;

    if (check_frequencies(frequencies, count, states) < 0)
        return -EIO;
    for (unsigned symbol = 0; symbol < count; symbol++) {
        uint8_t value_bits = extra ? symbol < 16 ? 0 : extra[symbol - 16] : (uint8_t)(symbol / 4);
        if (frequencies[symbol]) {
            struct steps steps = steps_of(states, frequencies[symbol]);
            for (unsigned i = 0; i < frequencies[symbol]; i++, table++) {
                table->total_bits = (uint8_t)(step(&steps, i, &table->next) + value_bits);
                table->value_bits = value_bits;
                table->base = base;
            }
        }
        base += 1u << value_bits;
    }
    return 0;
}

static int make_literals(struct literal_state *table, const uint16_t *frequencies)
{
    if (check_frequencies(frequencies, 256, LITERAL_STATES) < 0)
        return -EIO;
    for (unsigned symbol = 0; symbol < 256; symbol++) {
        if (!frequencies[symbol])
            continue;
        struct steps steps = steps_of(LITERAL_STATES, frequencies[symbol]);
        for (unsigned i = 0; i < frequencies[symbol]; i++, table++) {
            table->bits = (uint8_t)step(&steps, i, &table->next);
            table->literal = (uint8_t)symbol;
        }
    }
    return 0;
}

/* ---- A block --------------------------------------------------------------------------------- */

static int decode_literals(const struct dmg_fse_block *block, const uint8_t *payload, uint8_t *literals)
{
    struct literal_state table[LITERAL_STATES];
    unsigned states[4];
    struct bits in;

    if (block->literals == 0)
        return 0;
    if (make_literals(table, block->frequencies + 2 * RUN_SYMBOLS + DISTANCE_SYMBOLS) < 0 ||
        start_bits(&in, payload, block->literal_bytes, block->literal_bits) < 0)
        return -EIO;
    for (int i = 0; i < 4; i++) {
        states[i] = block->literal_states[i];
        if (states[i] >= LITERAL_STATES)
            return -EIO;
    }
    for (uint32_t at = 0; at < block->literals; at += 4) {
        refill(&in);
        for (int i = 0; i < 4; i++) {
            const struct literal_state *state = &table[states[i]];
            literals[at + (unsigned)i] = state->literal;
            states[i] = (unsigned)state->next + take(&in, state->bits);
        }
    }
    return overrun(&in) ? -EIO : 0;
}

struct triple_tables {
    struct value_state runs[LENGTH_STATES], lengths[LENGTH_STATES], distances[DISTANCE_STATES];
};

static inline uint32_t next_value(const struct value_state *table, unsigned *state, struct bits *in)
{
    const struct value_state *at = &table[*state];
    uint32_t bits = take(in, at->total_bits);

    *state = (unsigned)at->next + (bits >> at->value_bits);
    return at->base + (bits & ((1u << at->value_bits) - 1));
}

static int decode_triples(const struct dmg_fse_block *block, const uint8_t *payload, const uint8_t *literals,
                          struct dmg_output *out)
{
    static const uint8_t run_bits[] = { 2, 3, 5, 8 }, length_bits[] = { 3, 5, 8, 11 };
    const uint16_t *frequencies = block->frequencies;
    struct triple_tables tables;
    unsigned run_state = block->states[0], length_state = block->states[1], distance_state = block->states[2];
    uint32_t left = block->literals, distance = 0;
    struct bits in;

    if (block->triples == 0)
        return 0;
    if (make_values(tables.runs, frequencies, RUN_SYMBOLS, LENGTH_STATES, run_bits) < 0 ||
        make_values(tables.lengths, frequencies + RUN_SYMBOLS, RUN_SYMBOLS, LENGTH_STATES, length_bits) < 0 ||
        make_values(tables.distances, frequencies + 2 * RUN_SYMBOLS, DISTANCE_SYMBOLS, DISTANCE_STATES, NULL) < 0 ||
        start_bits(&in, payload, block->triple_bytes, block->triple_bits) < 0 ||
        run_state >= LENGTH_STATES || length_state >= LENGTH_STATES || distance_state >= DISTANCE_STATES)
        return -EIO;
    for (uint32_t i = 0; i < block->triples; i++) {
        refill(&in);
        uint32_t run = next_value(tables.runs, &run_state, &in);
        uint32_t length = next_value(tables.lengths, &length_state, &in);
        uint32_t new_distance = next_value(tables.distances, &distance_state, &in);
        distance = new_distance ? new_distance : distance;      /* 0: repeat the last one */
        if (run > left || dmg_copy_literals(out, literals, run) < 0 ||
            (length && dmg_copy_match(out, distance, length) < 0))
            return -EIO;
        literals += run;
        left -= run;
    }
    return overrun(&in) ? -EIO : 0;
}

int dmg_fse_decode(const struct dmg_fse_block *block, const uint8_t *payload, struct dmg_output *out)
{
    uint8_t literals[DMG_MOST_LITERALS];

    if (decode_literals(block, payload, literals) < 0)
        return -EIO;
    return decode_triples(block, payload + block->literal_bytes, literals, out);
}
