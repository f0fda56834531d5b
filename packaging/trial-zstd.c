/* SPDX-License-Identifier: MIT */
/*
 * Does the slimmed zstd still do everything that imgbox needs?  See slim.sh.  Up to LEVEL_MAX no input length may
 * select a removed compressor, compressed data must decode to the input, and invalid frames must be refused.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { LONGEST = 4 << 20 };

static int strategies_stay(void)
{
    for (int level = 1; level <= LEVEL_MAX; level++) {
        for (size_t length = 1; length <= LONGEST; length = length * 9 / 8 + 1) {
            if (ZSTD_getCParams(level, length, 0).strategy > ZSTD_dfast)
                return 0;
        }
        if (ZSTD_getCParams(level, 0, 0).strategy > ZSTD_dfast)
            return 0;
    }
    return 1;
}

static void fill(unsigned char *bytes, size_t length)
{
    unsigned state = 1;

    for (size_t i = 0; i < length; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(state >> 28 ? 'a' + i % 17 + (i >> 12) % 5 : state >> 16);
    }
}

static int round_trips(void)
{
    size_t room = ZSTD_compressBound(LONGEST);
    unsigned char *plain = malloc(LONGEST), *back = malloc(LONGEST), *coded = malloc(room);
    ZSTD_CCtx *encoder = ZSTD_createCCtx();
    ZSTD_DCtx *decoder = ZSTD_createDCtx();
    int good = plain && back && coded && encoder && decoder;

    if (good)
        fill(plain, LONGEST);
    for (int level = 1; good && level <= LEVEL_MAX; level++) {
        for (size_t length = 1; good && length <= LONGEST; length *= 4) {
            size_t size = ZSTD_compressCCtx(encoder, coded, room, plain, length, level);
            good = !ZSTD_isError(size) && ZSTD_findFrameCompressedSize(coded, size) == size &&
                   ZSTD_decompressDCtx(decoder, back, length, coded, size) == length &&
                   memcmp(plain, back, length) == 0 &&
                   ZSTD_isError(ZSTD_decompressDCtx(decoder, back, length, plain, length));
        }
    }
    ZSTD_freeCCtx(encoder);
    ZSTD_freeDCtx(decoder);
    free(plain), free(back), free(coded);
    return good;
}

int main(void)
{
    return !(strategies_stay() && round_trips());
}
