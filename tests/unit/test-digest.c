/* SPDX-License-Identifier: MIT */
/* Digests: published test vectors, any split of the input, the tree against a simple implementation, zeroes. */
#include "libimg/digest.h"
#include "libimg/codec/hash.h"
#include "libimg/util/strbuf.h"
#include "test.h"

#include <stdlib.h>

#ifdef HAVE_NETTLE

enum { MIB = 1 << 20 };

static char *hex(const uint8_t *bytes, size_t length)
{
    static char text[2 * IMG_HASH_MAX + 1];
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

static const struct img_hash *named(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    const struct img_hash *hash = NULL;
    bool tree;
    img_digest_parse(name, &hash, &tree, &err);
    img_error_clear(&err);
    return hash;
}

static void finish(struct img_digest *digest, const struct img_hash *hash, uint8_t *result)
{
    memset(result, 0, IMG_HASH_MAX);
    img_digest_finish(digest, result);
    memset(result + img_hash_length(hash), 0, IMG_HASH_MAX - img_hash_length(hash));
    img_digest_free(digest);
}

/* FIPS 180-4 and the papers of the others: "abc", and the empty message. */
static void vectors(void)
{
    static const struct { const char *name, *abc, *empty; } known[] = {
        { "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "sha512", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
          "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
          "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e" },
        { "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d", "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
        { "md5", "900150983cd24fb0d6963f7d28e17f72", "d41d8cd98f00b204e9800998ecf8427e" },
        { "ripemd160", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc", "9c1185a5c5e9fc54612808977ee8f548b2258d31" },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct img_hash *hash = named(known[i].name);
        struct img_digest *digest = img_digest_new(hash, false);
        uint8_t result[IMG_HASH_MAX];
        finish(digest, hash, result);
        test_same(hex(result, img_hash_length(hash)), known[i].empty, known[i].name);
        digest = img_digest_new(hash, false);
        img_digest_add(digest, "abc", 3);
        finish(digest, hash, result);
        test_same(hex(result, img_hash_length(hash)), known[i].abc, known[i].name);
    }
}

/* FIPS 180-4, 5.1.1 (padding) and 6.2, by the blocks of this processor where it has instructions for them. */
static void whole_sha256(const uint8_t *input, size_t length, uint8_t *result)
{
    uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t padded[1024] = { 0 };
    size_t blocks = (length + 9 + 63) / 64;
    union hash_state whole;

    if (!hash_sha256_fast()) {
        sha256_init(&whole.sha256);
        sha256_update(&whole.sha256, length, input);
        sha256_digest(&whole.sha256, SHA256_DIGEST_SIZE, result);
        return;
    }
    memcpy(padded, input, length);
    padded[length] = 0x80;
    for (size_t i = 0; i < 8; i++)
        padded[blocks * 64 - 1 - i] = (uint8_t)((uint64_t)length * 8 >> 8 * i);
    hash_sha256_blocks(state, padded, blocks);
    for (size_t i = 0; i < 32; i++)
        result[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* The two ways to compute SHA-256 agree for every length and cut. */
static void processor(void)
{
    uint8_t input[700], one[IMG_HASH_MAX], other[IMG_HASH_MAX];
    const struct img_hash *hash = named("sha256");
    unsigned long long seed = 1;
    int wrong = 0;

    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (uint8_t)test_random(&seed);
    for (size_t length = 0; length < sizeof input; length++) {
        union hash_state state;
        size_t cut = test_random(&seed) % (length + 1), second = cut + test_random(&seed) % (length - cut + 1);
        whole_sha256(input, length, one);
        hash->start(&state);
        hash->add(&state, input, cut);
        hash->add(&state, input + cut, second - cut);
        hash->add(&state, input + second, length - second);
        hash->finish(other, &state);
        wrong += memcmp(one, other, img_hash_length(hash)) != 0;
    }
    OK(wrong == 0, "sha256 of this processor (%s) is that of nettle", hash_sha256_fast() ? "instructions" : "none");
}

/* ---- The tree, as digest.h tells it ------------------------------------------------ */

static void piece(const struct img_hash *hash, const void *bytes, size_t length, uint8_t *result)
{
    union hash_state state;
    hash->start(&state);
    hash->add(&state, bytes, length);
    hash->finish(result, &state);
}

static void reference(const struct img_hash *hash, const uint8_t *bytes, uint64_t length, uint8_t *result)
{
    size_t size = img_hash_length(hash), count = 0;
    uint8_t *level = malloc((length / IMG_DIGEST_SEGMENT + 2) * size + 8);

    for (uint64_t at = 0; at < length; at += IMG_DIGEST_SEGMENT)
        piece(hash, bytes + at, length - at < IMG_DIGEST_SEGMENT ? length - at : IMG_DIGEST_SEGMENT,
              level + size * count++);
    while (count > 1) {
        size_t next = 0;
        for (size_t i = 0; i < count; i += IMG_DIGEST_FAN)
            piece(hash, level + i * size, size * (count - i < IMG_DIGEST_FAN ? count - i : IMG_DIGEST_FAN),
                  level + size * next++);
        count = next;
    }
    for (int i = 0; i < 8; i++)
        level[count * size + i] = (uint8_t)(length >> (56 - 8 * i));
    memset(result, 0, IMG_HASH_MAX);
    piece(hash, level, count * size + 8, result);
    free(level);
}

static void trees(void)
{
    static const uint64_t lengths[] = { 0, 1, 512, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 512, 7 * MIB };
    uint8_t *bytes = calloc(7, MIB), want[IMG_HASH_MAX], got[IMG_HASH_MAX];
    unsigned long long seed = 2;
    int wrong = 0;

    for (size_t i = 0; i < MIB + 77; i++)
        bytes[3 * MIB / 2 + i] = (uint8_t)test_random(&seed);
    bytes[6 * MIB - 1] = 1;
    for (const struct img_hash *hash = img_hash_next(NULL); hash; hash = img_hash_next(hash)) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            struct img_digest *digest = img_digest_new(hash, true);
            reference(hash, bytes, lengths[i], want);
            for (uint64_t done = 0; done < lengths[i];) {
                uint64_t n = test_random(&seed) % (3 * MIB / 2) + 1;
                n = n < lengths[i] - done ? n : lengths[i] - done;
                if (img_is_zero(bytes + done, n) && test_random(&seed) % 2)
                    img_digest_add_zeroes(digest, n);
                else
                    img_digest_add(digest, bytes + done, n);
                done += n;
            }
            finish(digest, hash, got);
            wrong += memcmp(want, got, IMG_HASH_MAX) != 0;
        }
    }
    OK(wrong == 0, "trees of bytes and zeroes in pieces");
    free(bytes);
}

/* Segments hashed apart, the last one short. */
static void segments(void)
{
    const struct img_hash *hash = named("md5");
    struct img_digest *digest = img_digest_new(hash, true);
    struct img_segment *segment = img_segment_new(digest);
    uint64_t length = 2 * MIB + 1000;
    uint8_t *bytes = calloc(1, length), want[IMG_HASH_MAX], got[IMG_HASH_MAX];

    memset(bytes + MIB + 4096, 9, 100000);
    bytes[length - 1] = 3;
    reference(hash, bytes, length, want);
    for (uint64_t at = 0; at < length; at += MIB) {
        uint64_t n = length - at < MIB ? length - at : MIB;
        img_segment_add(segment, bytes + at, n / 2);
        img_segment_add(segment, bytes + at + n / 2, n - n / 2);
        img_segment_finish(segment, got);
        img_digest_add_segment(digest, got, n);
    }
    img_segment_free(segment);
    OK(img_digest_length(digest) == length, "length of a tree");
    finish(digest, hash, got);
    OK(memcmp(want, got, IMG_HASH_MAX) == 0, "segments that are hashed apart");
    free(bytes);
}

/*
 * Long ranges of zeroes: one step, many steps and single segments are the same, around every border of groups.
 */
static void zeroes(void)
{
    static const uint64_t counts[] = { 1, 2, 1023, 1024, 1025, 2048, 3000, 1024 * 1024 - 1, 1024 * 1024,
                                       1024 * 1024 + 1025 };
    const struct img_hash *hash = named("md5");
    uint8_t one[IMG_HASH_MAX], other[IMG_HASH_MAX], zero[IMG_HASH_MAX], *page = calloc(1, MIB);
    unsigned long long seed = 3;
    int wrong = 0;

    piece(hash, page, MIB, zero);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct img_digest *whole = img_digest_new(hash, true), *single = img_digest_new(hash, true);
        img_digest_add_zeroes(whole, counts[i] * MIB);
        for (uint64_t n = 0; n < counts[i]; n++)
            img_digest_add_segment(single, zero, MIB);
        finish(whole, hash, one);
        finish(single, hash, other);
        wrong += memcmp(one, other, IMG_HASH_MAX) != 0;
        single = img_digest_new(hash, true);
        for (uint64_t done = 0; done < counts[i] * MIB;) {
            uint64_t left = counts[i] * MIB - done, n = test_random(&seed) % (left / 3 + MIB) + 1;
            n = n < left ? n : left;
            img_digest_add_zeroes(single, n);
            done += n;
        }
        finish(single, hash, other);
        wrong += memcmp(one, other, IMG_HASH_MAX) != 0;
    }
    OK(wrong == 0, "zeroes in one step, in many, by segments");
    free(page);
}

static void names(void)
{
    const struct img_hash *hash = NULL;
    struct img_error err = IMG_ERROR_INIT;
    bool tree = false;

    OK(img_digest_parse("tree", &hash, &tree, &err) == 0 && tree && !strcmp(img_hash_name(hash), "sha256"), "tree");
    OK(img_digest_parse("SHA1-tree", &hash, &tree, &err) == 0 && tree && !strcmp(img_hash_tag(hash), "SHA1"),
       "sha1-tree");
    OK(img_digest_parse("rmd160", &hash, &tree, &err) == 0 && !tree && !strcmp(img_hash_name(hash), "ripemd160"),
       "rmd160");
    OK(img_digest_parse("sha", &hash, &tree, &err) == -22, "unknown name");
    test_same(err.text, "Unknown digest 'sha'", "text of an unknown name");
    img_error_clear(&err);
}

int main(void)
{
    vectors();
    processor();
    trees();
    segments();
    zeroes();
    names();
    return test_end();
}

#else

int main(void)
{
    puts("1..0 # skip digests are not built in");
    return test_end();
}

#endif
