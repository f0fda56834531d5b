/* SPDX-License-Identifier: MIT */
/*
 * bzip2: the content of a bzip2 file of any number of streams, read only.
 *
 * A stream is a header ("BZh", and the most content of a block), blocks, and its end.  Blocks begin at any bit, with a
 * mark of 48 bits and the sum of their content; they do not tell how long they are.  So they are found by their marks,
 * and decoded once, in parallel, when the file is opened.  Then reading can begin with any block.
 */
#include "bzip2.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

IMG_NEEDS("bzip2");

struct bzip2 {
    struct img_unpacked *unpacked;
};

/* ---- Decoding from any bit ------------------------------------------------------------ */

enum { SHIFTED = 16 << 10 };

static int reset(struct bunzip *in)
{
    if (in->alive)
        BZ2_bzDecompressEnd(&in->stream);
    in->alive = BZ2_bzDecompressInit(&in->stream, 0, 0) == BZ_OK;
    in->ended = false;
    return in->alive ? 0 : -ENOMEM;
}

int bzip2_feed(struct bunzip *in, const void *bytes, size_t *coded, void *to, size_t *got)
{
    bz_stream *stream = &in->stream;
    int result;

    stream->next_in = (char *)(uintptr_t)bytes;
    stream->avail_in = (unsigned)*coded;
    stream->next_out = to;
    stream->avail_out = (unsigned)*got;
    result = BZ2_bzDecompress(stream);
    *coded -= stream->avail_in;
    *got -= stream->avail_out;
    in->ended = result == BZ_STREAM_END;
    if (result == BZ_MEM_ERROR)
        return -ENOMEM;
    return result == BZ_OK || result == BZ_STREAM_END ? 0 : -EIO;
}

int bzip2_start(struct bunzip *in, struct img *file, uint64_t bit)
{
    char head[] = { 'B', 'Z', 'h', '9' };
    size_t coded = sizeof head, got = 0;
    int ret = reset(in);

    if (ret == 0)
        ret = img_input_start(&in->input, file, bit / 8);
    if (ret == 0)
        ret = img_input_need(&in->input, 4);
    if (ret <= 0)
        return ret < 0 ? ret : -EIO;
    in->shift = (unsigned)(bit % 8);
    in->shifted_left = 0;
    in->whole = in->shift == 0 && memcmp(in->input.bytes, "BZh", 3) == 0;
    if (in->shift && !in->shifted && !(in->shifted = img_malloc(SHIFTED)))
        return -ENOMEM;
    return in->whole ? 0 : bzip2_feed(in, head, &coded, NULL, &got);
}

/* Have coded bytes that begin where the block does.  1; 0 at the end of the file. */
static int shift_input(struct bunzip *in)
{
    const unsigned char *bytes;
    size_t length;
    int ret;

    if (in->shifted_left)
        return 1;
    ret = img_input_need(&in->input, 2);
    if (ret <= 0)
        return ret;
    bytes = in->input.bytes;
    length = (size_t)img_min(in->input.left - 1, SHIFTED);
    for (size_t i = 0; i < length; i++)
        in->shifted[i] = (char)(bytes[i] << in->shift | bytes[i + 1] >> (8 - in->shift));
    img_input_skip(&in->input, length);
    in->shifted_left = length;
    /* At its end, so that what is left is found there. */
    memmove(in->shifted + SHIFTED - length, in->shifted, length);
    return 1;
}

/* Decode at most *got bytes. */
static int step(struct bunzip *in, void *to, size_t *got)
{
    size_t coded;
    int ret = 0;

    if (in->ended && in->whole)
        ret = reset(in);
    else if (in->ended)
        ret = -EIO;
    if (ret < 0)
        return ret;
    ret = in->shift ? shift_input(in) : img_input_need(&in->input, 1);
    if (ret < 0)
        return ret;
    /* It may still have content when the file has ended. */
    coded = in->shift ? in->shifted_left : in->input.left;
    size_t before = *got, fed = coded;
    ret = bzip2_feed(in, in->shift ? (void *)(in->shifted + SHIFTED - coded) : (void *)(uintptr_t)in->input.bytes,
                     &fed, to, got);
    if (in->shift)
        in->shifted_left -= fed;
    else
        img_input_skip(&in->input, fed);
    return ret == 0 && fed == 0 && *got == 0 && before > 0 ? -EIO : ret;
}

void bzip2_end(struct bunzip *in)
{
    if (in->alive)
        BZ2_bzDecompressEnd(&in->stream);
    img_input_end(&in->input);
    free(in->shifted);
    *in = (struct bunzip){ 0 };
}

static int start(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length)
{
    struct bunzip *in = *decoder ? *decoder : img_calloc(1, sizeof *in);

    *decoder = in;
    if (!in)
        return -ENOMEM;
    in->left = length;
    return bzip2_start(in, image->file, segment->coded);
}

static int run(struct img *image, void *decoder, void *buffer, size_t length)
{
    struct bunzip *in = decoder;
    char *to = buffer;
    int ret = 0;

    (void)image;
    while (ret == 0 && length > 0) {
        size_t got = length;
        ret = step(in, to, &got);
        to += got;
        length -= got;
        in->left -= got;
    }
    /* Where decoding began inside a stream, the sum at its end does not match.  All sums were checked before. */
    return ret == -EIO && in->left == 0 && !in->whole ? 0 : ret;
}

static void drop(void *decoder)
{
    if (decoder)
        bzip2_end(decoder);
    free(decoder);
}

/* ---- Driver -------------------------------------------------------------------------------- */

static int bzip2_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    static const struct img_unpacking how = { .start = start, .run = run, .end = drop };
    struct img_segments list = { 0 };
    struct bzip2 *bzip2 = image->state;
    uint64_t size;
    int ret;

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A bzip2 file cannot be written to");
    ret = bzip2_scan(image->file, &list, &size, err);
    if (ret < 0) {
        img_segments_free(&list);
        return ret;
    }
    image->size = size;
    bzip2->unpacked = img_unpacked_new(image, &how, &list);
    return bzip2->unpacked ? 0 : -ENOMEM;
}

static int bzip2_close(struct img *image)
{
    struct bzip2 *bzip2 = image->state;

    img_unpacked_free(bzip2->unpacked);
    bzip2->unpacked = NULL;
    return 0;
}

static int bzip2_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct bzip2 *bzip2 = image->state;

    return img_unpacked_read(bzip2->unpacked, buffer, offset, length);
}

static int bzip2_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)err;
    return img_unpacked_parse_name("bzip2", name, options);
}

const struct img_driver img_driver_bzip2 = {
    IMG_ROW(
        .name = "bzip2", .kind = IMG_ADAPTER, .prefix = "bzip2",
        .marks = IMG_MARKS(IMG_AT(0, "BZh"), IMG_AT(4, "1AY&SY"), IMG_OR,
                           IMG_AT(0, "BZh"), IMG_AT(4, "\x17\x72\x45\x38\x50\x90"))
    ),
    .state_size = sizeof(struct bzip2), .parse_name = bzip2_parse_name, .plain_name = img_unpacked_plain_name,
    .open = bzip2_open, .close = bzip2_close, .pread = bzip2_pread,
    .length = img_unpacked_length,
};
