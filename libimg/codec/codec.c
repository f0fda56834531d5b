/* SPDX-License-Identifier: MIT */
/*
 * Compressed units.  Deflate uses libdeflate if it is built in (one call per unit, several times as fast as zlib),
 * otherwise zlib; zstd uses its own library.  Streams that libdeflate refuses are passed to zlib, which also decodes
 * up to the end of the unit if the stream is longer or damaged at its end.  State that a library keeps between calls
 * (hash tables, workspace) is kept per thread and freed when the thread ends; state that it needs for one unit is
 * scratch memory.
 */
#include "codec.h"
#include "img.h"
#include "util/checked.h"
#include "util/endian.h"
#include "util/scratch.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif
#ifdef HAVE_BZIP2
#include <bzlib.h>
#endif
#ifdef HAVE_LZMA
#include <lzma.h>
#endif

#if defined HAVE_LIBDEFLATE || defined HAVE_ZLIB
#define HAVE_DEFLATE 1
#endif

#if defined HAVE_LIBDEFLATE || defined HAVE_ZSTD
/* ---- State of a thread -------------------------------------------------------------- */

struct workspace {
#ifdef HAVE_LIBDEFLATE
    struct libdeflate_compressor *deflater;
    int deflater_level;
    struct libdeflate_decompressor *inflater;
#endif
#ifdef HAVE_ZSTD
    ZSTD_CCtx *zstd_encoder;
    ZSTD_DCtx *zstd_decoder;
#endif
};

static pthread_key_t workspace_key;
static pthread_once_t workspace_once = PTHREAD_ONCE_INIT;
static bool workspace_usable;

static void free_workspace(void *pointer)
{
    struct workspace *workspace = pointer;
#ifdef HAVE_LIBDEFLATE
    if (workspace->deflater)
        libdeflate_free_compressor(workspace->deflater);
    if (workspace->inflater)
        libdeflate_free_decompressor(workspace->inflater);
#endif
#ifdef HAVE_ZSTD
    ZSTD_freeCCtx(workspace->zstd_encoder);
    ZSTD_freeDCtx(workspace->zstd_decoder);
#endif
    free(workspace);
}

static void make_workspace_key(void)
{
    workspace_usable = pthread_key_create(&workspace_key, free_workspace) == 0;
}

/* The workspace of this thread; NULL if there is no memory for it. */
static struct workspace *workspace(void)
{
    pthread_once(&workspace_once, make_workspace_key);
    if (!workspace_usable)
        return NULL;
    struct workspace *own = pthread_getspecific(workspace_key);
    if (own)
        return own;
    own = calloc(1, sizeof *own);
    if (own && pthread_setspecific(workspace_key, own) != 0) {
        free(own);
        own = NULL;
    }
    return own;
}
#endif

#if defined IMG_SELF_CONTAINED && defined HAVE_LIBDEFLATE && defined HAVE_LZMA
/* In place of liblzma's own, which has tables beside those of libdeflate, and is slower.  (Weak: where a whole liblzma is
 * linked after all, that is as well.) */
__attribute__((weak)) uint32_t lzma_crc32(const uint8_t *bytes, size_t length, uint32_t sum)
{
    return libdeflate_crc32(sum, bytes, length);
}
#endif

/* ---- Deflate ---------------------------------------------------------------------------- */

#ifdef HAVE_ZLIB
/* Window bits for zlib: negative without the zlib wrapper.  The maximum memory for its tables. */
enum { WINDOW_BITS = 15, MEMORY_LEVEL = 9, ZLIB_LEVEL_MAX = 9 };

static void *zlib_get(void *context, uInt count, uInt size)
{
    (void)context;
    return img_scratch_get((size_t)count * size);
}

static void zlib_put(void *context, void *bytes)
{
    (void)context;
    img_scratch_put(bytes);
}

