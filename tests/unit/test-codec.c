/* SPDX-License-Identifier: MIT */
/* Codecs: round trips; truncated, garbled, padded, short and long streams; several threads at once. */
#include "libimg/codec/codec.h"
#include "libimg/img.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

enum { UNIT = 65536, ROOM = UNIT * 2 };

static const char *const names[] = { "deflate", "zlib", "zstd" };
static unsigned char plain[UNIT], back[UNIT], coded[ROOM];

static void fill_compressible(unsigned char *bytes, size_t length, unsigned long long seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(test_random(&seed) % 8 ? 'a' + i % 13 : test_random(&seed));
}

static void fill_random(unsigned char *bytes, size_t length, unsigned long long seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)test_random(&seed);
}

static void round_trip(enum img_codec codec, size_t length)
{
    fill_compressible(plain, length, length);
    int64_t size = img_encode(codec, plain, length, coded, ROOM);
    bool good = size > 0;
    memset(back, 0xEE, sizeof back);
    good = good && img_decode(codec, coded, (size_t)size, back, length) == 0 && memcmp(plain, back, length) == 0;
    OK(good, "%s: %zu bytes come back", names[codec], length);
    /* As in a file: the stream ends inside the last sector. */
    memset(coded + size, 0, 512);
    good = img_decode(codec, coded, (size_t)size + 512, back, length) == 0 && memcmp(plain, back, length) == 0;
    OK(good, "%s: %zu bytes with padding", names[codec], length);
}

static void incompressible(enum img_codec codec)
{
    fill_random(plain, UNIT, 7);
    OK(img_encode(codec, plain, UNIT, coded, UNIT - 1) == -ENOSPC, "%s: random bytes do not shrink", names[codec]);
    OK(img_encode(codec, plain, UNIT, coded, 0) == -ENOSPC, "%s: no room", names[codec]);
    int64_t size = img_encode(codec, plain, UNIT, coded, ROOM);
    OK(size > UNIT && img_decode(codec, coded, (size_t)size, back, UNIT) == 0 && memcmp(plain, back, UNIT) == 0,
       "%s: random bytes come back when there is room", names[codec]);
}

static void damaged(enum img_codec codec)
{
    fill_compressible(plain, UNIT, 3);
    int64_t size = img_encode(codec, plain, UNIT, coded, ROOM);
    int accepted = 0;
    for (int64_t cut = 0; cut < size - 16; cut += 37)
        accepted += img_decode(codec, coded, (size_t)cut, back, UNIT) != -EIO;
    OK(accepted == 0, "%s: a stream that is cut gives -EIO", names[codec]);

    /* Flipped bits may go undetected (some codecs have no checksum), but must do no harm. */
    unsigned long long seed = 11;
    int odd = 0;
    for (int round = 0; round < 2000; round++) {
        size_t at = test_random(&seed) % (size_t)size;
        unsigned char old = coded[at];
        coded[at] ^= (unsigned char)(1 + test_random(&seed) % 255);
        int status = img_decode(codec, coded, (size_t)size, back, UNIT);
        odd += status != 0 && status != -EIO;
        coded[at] = old;
    }
    OK(odd == 0, "%s: garbled streams give bytes or -EIO", names[codec]);
    for (int round = 0; round < 2000; round++) {
        unsigned char noise[256];
        fill_random(noise, sizeof noise, (unsigned)round);
        int status = img_decode(codec, noise, sizeof noise, back, UNIT);
        odd += status != 0 && status != -EIO;
    }
    OK(odd == 0, "%s: noise gives -EIO", names[codec]);
    OK(img_decode(codec, coded, 0, back, UNIT) == -EIO, "%s: no stream at all", names[codec]);
}

static void other_lengths(enum img_codec codec)
{
    fill_compressible(plain, UNIT, 5);
    int64_t size = img_encode(codec, plain, UNIT / 2, coded, ROOM);
    OK(img_decode(codec, coded, (size_t)size, back, UNIT) == -EIO, "%s: too few bytes give -EIO", names[codec]);
#ifdef HAVE_ZLIB
    if (codec == IMG_CODEC_ZSTD)
        return;
    static const size_t wanted[] = { UNIT / 2 - 1, UNIT / 4, UNIT / 8 + 3 };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        memset(back, 0xEE, sizeof back);
        bool good = img_decode(codec, coded, (size_t)size, back, wanted[i]) == 0 &&
                    memcmp(plain, back, wanted[i]) == 0 && back[wanted[i]] == 0xEE;
        OK(good, "%s: a stream that gives more is cut to %zu", names[codec], wanted[i]);
    }
#endif
}

/* Every available level, every window; others are refused. */
static void levels(enum img_codec codec)
{
    bool zstd = codec == IMG_CODEC_ZSTD, good = true;
    int64_t first = 0, last = 0;
    fill_compressible(plain, UNIT, 9);
    for (uint32_t window = 0; window <= IMG_WINDOW_MAX; window = window ? window * 2 : IMG_WINDOW_MIN) {
        int highest = img_codec_level_max(codec, window);
        struct img_codec_how how = { .level = highest + 1, .window = window };
        OK(img_encode_as(codec, &how, plain, UNIT, coded, ROOM) == -EINVAL, "%s: no level %d with window %u",
           names[codec], how.level, window);
        for (how.level = highest ? 0 : 1; how.level <= highest; how.level++) {
            int64_t size = img_encode_as(codec, &how, plain, UNIT, coded, ROOM);
            good = good && size > 0 && img_decode(codec, coded, (size_t)size, back, UNIT) == 0 &&
                   memcmp(plain, back, UNIT) == 0;
            if (!window && how.level == 1)
                first = size;
            if (!window && how.level == highest)
                last = size;
        }
        if (zstd)
            break;
    }
    OK(good, "%s: all levels and windows come back", names[codec]);
    OK(last < first, "%s: the highest level makes less than the lowest", names[codec]);
    struct img_codec_how bad = { .window = zstd ? 4096 : 3000 };
    OK(img_encode_as(codec, &bad, plain, UNIT, coded, ROOM) == -EINVAL, "%s: a window that cannot be", names[codec]);
    bad = (struct img_codec_how){ .level = -1 };
    OK(img_encode_as(codec, &bad, plain, UNIT, coded, ROOM) == -EINVAL, "%s: no negative level", names[codec]);
}

