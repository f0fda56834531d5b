/* SPDX-License-Identifier: MIT */
/* Zero detection: every alignment and length around the vector widths, one odd byte at every place, with
 * every scanner that this processor runs. */
#define ZERO_ALL_SCANNERS 1
#include "libimg/codec/zero.c"
#include "test.h"

#include <stdlib.h>

enum { ALIGNMENTS = 33, LENGTHS = 400 };

static unsigned char memory[ALIGNMENTS + LENGTHS + 64];

/* Bytes around the range are set, so that reading over its ends shows. */
static void all_zero(void)
{
    int wrong = 0;
    for (int start = 0; start < ALIGNMENTS; start++) {
        for (int length = 0; length <= LENGTHS; length++) {
            memset(memory, 0xFF, sizeof memory);
            memset(memory + start, 0, (size_t)length);
            wrong += !img_is_zero(memory + start, (size_t)length);
        }
    }
    OK(wrong == 0, "zeroes of any alignment and length are found");
}

static void one_byte(void)
{
    int wrong = 0;
    memset(memory, 0, sizeof memory);
    for (int start = 0; start < ALIGNMENTS; start++) {
        for (int length = 1; length <= 300; length++) {
            for (int at = 0; at < length; at++) {
                memory[start + at] = (unsigned char)(1 << (at & 7));
                wrong += img_is_zero(memory + start, (size_t)length);
                memory[start + at] = 0;
            }
        }
    }
    OK(wrong == 0, "one byte that is not zero is found anywhere");
}

/* Test each scanner directly; the other tests use the selected one. */
static void scanner_by_itself(scan_fn *scan, const char *name)
{
    int wrong = 0;
    for (int start = 0; start < ALIGNMENTS; start++) {
        for (int length = STEP; length <= LENGTHS; length++) {
            memset(memory, 0xFF, sizeof memory);
            memset(memory + start, 0, (size_t)length);
            wrong += !scan(memory + start, (size_t)length);
            for (int at = 0; at < length; at += start ? 7 : 1) {
                memory[start + at] = (unsigned char)(1 << ((at + length) & 7));
                wrong += scan(memory + start, (size_t)length);
                memory[start + at] = 0;
            }
        }
    }
    OK(wrong == 0, "%s alone finds zeroes and one byte that is none", name);
}

static void scanners(void)
{
    scanner_by_itself(scan_words, "words");
#ifdef HAVE_X86_VECTORS
    scanner_by_itself(scan_sse2, "SSE2");
    if (has_avx2())
        scanner_by_itself(scan_avx2, "AVX2");
    OK(has_avx2() == !!__builtin_cpu_supports("avx2"), "AVX2 is used where the compiler's own test says so");
#elif defined HAVE_NEON
    scanner_by_itself(scan_neon, "NEON");
#endif
}

/* At the end of an allocation, so that the sanitizer detects reads beyond it. */
static void exact_allocation(void)
{
    bool good = true;
    for (size_t length = 1; length <= 300; length++) {
        unsigned char *bytes = calloc(1, length);
        good = good && bytes && img_is_zero(bytes, length);
        free(bytes);
    }
    OK(good, "no read behind the buffer");
}

/* A simple implementation of img_zero_run. */
static size_t slow_run(const unsigned char *bytes, size_t length, size_t unit, bool *zero)
{
    size_t done = 0;
    *zero = false;
    while (done < length) {
        size_t size = length - done < unit ? length - done : unit;
        bool this_zero = true;
        for (size_t i = 0; i < size; i++)
            this_zero = this_zero && bytes[done + i] == 0;
        if (done == 0)
            *zero = this_zero;
        else if (this_zero != *zero)
            break;
        done += size;
    }
    return done;
}

static void runs(void)
{
    static unsigned char block[16384];
    unsigned long long seed = 1;
    int wrong = 0;
    for (int round = 0; round < 3000; round++) {
        size_t unit = (size_t)64 << test_random(&seed) % 6, length = test_random(&seed) % sizeof block;
        memset(block, 0, sizeof block);
        for (unsigned n = test_random(&seed) % 6; n > 0; n--) {
            size_t at = test_random(&seed) % sizeof block, size = test_random(&seed) % (sizeof block - at);
            memset(block + at, test_random(&seed) % 2 ? 0xA5 : 0, size);
        }
        bool zero, slow_zero;
        size_t run = img_zero_run(block, length, unit, &zero);
        wrong += run != slow_run(block, length, unit, &slow_zero) || zero != slow_zero;
    }
    OK(wrong == 0, "runs of units agree with the plain way");
    bool zero = true;
    OK(img_zero_run(block, 0, 512, &zero) == 0, "nothing is a run of nothing");
    memset(block, 0, sizeof block);
    OK(img_zero_run(block, sizeof block, 0, &zero) == sizeof block && zero, "unit 0 is the whole buffer");
}

/* Two buffers of every length, at odd places, that differ in one byte or in none. */
static void equal(void)
{
    enum { MOST = 200 };
    unsigned char a[MOST + 8], b[MOST + 8];
    bool good = true;

    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (unsigned char)(i * 7 + 1);
    for (size_t length = 0; length <= MOST; length++) {
        memcpy(b + 3, a + 1, length);
        good &= img_is_equal(a + 1, b + 3, length);
        for (size_t odd = 0; odd < length; odd++) {
            b[3 + odd] ^= 16;
            good &= !img_is_equal(a + 1, b + 3, length);
            b[3 + odd] ^= 16;
        }
    }
    OK(good, "equal or not, at every length");
}

/* What leads with zeroes, at every length and place of the first other byte. */
static void leading(void)
{
    enum { MOST = 1100 };
    static unsigned char bytes[MOST];
    bool good = true;

    for (size_t length = 0; length <= MOST; length += length < 300 ? 1 : 37) {
        good &= img_leading_zeroes(bytes, length) == length;
        for (size_t odd = 0; odd < length; odd += odd < 300 ? 1 : 13) {
            bytes[odd] = 1;
            good &= img_leading_zeroes(bytes, length) == odd;
            bytes[odd] = 0;
        }
    }
    OK(good, "zeroes before the first other byte");
}

int main(void)
{
    scanners();
    equal();
    leading();
    all_zero();
    one_byte();
    exact_allocation();
    runs();
    return test_end();
}
