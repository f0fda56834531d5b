/* SPDX-License-Identifier: MIT */
/*
 * Zero detection.  Every block of a convert passes through here, so it must run at
 * memory speed.  Most blocks with data have a non-zero byte at their start or end, which
 * is checked first; the rest is scanned with the widest
 * registers of the CPU, selected once at run time (the build must run on all CPUs).
 */
#include "img.h"
#include "util/checked.h"

#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAVE_X86_VECTORS 1
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define HAVE_NEON 1
#include <arm_neon.h>
#endif

/* Scanners need at least this many bytes; the last step overlaps and covers any rest. */
enum { STEP = 128 };

typedef bool scan_fn(const unsigned char *bytes, size_t length);

static uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Defines a scanner from its test of one step; the last step overlaps the one before. */
#define SCANNER(name, step) \
    static bool name(const unsigned char *bytes, size_t length) \
    { \
        const unsigned char *last = bytes + length - STEP; \
        for (; bytes < last; bytes += STEP) { \
            if (!step(bytes)) \
                return false; \
        } \
        return step(last); \
    }

#if !(defined HAVE_X86_VECTORS || defined HAVE_NEON) || defined ZERO_ALL_SCANNERS
static inline bool step_words(const unsigned char *bytes)
{
    uint64_t all = 0;
    for (int i = 0; i < STEP; i += 8)
        all |= word_at(bytes + i);
    return all == 0;
}

SCANNER(scan_words, step_words)
#endif

#if defined HAVE_X86_VECTORS
/* Part of x86-64, so always available. */
static inline bool step_sse2(const unsigned char *bytes)
{
    const __m128i *at = (const __m128i *)(const void *)bytes;
    __m128i a = _mm_or_si128(_mm_loadu_si128(at), _mm_loadu_si128(at + 1));
    __m128i b = _mm_or_si128(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3));
    __m128i c = _mm_or_si128(_mm_loadu_si128(at + 4), _mm_loadu_si128(at + 5));
    __m128i d = _mm_or_si128(_mm_loadu_si128(at + 6), _mm_loadu_si128(at + 7));
    __m128i all = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xFFFF;
}

__attribute__((target("avx2")))
static inline bool step_avx2(const unsigned char *bytes)
{
    const __m256i *at = (const __m256i *)(const void *)bytes;
    __m256i a = _mm256_or_si256(_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1));
    __m256i b = _mm256_or_si256(_mm256_loadu_si256(at + 2), _mm256_loadu_si256(at + 3));
    __m256i all = _mm256_or_si256(a, b);
    return _mm256_testz_si256(all, all);
}

SCANNER(scan_sse2, step_sse2)
__attribute__((target("avx2")))
SCANNER(scan_avx2, step_avx2)

/* The processor supports it, and the system saves the wide registers on context switches.  (The compiler's builtin
 * for this question knows every processor by name, which makes a small static file larger.) */
static bool has_avx2(void)
{
    enum { XMM_AND_YMM = 6 };
    unsigned a, b, c, d, kept, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
        return false;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    return (kept & XMM_AND_YMM) == XMM_AND_YMM && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

static scan_fn *choose(void)
{
    return has_avx2() ? scan_avx2 : scan_sse2;
}

#elif defined HAVE_NEON
/* Part of 64-bit ARM. */
static inline bool step_neon(const unsigned char *bytes)
{
    uint8x16_t a = vorrq_u8(vld1q_u8(bytes), vld1q_u8(bytes + 16));
    uint8x16_t b = vorrq_u8(vld1q_u8(bytes + 32), vld1q_u8(bytes + 48));
    uint8x16_t c = vorrq_u8(vld1q_u8(bytes + 64), vld1q_u8(bytes + 80));
    uint8x16_t d = vorrq_u8(vld1q_u8(bytes + 96), vld1q_u8(bytes + 112));
    return vmaxvq_u8(vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d))) == 0;
}

SCANNER(scan_neon, step_neon)

static scan_fn *choose(void)
{
    return scan_neon;
}

#else
static scan_fn *choose(void)
{
    return scan_words;
}
#endif

/* Several threads may select at once: they select the same. */
static scan_fn *scanner(void)
{
    static scan_fn *chosen;
    scan_fn *scan = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (!scan) {
        scan = choose();
        __atomic_store_n(&chosen, scan, __ATOMIC_RELAXED);
    }
    return scan;
}

static bool is_zero_short(const unsigned char *bytes, size_t length)
{
    if (length < 8) {
        unsigned char all = 0;
        for (size_t i = 0; i < length; i++)
            all |= bytes[i];
        return all == 0;
    }
    uint64_t all = word_at(bytes + length - 8);
    for (size_t i = 0; i + 8 <= length; i += 8)
        all |= word_at(bytes + i);
    return all == 0;
}

bool img_is_zero(const void *buffer, size_t length)
{
    const unsigned char *bytes = buffer;
    if (length < STEP)
        return is_zero_short(bytes, length);
    if (word_at(bytes) | word_at(bytes + length - 8))
        return false;
    return scanner()(bytes, length);
}

size_t img_zero_run(const void *buffer, size_t length, size_t unit, bool *zero)
{
    const unsigned char *bytes = buffer;
    *zero = false;
    if (length == 0)
        return 0;
    size_t done = unit ? (size_t)img_min(unit, length) : length;
    *zero = img_is_zero(bytes, done);
    while (done < length) {
        size_t next = (size_t)img_min(unit, length - done);
        if (img_is_zero(bytes + done, next) != *zero)
            break;
        done += next;
    }
    return done;
}

size_t img_leading_zeroes(const void *buffer, size_t length)
{
    enum { BLOCK = 4 * STEP };
    const unsigned char *bytes = buffer;
    size_t done = 0;

    while (done + BLOCK <= length && img_is_zero(bytes + done, BLOCK))
        done += BLOCK;
    while (done + 8 <= length && word_at(bytes + done) == 0)
        done += 8;
    while (done < length && bytes[done] == 0)
        done++;
    return done;
}
