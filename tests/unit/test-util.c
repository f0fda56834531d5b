/* SPDX-License-Identifier: MIT */
/* libimg/util and the error object: numbers in byte order, checked arithmetic, strings, vectors, UTF-8, UTF-16,
 * runs of bits. */
#include "libimg/img.h"
#include "libimg/util/checked.h"
#include "libimg/util/endian.h"
#include "libimg/util/fd.h"
#include "libimg/util/strbuf.h"
#include "libimg/util/bit-run.h"
#include "libimg/util/utf16.h"
#include "libimg/util/utf8.h"
#include "libimg/util/vector.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

static void endian(void)
{
    static const unsigned char bytes[] = { 0, 1, 2, 3, 4, 5, 6, 7, 0xF8 };
    OK(img_get_be16(bytes + 1) == 0x0102 && img_get_le16(bytes + 1) == 0x0201, "16 bits");
    OK(img_get_be32(bytes + 1) == 0x01020304 && img_get_le32(bytes + 1) == 0x04030201, "32 bits");
    OK(img_get_be64(bytes + 1) == 0x01020304050607F8 && img_get_le64(bytes + 1) == 0xF807060504030201, "64 bits");
    unsigned char to[9] = { 0 };
    img_put_be64(to + 1, 0x01020304050607F8);
    OK(memcmp(to, bytes, 9) == 0, "put 64 bits, big end first");
    img_put_le32(to + 1, 0x04030201);
    img_put_be16(to + 5, 0x0506);
    OK(memcmp(to, bytes, 9) == 0, "put 32 and 16 bits");
}

static void descriptors(void)
{
    OK(img_fd_of_name("/dev/stdin") == 0 && img_fd_of_name("/dev/stdout") == 1 && img_fd_of_name("/dev/stderr") == 2,
       "the standard streams");
    OK(img_fd_of_name("/dev/fd/0") == 0 && img_fd_of_name("/proc/self/fd/999999999") == 999999999, "numbers");
    OK(img_fd_of_name("/dev/fd/") < 0 && img_fd_of_name("/dev/fd/1000000000") < 0 && img_fd_of_name("/dev/fd/1x") < 0 &&
       img_fd_of_name("/dev/fd/-1") < 0 && img_fd_of_name("/dev/fd/1/") < 0, "no numbers");
    OK(img_fd_of_name("-") < 0 && img_fd_of_name("") < 0 && img_fd_of_name("/dev/stdin2") < 0 &&
       img_fd_of_name("dev/fd/1") < 0, "other names");
}

static void checked(void)
{
    uint64_t value;
    OK(img_add(1, 2, &value) && value == 3, "sum");
    OK(img_add(UINT64_MAX, 0, &value) && !img_add(UINT64_MAX, 1, &value), "sum at the limit");
    OK(img_mul(UINT64_C(1) << 32, 3, &value) && value == UINT64_C(3) << 32, "product");
    OK(!img_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &value), "product over the limit");
    OK(img_within(0, 10, 10) && img_within(10, 0, 10), "range that ends at the limit");
    OK(!img_within(1, 10, 10) && !img_within(11, 0, 10), "range over the limit");
    OK(!img_within(UINT64_MAX, 2, 10) && !img_within(2, UINT64_MAX, 10), "range that wraps around");
    OK(img_align_up(1, 512) == 512 && img_align_up(512, 512) == 512 && img_align_up(0, 512) == 0, "align up");
    OK(img_align_up(UINT64_MAX, 512) == UINT64_MAX - 511, "align up saturates");
    OK(img_align_down(1023, 512) == 512 && img_aligned(1024, 512) && !img_aligned(1025, 512), "align down");
    OK(img_div_up(0, 7) == 0 && img_div_up(7, 7) == 1 && img_div_up(8, 7) == 2, "divide up");
    OK(img_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63, "divide up at the limit");
    OK(img_power_of_two(1) && img_power_of_two(UINT64_C(1) << 63), "powers of two");
    OK(!img_power_of_two(0) && !img_power_of_two(3), "no powers of two");
}

static void strings(void)
{
    struct img_strbuf buffer = { 0 };
    for (int i = 0; i < 1000; i++)
        img_strbuf_printf(&buffer, "%d,", i % 10);
    OK(buffer.length == 2000 && strncmp(buffer.text + 1990, "5,6,7,8,9,", 10) == 0, "a long string");
    img_strbuf_add_bytes(&buffer, "a\0b", 3);
    img_strbuf_add_char(&buffer, 'c');
    img_strbuf_add(&buffer, "");
    OK(buffer.length == 2004 && memcmp(buffer.text + 2000, "a\0bc", 5) == 0, "bytes with a NUL inside");
    img_strbuf_free(&buffer);
    char *text = img_strbuf_take(&buffer);
    test_same(text, "", "an empty buffer gives an empty string");
    free(text);
    text = img_strndup("abc", 2);
    test_same(text, "ab", "a shortened copy");
    free(text);
    text = img_asprintf("%s-%d", "x", 5);
    test_same(text, "x-5", "a printed copy");
    free(text);

    IMG_VECTOR(int) list = { 0 };
    bool pushed = true;
    for (int i = 0; i < 100; i++)
        pushed &= IMG_VECTOR_PUSH(&list, i);
    OK(pushed && list.count == 100 && list.at[99] == 99, "a vector grows");
    free(list.at);
}

