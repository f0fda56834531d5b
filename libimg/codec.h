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
    IMG_CODEC_ZSTD          /* one zstd frame (RFC 8878) */
};

bool img_codec_available(enum img_codec codec);
/* Coded length, or -ENOSPC when it does not fit `capacity`, -ENOTSUP when not built in. */
int64_t img_encode(enum img_codec codec, const void *plain, size_t length, void *coded, size_t capacity);
/* Fills exactly `length` bytes; trailing bytes of `coded` are allowed (sector padding).  A stream that gives fewer
 * bytes, or is damaged: -EIO.  A deflate stream that would give more is cut, as the peer does
 * (where zlib is built in). */
int img_decode(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length);

#endif
