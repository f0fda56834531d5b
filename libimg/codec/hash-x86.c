/* SPDX-License-Identifier: MIT */
/*
 * hash-x86.c - SHA-256 (FIPS 180-4, 6.2) with the SHA instructions of x86
 * processors, several times faster than portable code.  Elsewhere it reports that it is not available.
 */
#include "hash.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static bool detect(void)
{
    unsigned a, b = 0, c, d;
    bool shuffles;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    shuffles = (c & bit_SSSE3) && (c & bit_SSE4_1);
    return shuffles && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

bool hash_sha256_fast(void)
{
    static int known;       /* 0 unknown, 1 no, 2 yes; a race is harmless, all threads find the same */
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (!answer) {
        answer = detect() ? 2 : 1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 2;
}

/*
 * Four rounds with the message words w[i & 3], which then become those
 * needed 16 rounds later.  The instructions keep (a, b, e, f) and (c, d, g, h) in one
 * register each, and two rounds turn one into the other.
 */
#define QUAD(i) do { \
    __m128i sum = _mm_add_epi32(w[(i) & 3], _mm_loadu_si128((const __m128i *)&constants[4 * (i)])); \
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum); \
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e)); \
    if ((i) < 12) { \
        __m128i seven = _mm_alignr_epi8(w[((i) + 3) & 3], w[((i) + 2) & 3], 4); \
        __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w[(i) & 3], w[((i) + 1) & 3]), seven); \
        w[(i) & 3] = _mm_sha256msg2_epu32(next, w[((i) + 3) & 3]); \
    } \
} while (0)

__attribute__((target("sha,sse4.1,ssse3")))
void hash_sha256_blocks(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&state[0]), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&state[4]), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; blocks; blocks--, bytes += 64) {
        __m128i old_abef = abef, old_cdgh = cdgh, w[4];

        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(bytes + 16 * i)), swap);
        QUAD(0); QUAD(1); QUAD(2); QUAD(3); QUAD(4); QUAD(5); QUAD(6); QUAD(7);
        QUAD(8); QUAD(9); QUAD(10); QUAD(11); QUAD(12); QUAD(13); QUAD(14); QUAD(15);
        abef = _mm_add_epi32(abef, old_abef);
        cdgh = _mm_add_epi32(cdgh, old_cdgh);
    }
    _mm_storeu_si128((__m128i *)&state[0], _mm_shuffle_epi32(_mm_unpackhi_epi64(abef, cdgh), 0xb1));
    _mm_storeu_si128((__m128i *)&state[4], _mm_shuffle_epi32(_mm_unpacklo_epi64(abef, cdgh), 0xb1));
}

#else

bool hash_sha256_fast(void)
{
    return false;
}

void hash_sha256_blocks(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    (void)state;
    (void)bytes;
    (void)blocks;
}

#endif