static int32_t decode(const char *bytes, size_t *used)
{
    const char *at = bytes;
    int32_t code = img_utf8_next(&at, bytes + strlen(bytes));
    *used = (size_t)(at - bytes);
    return code;
}

static void utf8(void)
{
    static const struct { const char *bytes; int32_t code; size_t used; } cases[] = {
        { "A", 'A', 1 }, { "\x7F", 0x7F, 1 }, { "\xC3\xA9", 0xE9, 2 }, { "\xE2\x82\xAC", 0x20AC, 3 },
        { "\xF0\x9F\x98\x80", 0x1F600, 4 }, { "\xEE\x80\x80", 0xE000, 3 }, { "\xC0\x80", 0, 2 },
        { "\x80x", -1, 1 }, { "\xBF", -1, 1 }, { "\xFEx", -1, 1 }, { "\xFF\x80", -1, 1 },
        { "\xC1\xBF", -1, 2 }, { "\xE0\x80\x80", -1, 3 }, { "\xF0\x80\x80\x80", -1, 4 },
        { "\xED\xA0\x80", -1, 3 }, { "\xEF\xBF\xBF", -1, 3 }, { "\xEF\xB7\x90", -1, 3 },
        { "\xF4\x8F\xBF\xBF", -1, 4 }, { "\xF4\x90\x80\x80", -1, 4 }, { "\xF8\x88\x80\x80\x80", -1, 5 },
        { "\xFC\x80\x80\x80\x80\x80", -1, 6 }, { "\xFD\xBF\xBF\xBF\xBF\xBF", -1, 6 },
        { "\xE2\x82z", -1, 2 }, { "\xC3\xC3", -1, 1 }, { "\xF0\x9F\x98", -1, 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used;
        int32_t code = decode(cases[i].bytes, &used);
        OK(code == cases[i].code && used == cases[i].used, "UTF-8 case %zu", i);
        char written[5] = "";
        if (code >= 0)
            OK(img_utf8_put(written, (uint32_t)code) == used && strcmp(written, cases[i].bytes) == 0,
               "UTF-8 case %zu written", i);
    }
}

static char noticed[200];

static void notice(enum img_notice kind, const char *text)
{
    snprintf(noticed, sizeof noticed, "%d %s", kind, text);
}

static void errors(void)
{
    struct img_error err = IMG_ERROR_INIT;
    OK(img_error_set(&err, EINVAL, "bad %s", "thing") == -EINVAL && err.code == EINVAL, "the error returns its code");
    test_same(err.text, "bad thing", "error text");
    OK(img_error_set(&err, EIO, "later") == -EINVAL, "the root cause wins");
    test_same(err.text, "bad thing", "and keeps its text");
    OK(img_error_prefix(&err, "In %d: ", 5) == -EINVAL, "prefix returns the code");
    test_same(err.text, "In 5: bad thing", "prefixed text");
    img_error_hint(&err, "Try %s", "this");
    img_error_hint(&err, "Try that");
    test_same(err.hint, "Try that", "the last hint stays");
    img_error_advise(&err, "Do %s", "this");
    img_error_advise(&err, "or that");
    test_same(err.advice, "Do this\nor that\n", "advice is added line by line");
    img_error_clear(&err);
    OK(!err.text && !err.hint && !err.advice && err.code == 0, "cleared");
    OK(img_error_errno(&err, ENOENT, "Could not open '%s'", "x") == -ENOENT, "errno is returned");
    test_same(err.text, "Could not open 'x': No such file or directory", "errno in words");
    img_error_clear(&err);
    OK(img_error_errno(&err, -ENOSPC, "y") == -ENOSPC, "a negative errno is taken too");
    img_error_clear(&err);

    img_notice(IMG_WARNING, "dropped");
    OK(noticed[0] == '\0', "without a handler notices are dropped");
    img_set_notice(notice);
    img_notice(IMG_NOTE, "seen %d", 1);
    test_same(noticed, "1 seen 1", "a notice arrives");
    img_set_notice(NULL);
}

static const char *guessed(const char *word)
{
    static const char *const known[] = { "raw", "qcow", "qcow2", "vhdx", "cluster_size",
                                         "a-word-that-is-much-longer-than-any-other" };
    struct img_guess guess = { .word = word };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        img_guess_try(&guess, known[i], known[i]);
    img_guess_try(&guess, "vhd", "vpc");
    return img_guess_best(&guess) ? img_guess_best(&guess) : "none";
}

static void guesses(void)
{
    test_same(guessed("RAW"), "raw", "the case of letters");
    test_same(guessed("rw"), "none", "in a very short word each letter counts");
    test_same(guessed("raww"), "raw", "a letter too many");
    test_same(guessed("qocw2"), "qcow2", "two letters swapped");
    test_same(guessed("qcow3"), "none", "two words are equally near");
    test_same(guessed("qcow22"), "qcow2", "the nearer of two");
    test_same(guessed("vhd"), "vpc", "another word for it");
    test_same(guessed("vhdd"), "none", "two meanings are equally near");
    test_same(guessed("clustersize"), "cluster_size", "a missing line");
    test_same(guessed("cluster-size"), "cluster_size", "the other line");
    test_same(guessed("clutersize"), "cluster_size", "two letters missing");
    test_same(guessed("clutersiz"), "none", "three letters missing");
    test_same(guessed(""), "none", "nothing");
    test_same(guessed("a-word-that-is-much-longer-than-any-other"), "none", "a very long word");
}

static const char *advised(const char *size)
{
    static char said[200];
    struct img_error err = IMG_ERROR_INIT;

    img_size_advise(size, &err);
    snprintf(said, sizeof said, "%s", err.advice ? err.advice : "nothing");
    img_error_clear(&err);
    return said;
}

static void sizes(void)
{
    char words[64];

    test_same(img_size_words(words, sizeof words, 1000), "1000 bytes", "a few bytes");
    test_same(img_size_words(words, sizeof words, UINT64_MAX), "18446744073709551615 bytes (16 EiB)", "the most bytes");
    test_same(advised("10GB"), "did you mean '10G'? (G is a power of 1024)\n", "GB");
    test_same(advised("1.5 tib"), "did you mean '1.5t'? (t is a power of 1024)\n", "TiB, in small letters");
    OK(strncmp(advised("GB"), "a size is", 9) == 0 && strncmp(advised("10GBB"), "a size is", 9) == 0 &&
       strncmp(advised(""), "a size is", 9) == 0 && strncmp(advised("10 "), "a size is", 9) == 0, "no size at all");
}

static void utf16(void)
{
    static const uint8_t low_first[] = { 'a', 0, 0xDF, 0, 0xC1, 0x78, 0x3D, 0xD8, 0xBE, 0xDC, 0, 0, 'x', 0 };
    static const uint8_t alone[] = { 0x3D, 0xD8, 'a', 0 };
    static const char text[] = "a\xC3\x9F\xE7\xA3\x81\xF0\x9F\x92\xBE";
    uint8_t high_first[sizeof low_first], *made;
    size_t length = 0;
    char *read;

    OK(img_utf16_to_utf8(low_first, sizeof low_first, false, &read) == 0 && strcmp(read, text) == 0,
       "UTF-16 up to a NUL");
    free(read);
    for (size_t i = 0; i < sizeof high_first; i++)
        high_first[i] = low_first[i ^ 1];
    OK(img_utf16_to_utf8(high_first, 10, true, &read) == 0 && strcmp(read, text) == 0,
       "the high byte first, up to the end");
    free(read);
    OK(img_utf16_to_utf8(alone, sizeof alone, false, &read) == -EILSEQ && !read, "half a surrogate pair");
    OK(img_utf16_to_utf8(alone, 2, false, &read) == -EILSEQ && !read, "and at the end");
    OK(img_utf16_from_utf8(text, false, &made, &length) == 0 && length == 10 && memcmp(made, low_first, 10) == 0,
       "to UTF-16");
    free(made);
    OK(img_utf16_from_utf8("a\xFF", false, &made, &length) == -EILSEQ && !made, "invalid UTF-8");
}

static void bit_runs(void)
{
    static const uint8_t bits[] = { 0x0F, 0xFF, 0xFF, 0xC0, 0 };

    OK(!img_bit_get(bits, 0, true) && img_bit_get(bits, 0, false), "the highest or the lowest bit first");
    OK(img_bit_run(bits, 0, 40, true) == 4 && img_bit_run(bits, 4, 40, true) == 22, "runs, the highest bit first");
    OK(img_bit_run(bits, 26, 40, true) == 14 && img_bit_run(bits, 5, 11, true) == 6, "up to the end");
    OK(img_bit_run(bits, 0, 40, false) == 4 && img_bit_run(bits, 8, 40, false) == 16, "runs, the lowest bit first");
}

int main(void)
{
    endian();
    descriptors();
    checked();
    strings();
    utf8();
    utf16();
    bit_runs();
    errors();
    guesses();
    sizes();
    return test_end();
}
