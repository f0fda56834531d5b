/* SPDX-License-Identifier: MIT */
/* lzfse.h - decoders that only this format needs.  Each fills exactly `length` bytes and returns 0, or -EIO. */
#ifndef DMG_LZFSE_H
#define DMG_LZFSE_H

#include <stddef.h>
#include <stdint.h>

/* The output of a decoder: matches reach back to `start`. */
struct dmg_output {
    uint8_t *start, *at, *end;
};
/* Append `length` bytes, copied from `distance` before the end.  Returns 0, or -EIO if either end is out of bounds. */
int dmg_copy_match(struct dmg_output *out, size_t distance, size_t length);
int dmg_copy_literals(struct dmg_output *out, const uint8_t *from, size_t length);

int dmg_adc_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length);
int dmg_lzfse_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length);
/* Decode one LZVN block, up to its end code; `out` then points after its bytes. */
int dmg_lzvn_block(const uint8_t *coded, size_t coded_length, struct dmg_output *out);
/* Maximum number of literals in a block; they are all decoded before anything is copied. */
enum { DMG_MOST_LITERALS = 40000 };
/* The data after the header of one entropy-coded block, see lzfse-entropy.c. */
struct dmg_fse_block {
    uint32_t literals, triples;
    size_t literal_bytes, triple_bytes;
    int literal_bits, triple_bits;              /* 0 to -7: unused bits of the last byte */
    uint16_t literal_states[4], states[3];
    uint16_t frequencies[20 + 20 + 64 + 256];   /* of literal runs, match lengths, distances; of literals */
};
/* `payload` has literal_bytes and then triple_bytes bytes. */
int dmg_fse_decode(const struct dmg_fse_block *block, const uint8_t *payload, struct dmg_output *out);

#endif