#ifdef HAVE_ZLIB
/* Only a long window finds distant repetitions; a reader with a window of `bits` refuses longer distances. */
static bool streams_within(int bits, size_t size)
{
    z_stream stream = { .next_in = coded, .avail_in = (uInt)size };
    int result = inflateInit2(&stream, -bits);
    /* In small pieces, so that the reader remembers only the window. */
    while (result == Z_OK) {
        unsigned char piece[64];
        stream.next_out = piece;
        stream.avail_out = sizeof piece;
        result = inflate(&stream, Z_SYNC_FLUSH);
    }
    inflateEnd(&stream);
    return result == Z_STREAM_END;
}

static void windows(void)
{
    fill_random(plain, 16384, 1);
    for (size_t at = 16384; at < UNIT; at += 16384)
        memcpy(plain + at, plain, 16384);
    struct img_codec_how how = { 0 };
    int64_t size = img_encode_as(IMG_CODEC_DEFLATE, &(struct img_codec_how){ .window = IMG_WINDOW_MAX }, plain, UNIT,
                                 coded, ROOM);
    OK(size > 0 && size < UNIT / 2 && streams_within(15, (size_t)size), "what is far away is found");
    OK(size > 0 && !streams_within(12, (size_t)size), "which a streaming reader with 4 KiB does not take");
    OK(img_decode(IMG_CODEC_DEFLATE, coded, (size_t)size, back, UNIT) == 0 && memcmp(plain, back, UNIT) == 0,
       "and a reader in one go does");
    how.window = 4096;
    size = img_encode_as(IMG_CODEC_DEFLATE, &how, plain, UNIT, coded, ROOM);
    OK(size >= UNIT && streams_within(12, (size_t)size), "a window of 4 KiB does not use it, and any reader takes that");
}
#endif

#ifdef HAVE_ZSTD
/* Frames from before the format was settled begin with other magic numbers (0xFD2FB525 and on). */
static void old_frames(void)
{
    fill_compressible(plain, UNIT, 3);
    int64_t size = img_encode(IMG_CODEC_ZSTD, plain, UNIT, coded, ROOM);
    int accepted = 0;
    for (unsigned char magic = 0x1E; magic < 0x28; magic++) {
        coded[0] = magic;
        accepted += size < 0 || img_decode(IMG_CODEC_ZSTD, coded, (size_t)size, back, UNIT) != -EIO;
    }
    OK(accepted == 0, "zstd: frames of the drafts are refused");
    static const unsigned char skipped[12] = { 0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4 };
    coded[0] = 0x28;
    memmove(coded + sizeof skipped, coded, (size_t)size);
    memcpy(coded, skipped, sizeof skipped);
    OK(img_decode(IMG_CODEC_ZSTD, coded, (size_t)size + sizeof skipped, back, UNIT) == 0 &&
       memcmp(plain, back, UNIT) == 0, "zstd: a skippable frame is skipped");
}
#endif

static void *worker(void *pointer)
{
    unsigned char *own = malloc(UNIT * 3);
    int *failures = pointer;
    for (int round = 0; own && round < 20; round++) {
        fill_compressible(own, UNIT, (unsigned long long)(uintptr_t)pointer + (unsigned)round);
        for (int codec = IMG_CODEC_DEFLATE; codec <= IMG_CODEC_ZSTD; codec++) {
            if (!img_codec_available(codec))
                continue;
            int64_t size = img_encode(codec, own, UNIT, own + UNIT, UNIT);
            *failures += size < 0 || img_decode(codec, own + UNIT, (size_t)size, own + UNIT * 2, UNIT) != 0 ||
                         memcmp(own, own + UNIT * 2, UNIT) != 0;
        }
    }
    *failures += !own;
    free(own);
    return NULL;
}

static void threads(void)
{
    pthread_t list[4];
    int failures[4] = { 0 }, all = 0;
    for (int i = 0; i < 4; i++)
        all += pthread_create(&list[i], NULL, worker, &failures[i]) != 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(list[i], NULL);
        all += failures[i];
    }
    OK(all == 0, "four threads at once");
}

int main(void)
{
    for (int codec = IMG_CODEC_DEFLATE; codec <= IMG_CODEC_ZSTD; codec++) {
        int need = img_codec_need(codec);
        OK(!need == img_codec_available(codec), "%s: is needed where it is not there", names[codec]);
        if (need) {
            OK(img_lacks_codec(need), "%s: a code of its own", names[codec]);
            OK(img_encode(codec, plain, 1, coded, ROOM) == need, "%s: encode is not built in", names[codec]);
            OK(img_decode(codec, coded, 1, back, 1) == need, "%s: decode is not built in", names[codec]);
            continue;
        }
        static const size_t lengths[] = { 1, 2, 511, 512, 4096, UNIT - 1, UNIT };
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            round_trip(codec, lengths[i]);
        incompressible(codec);
        damaged(codec);
        other_lengths(codec);
        levels(codec);
    }
#ifdef HAVE_ZLIB
    windows();
#endif
#ifdef HAVE_ZSTD
    old_frames();
#endif
    threads();
    return test_end();
}
