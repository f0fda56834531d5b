/* SPDX-License-Identifier: MIT */
/* codec.h - compressed units for format drivers; all functions are thread-safe. */
#ifndef IMG_CODEC_H
#define IMG_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum img_codec {
    IMG_CODEC_DEFLATE,      /* raw deflate (RFC 1951), no header: qcow2, vmdk bodies differ by wrapper */
    IMG_CODEC_ZLIB,         /* RFC 1950 */
    IMG_CODEC_ZSTD,         /* one zstd frame (RFC 8878) */
    IMG_CODEC_BZIP2,        /* one bzip2 stream; this and xz are decoded only */
    IMG_CODEC_XZ            /* one .xz stream */
};

/* Distances in a deflate stream, in bytes: powers of two. */
enum { IMG_WINDOW_MIN = 512, IMG_WINDOW_MAX = 32768 };

/* How to encode; all zero is what this build does best without being asked. */
struct img_codec_how {
    int level;              /* 1 and up, as img_codec_level_max says; 0: the default */
    uint32_t window;        /* deflate: no distance is longer; 0: no wish */
};

bool img_codec_available(enum img_codec codec);
/* The highest level that this build can encode with when the window is to be so long (0: any); 0: it cannot at all. */
int img_codec_level_max(enum img_codec codec, uint32_t window);
/* Coded length, or -ENOSPC when it does not fit `capacity`, -ENOTSUP when not built in. */
int64_t img_encode(enum img_codec codec, const void *plain, size_t length, void *coded, size_t capacity);
/* The same as asked for; -EINVAL when level or window are not to be had. */
int64_t img_encode_as(enum img_codec codec, const struct img_codec_how *how, const void *plain, size_t length,
                      void *coded, size_t capacity);
/* Fills exactly `length` bytes; trailing bytes of `coded` are allowed (sector padding).  A stream that gives fewer
 * bytes, or is damaged: -EIO.  A deflate stream that would give more is cut, as qemu-img does
 * (where zlib is built in). */
int img_decode(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length);
/* The same for a stream that has to end, whole and sound, where the unit does: else -EIO. */
int img_decode_exact(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length);

#endif
