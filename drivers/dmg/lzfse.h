/* SPDX-License-Identifier: MIT */
/* lzfse.h - the decoders of what only this format's chunks hold.  Each fills exactly `length` bytes: 0, or -EIO. */
#ifndef DMG_LZFSE_H
#define DMG_LZFSE_H

#include <stddef.h>
#include <stdint.h>

/* Where a decoder writes to: matches reach back as far as `start`. */
struct dmg_output {
    uint8_t *start, *at, *end;
};
/* Append `length` bytes from `distance` before the end.  0, or -EIO when it does not begin there or not end here. */
int dmg_copy_match(struct dmg_output *out, size_t distance, size_t length);
int dmg_copy_literals(struct dmg_output *out, const uint8_t *from, size_t length);

int dmg_adc_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length);
int dmg_lzfse_decode(const uint8_t *coded, size_t coded_length, void *plain, size_t length);
/* The codes of one LZVN block, which end with an end code; `out` stands behind its bytes then. */
int dmg_lzvn_block(const uint8_t *coded, size_t coded_length, struct dmg_output *out);
/* No block has more literals, which are decoded before anything is copied. */
enum { DMG_MOST_LITERALS = 40000 };
/* The bytes behind the head of one block of finite state entropy, see lzfse-entropy.c. */
struct dmg_fse_block {
    uint32_t literals, triples;
    size_t literal_bytes, triple_bytes;
    int literal_bits, triple_bits;              /* 0 to -7: bits of the last byte that are not used */
    uint16_t literal_states[4], states[3];
    uint16_t frequencies[20 + 20 + 64 + 256];   /* of literal runs, match lengths, distances; of literals */
};
/* `payload`: literal_bytes and triple_bytes of them. */
int dmg_fse_decode(const struct dmg_fse_block *block, const uint8_t *payload, struct dmg_output *out);

#endif
