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
    IMG_CODEC_BZIP2,        /* one bzip2 stream; bzip2 and xz can only be decoded */
    IMG_CODEC_XZ            /* one .xz stream */
};

/* Distances in a deflate stream, in bytes: powers of two. */
enum { IMG_WINDOW_MIN = 512, IMG_WINDOW_MAX = 32768 };

/* How to encode; all zero: the default of this build. */
struct img_codec_how {
    int level;              /* from 1 to img_codec_level_max; 0: the default */
    uint32_t window;        /* deflate: maximum distance; 0: no limit */
};

bool img_codec_available(enum img_codec codec);
/* 0, or -IMG_ENOZLIB and so on: it is not built in. */
int img_codec_need(enum img_codec codec);
/* The highest level that this build can encode with this window (0: any); 0: it cannot encode at all. */
int img_codec_level_max(enum img_codec codec, uint32_t window);
/* Returns the coded length; -ENOSPC: it does not fit `capacity`; -IMG_ENOZLIB ...: not built in. */
int64_t img_encode(enum img_codec codec, const void *plain, size_t length, void *coded, size_t capacity);
/* Encode with a given level and window; -EINVAL: not supported. */
int64_t img_encode_as(enum img_codec codec, const struct img_codec_how *how, const void *plain, size_t length,
                      void *coded, size_t capacity);
/* Decode exactly `length` bytes; trailing bytes of `coded` are allowed (sector padding).  -EIO: the stream has fewer
 * bytes or is damaged; -IMG_ENOZLIB ...: not built in.  A longer deflate stream is cut, as in qemu-img
 * (if zlib is built in). */
int img_decode(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length);
/* Like img_decode, but the stream must be sound and end with the unit; otherwise -EIO. */
int img_decode_exact(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length);

/* The sum of gzip and others (CRC-32 of RFC 1952), of all bytes so far; it begins with 0.  Not there without zlib. */
uint32_t img_crc32(uint32_t sum, const void *bytes, size_t length);

#endif
