/* SPDX-License-Identifier: MIT */
/*
 * aes.c - AES-256-CBC decryption by FIPS 197, one byte at a time: it only decrypts a short passphrase once.
 * The S-boxes are computed from their definition.
 */
#include "aes.h"
#include "util/wipe.h"
#include <string.h>

enum { ROUNDS = 14, WORDS = 4 * (ROUNDS + 1) };

struct schedule {
    uint8_t sbox[256], inverse[256];
    uint8_t keys[WORDS][4];
};

static uint8_t double_of(uint8_t a)
{
    return (uint8_t)((a << 1) ^ (a & 0x80 ? 0x1b : 0));
}

/* Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
static uint8_t multiply(uint8_t a, uint8_t b)
{
    uint8_t product = 0;

    for (; b; b >>= 1, a = double_of(a))
        product ^= b & 1 ? a : 0;
    return product;
}

/* FIPS 197, 5.1.1: the multiplicative inverse, then an affine map. */
static void make_sboxes(struct schedule *s)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t inverse = 1, power = (uint8_t)i, mapped = 0x63;
        /* i^254 is the inverse of i, and 0 for 0. */
        for (unsigned bit = 1; bit < 8; bit++) {
            power = multiply(power, power);
            inverse = multiply(inverse, power);
        }
        for (unsigned turn = 0; turn < 5; turn++)
            mapped ^= (uint8_t)(inverse << turn | inverse >> (8 - turn));
        s->sbox[i] = mapped;
        s->inverse[mapped] = (uint8_t)i;
    }
}

/* FIPS 197, 5.2 with Nk = 8. */
static void expand(struct schedule *s, const uint8_t *key)
{
    uint8_t round = 1;

    memcpy(s->keys, key, IMG_AES256_KEY);
    for (unsigned i = 8; i < WORDS; i++) {
        uint8_t word[4];
        memcpy(word, s->keys[i - 1], 4);
        if (i % 8 == 0) {
            uint8_t first = word[0];
            memmove(word, word + 1, 3);
            word[3] = first;
        }
        for (unsigned k = 0; i % 4 == 0 && k < 4; k++)
            word[k] = s->sbox[word[k]];
        if (i % 8 == 0) {
            word[0] ^= round;
            round = double_of(round);
        }
        for (unsigned k = 0; k < 4; k++)
            s->keys[i][k] = s->keys[i - 8][k] ^ word[k];
    }
}

static void add_round_key(const struct schedule *s, unsigned round, uint8_t *state)
{
    for (unsigned i = 0; i < IMG_AES_BLOCK; i++)
        state[i] ^= s->keys[4 * round + i / 4][i % 4];
}

/* Inverse of ShiftRows and SubBytes in one step. */
static void unshift(const struct schedule *s, uint8_t *state)
{
    uint8_t old[IMG_AES_BLOCK];

    memcpy(old, state, sizeof old);
    for (unsigned column = 0; column < 4; column++)
        for (unsigned row = 0; row < 4; row++)
            state[4 * ((column + row) % 4) + row] = s->inverse[old[4 * column + row]];
}

static void unmix(uint8_t *state)
{
    for (unsigned column = 0; column < 4; column++) {
        uint8_t *c = state + 4 * column, old[4];
        memcpy(old, c, 4);
        for (unsigned row = 0; row < 4; row++)
            c[row] = multiply(old[row], 14) ^ multiply(old[(row + 1) % 4], 11) ^ multiply(old[(row + 2) % 4], 13) ^
                     multiply(old[(row + 3) % 4], 9);
    }
}

static void decrypt_block(const struct schedule *s, uint8_t *state)
{
    add_round_key(s, ROUNDS, state);
    for (unsigned round = ROUNDS; round-- > 0; ) {
        unshift(s, state);
        add_round_key(s, round, state);
        if (round)
            unmix(state);
    }
}

void img_aes256_cbc_decrypt(const uint8_t key[IMG_AES256_KEY], const uint8_t iv[IMG_AES_BLOCK], uint8_t *bytes,
                            size_t length)
{
    struct schedule s;
    uint8_t before[IMG_AES_BLOCK], coded[IMG_AES_BLOCK];

    make_sboxes(&s);
    expand(&s, key);
    memcpy(before, iv, sizeof before);
    for (; length >= IMG_AES_BLOCK; bytes += IMG_AES_BLOCK, length -= IMG_AES_BLOCK) {
        memcpy(coded, bytes, sizeof coded);
        decrypt_block(&s, bytes);
        for (unsigned i = 0; i < IMG_AES_BLOCK; i++)
            bytes[i] ^= before[i];
        memcpy(before, coded, sizeof before);
    }
    img_wipe(&s, sizeof s);
}