static int inflate_by_zlib(bool zlib, bool exact, const void *coded, size_t coded_length, void *plain, size_t length)
{
    z_stream stream = { .zalloc = zlib_get, .zfree = zlib_put };
    if (length > UINT_MAX || coded_length > UINT_MAX)
        return -EINVAL;
    if (inflateInit2(&stream, zlib ? WINDOW_BITS : -WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    stream.next_in = (Bytef *)(uintptr_t)coded;
    stream.avail_in = (uInt)coded_length;
    stream.next_out = plain;
    stream.avail_out = (uInt)length;
    int result = inflate(&stream, Z_FINISH);
    bool full = stream.avail_out == 0;
    inflateEnd(&stream);
    /* Full, but not at the end: the stream is longer than its unit, or truncated. */
    return full && (result == Z_STREAM_END || (!exact && (result == Z_BUF_ERROR || result == Z_OK))) ? 0 : -EIO;
}

static int64_t deflate_by_zlib(bool zlib, int level, int bits, const void *plain, size_t length,
                               void *coded, size_t capacity)
{
    z_stream stream = { .zalloc = zlib_get, .zfree = zlib_put };
    if (length > UINT_MAX)
        return -EINVAL;
    if (deflateInit2(&stream, level ? level : Z_DEFAULT_COMPRESSION, Z_DEFLATED, zlib ? bits : -bits, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    stream.next_in = (Bytef *)(uintptr_t)plain;
    stream.avail_in = (uInt)length;
    stream.next_out = coded;
    stream.avail_out = capacity > UINT_MAX ? UINT_MAX : (uInt)capacity;
    int result = deflate(&stream, Z_FINISH);
    int64_t size = (int64_t)stream.total_out;
    deflateEnd(&stream);
    return result == Z_STREAM_END ? size : -ENOSPC;
}
#endif

#ifdef HAVE_LIBDEFLATE
/* Fast, and usually still smaller than zlib's default level with qemu-img's window of 4 KiB. */
enum { DEFLATE_LEVEL = 2, DEFLATE_LEVEL_MAX = 12 };

static int deflate_level_max(uint32_t window)
{
    if (!window || window == IMG_WINDOW_MAX)
        return DEFLATE_LEVEL_MAX;
#ifdef HAVE_ZLIB
    return ZLIB_LEVEL_MAX;
#else
    return 0;
#endif
}

static struct libdeflate_compressor *deflater_of(struct workspace *own, int level)
{
    if (own->deflater && own->deflater_level != level) {
        libdeflate_free_compressor(own->deflater);
        own->deflater = NULL;
    }
    if (!own->deflater)
        own->deflater = libdeflate_alloc_compressor(level);
    own->deflater_level = level;
    return own->deflater;
}

/* libdeflate always uses the largest window of the format; zlib is used for shorter windows. */
static int64_t deflate_encode(bool zlib, const struct img_codec_how *how, const void *plain, size_t length,
                              void *coded, size_t capacity)
{
#ifdef HAVE_ZLIB
    if (how->window && how->window != IMG_WINDOW_MAX)
        return deflate_by_zlib(zlib, how->level, __builtin_ctz(how->window), plain, length, coded, capacity);
#endif
    struct workspace *own = workspace();
    struct libdeflate_compressor *deflater = own ? deflater_of(own, how->level ? how->level : DEFLATE_LEVEL) : NULL;
    if (!deflater)
        return -ENOMEM;
    size_t size = zlib ? libdeflate_zlib_compress(deflater, plain, length, coded, capacity)
                       : libdeflate_deflate_compress(deflater, plain, length, coded, capacity);
    return size ? (int64_t)size : -ENOSPC;
}

static int deflate_decode(bool zlib, bool exact, const void *coded, size_t coded_length, void *plain, size_t length)
{
    struct workspace *own = workspace();
    if (own && !own->inflater)
        own->inflater = libdeflate_alloc_decompressor();
    if (!own || !own->inflater)
        return -ENOMEM;
    size_t used, got = 0;
    enum libdeflate_result result =
        zlib ? libdeflate_zlib_decompress_ex(own->inflater, coded, coded_length, plain, length, &used, &got)
             : libdeflate_deflate_decompress_ex(own->inflater, coded, coded_length, plain, length, &used, &got);
    if (result == LIBDEFLATE_SUCCESS)
        return got == length ? 0 : -EIO;
#ifdef HAVE_ZLIB
    return inflate_by_zlib(zlib, exact, coded, coded_length, plain, length);
#else
    (void)exact;
    return -EIO;
#endif
}

#elif defined HAVE_ZLIB
/* Default: qemu-img's window of 4 KiB. */
enum { WINDOW_BITS_WRITTEN = 12 };

static int deflate_level_max(uint32_t window)
{
    (void)window;
    return ZLIB_LEVEL_MAX;
}

static int64_t deflate_encode(bool zlib, const struct img_codec_how *how, const void *plain, size_t length,
                              void *coded, size_t capacity)
{
    int bits = how->window ? __builtin_ctz(how->window) : zlib ? WINDOW_BITS : WINDOW_BITS_WRITTEN;
    return deflate_by_zlib(zlib, how->level, bits, plain, length, coded, capacity);
}

static int deflate_decode(bool zlib, bool exact, const void *coded, size_t coded_length, void *plain, size_t length)
{
    return inflate_by_zlib(zlib, exact, coded, coded_length, plain, length);
}
#endif

/* ---- Zstd --------------------------------------------------------------------------------- */

#ifdef HAVE_ZSTD
/* A static build may lack the compressors of high levels; packaging/slim.sh then defines this symbol. */
extern const int img_zstd_level_max __attribute__((weak));

static int zstd_level_max(void)
{
    return &img_zstd_level_max ? img_zstd_level_max : ZSTD_maxCLevel();
}

static int64_t zstd_encode(int level, const void *plain, size_t length, void *coded, size_t capacity)
{
    struct workspace *own = workspace();
    if (own && !own->zstd_encoder)
        own->zstd_encoder = ZSTD_createCCtx();
    if (!own || !own->zstd_encoder)
        return -ENOMEM;
    size_t size = ZSTD_compressCCtx(own->zstd_encoder, coded, capacity, plain, length,
                                    level ? level : ZSTD_CLEVEL_DEFAULT);
    if (!ZSTD_isError(size))
        return (int64_t)size;
    return ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation ? -ENOMEM : -ENOSPC;
}

/* Frames of RFC 8878 only: the library may also support drafts of the format, which no image uses. */
static bool is_frame(const char *bytes, size_t length)
{
    if (length < 4)
        return false;
    uint32_t magic = img_get_le32(bytes);
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

/* Decode frames until the unit is full.  Whole frames are decoded in place, so that the window in the
 * frame header is never allocated. */
static int zstd_decode(const void *coded, size_t coded_length, void *plain, size_t length)
{
    struct workspace *own = workspace();
    if (own && !own->zstd_decoder)
        own->zstd_decoder = ZSTD_createDCtx();
    if (!own || !own->zstd_decoder)
        return -ENOMEM;
    const char *at = coded;
    size_t left = coded_length, done = 0;
    do {
        if (!is_frame(at, left))
            return -EIO;
        size_t frame = ZSTD_findFrameCompressedSize(at, left);
        if (ZSTD_isError(frame) || frame == 0)
            return -EIO;
        size_t got = ZSTD_decompressDCtx(own->zstd_decoder, (char *)plain + done, length - done, at, frame);
        if (ZSTD_isError(got))
            return -EIO;
        at += frame;
        left -= frame;
        done += got;
    } while (done < length);
    return 0;
}
#endif

/* ---- Bzip2 and xz -------------------------------------------------------------------------- */

#ifdef HAVE_BZIP2
static void *bzip2_get(void *context, int count, int size)
{
    (void)context;
    return img_scratch_get((size_t)count * (size_t)size);
}

static void bzip2_put(void *context, void *bytes)
{
    (void)context;
    img_scratch_put(bytes);
}

static int bzip2_decode(const void *coded, size_t coded_length, void *plain, size_t length)
{
    bz_stream stream = { .bzalloc = bzip2_get, .bzfree = bzip2_put };
    if (length > UINT_MAX || coded_length > UINT_MAX)
        return -EINVAL;
    if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK)
        return -ENOMEM;
    stream.next_in = (char *)(uintptr_t)coded;
    stream.avail_in = (unsigned)coded_length;
    stream.next_out = plain;
    stream.avail_out = (unsigned)length;
    int result = BZ2_bzDecompress(&stream);
    bool full = stream.avail_out == 0;
    BZ2_bzDecompressEnd(&stream);
    if (result == BZ_MEM_ERROR)
        return -ENOMEM;
    return result == BZ_STREAM_END && full ? 0 : -EIO;
}
#endif

#ifdef HAVE_LZMA
/* A stream gives the dictionary size it needs; the presets of the xz tools stay below this limit. */
enum { XZ_MEMORY = 96 << 20 };

static void *xz_get(void *context, size_t count, size_t size)
{
    (void)context;
    return count && size > SIZE_MAX / count ? NULL : img_scratch_get(count * size);
}

static void xz_put(void *context, void *bytes)
{
    (void)context;
    img_scratch_put(bytes);
}

static int xz_decode(const void *coded, size_t coded_length, void *plain, size_t length)
{
    static const lzma_allocator allocator = { xz_get, xz_put, NULL };
    uint64_t memory = XZ_MEMORY;
    size_t used = 0, got = 0;
    lzma_ret result = lzma_stream_buffer_decode(&memory, 0, &allocator, coded, &used, coded_length, plain, &got,
                                                length);
    if (result == LZMA_MEM_ERROR)
        return -ENOMEM;
    return result == LZMA_OK && got == length ? 0 : -EIO;
}
#endif

/* ---- By codec --------------------------------------------------------------------------------- */

bool img_codec_available(enum img_codec codec)
{
    switch (codec) {
#ifdef HAVE_DEFLATE
    case IMG_CODEC_DEFLATE:
    case IMG_CODEC_ZLIB:
        return true;
#endif
#ifdef HAVE_ZSTD
    case IMG_CODEC_ZSTD:
        return true;
#endif
#ifdef HAVE_BZIP2
    case IMG_CODEC_BZIP2:
        return true;
#endif
#ifdef HAVE_LZMA
    case IMG_CODEC_XZ:
        return true;
#endif
    default:
        return false;
    }
}

int img_codec_need(enum img_codec codec)
{
    if (img_codec_available(codec))
        return 0;
    switch (codec) {
    case IMG_CODEC_ZSTD:
        return -IMG_ENOZSTD;
    case IMG_CODEC_BZIP2:
        return -IMG_ENOBZIP2;
    case IMG_CODEC_XZ:
        return -IMG_ENOXZ;
    default:
        return -IMG_ENOZLIB;
    }
}

int img_codec_level_max(enum img_codec codec, uint32_t window)
{
    bool window_good = !window || (window >= IMG_WINDOW_MIN && window <= IMG_WINDOW_MAX && img_power_of_two(window));
    switch (codec) {
#ifdef HAVE_DEFLATE
    case IMG_CODEC_DEFLATE:
    case IMG_CODEC_ZLIB:
        return window_good ? deflate_level_max(window) : 0;
#endif
#ifdef HAVE_ZSTD
    case IMG_CODEC_ZSTD:
        return window ? 0 : zstd_level_max();
#endif
    default:
        (void)window_good;
        return 0;
    }
}

int64_t img_encode_as(enum img_codec codec, const struct img_codec_how *how, const void *plain, size_t length,
                      void *coded, size_t capacity)
{
    (void)plain, (void)length, (void)coded, (void)capacity;
    if (!img_codec_available(codec))
        return img_codec_need(codec);
    if (how->level < 0 || how->level > img_codec_level_max(codec, how->window) ||
        !img_codec_level_max(codec, how->window))
        return -EINVAL;
    switch (codec) {
#ifdef HAVE_DEFLATE
    case IMG_CODEC_DEFLATE:
    case IMG_CODEC_ZLIB:
        return deflate_encode(codec == IMG_CODEC_ZLIB, how, plain, length, coded, capacity);
#endif
#ifdef HAVE_ZSTD
    case IMG_CODEC_ZSTD:
        return zstd_encode(how->level, plain, length, coded, capacity);
#endif
    default:
        return -ENOTSUP;
    }
}

int64_t img_encode(enum img_codec codec, const void *plain, size_t length, void *coded, size_t capacity)
{
    static const struct img_codec_how standard = { 0 };
    return img_encode_as(codec, &standard, plain, length, coded, capacity);
}

static int decode(enum img_codec codec, bool exact, const void *coded, size_t coded_length, void *plain, size_t length)
{
    (void)exact, (void)coded, (void)coded_length, (void)plain, (void)length;
    switch (codec) {
#ifdef HAVE_DEFLATE
    case IMG_CODEC_DEFLATE:
    case IMG_CODEC_ZLIB:
        return deflate_decode(codec == IMG_CODEC_ZLIB, exact, coded, coded_length, plain, length);
#endif
#ifdef HAVE_ZSTD
    case IMG_CODEC_ZSTD:
        return zstd_decode(coded, coded_length, plain, length);
#endif
#ifdef HAVE_BZIP2
    case IMG_CODEC_BZIP2:
        return bzip2_decode(coded, coded_length, plain, length);
#endif
#ifdef HAVE_LZMA
    case IMG_CODEC_XZ:
        return xz_decode(coded, coded_length, plain, length);
#endif
    default:
        return img_codec_need(codec);
    }
}

int img_decode(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length)
{
    return decode(codec, false, coded, coded_length, plain, length);
}

int img_decode_exact(enum img_codec codec, const void *coded, size_t coded_length, void *plain, size_t length)
{
    return decode(codec, true, coded, coded_length, plain, length);
}

/* ---- Sums --------------------------------------------------------------------------------------- */

uint32_t img_crc32(uint32_t sum, const void *bytes, size_t length)
{
#ifdef HAVE_LIBDEFLATE
    return libdeflate_crc32(sum, bytes, length);
#elif defined HAVE_ZLIB
    for (const unsigned char *at = bytes; length > 0; ) {
        uInt part = length > UINT_MAX ? UINT_MAX : (uInt)length;
        sum = (uint32_t)crc32(sum, at, part);
        at += part;
        length -= part;
    }
    return sum;
#else
    (void)bytes, (void)length;
    return sum;
#endif
}
