/* SPDX-License-Identifier: MIT */
/* inflate.c - decodes gzip files: streams of deflate piece by piece, and the members of BGZF at once. */
#include "gzip.h"
#include "../../libimg/codec/codec.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>

enum { WINDOW_BITS = 15, TRAILER = 8 };

/* ---- A stream of deflate ---------------------------------------------------------------- */

int gzip_reset(struct inflater *in)
{
    int result = in->alive ? inflateReset2(&in->stream, -WINDOW_BITS) : inflateInit2(&in->stream, -WINDOW_BITS);

    in->alive = in->alive || result == Z_OK;
    in->ended = in->between = false;
    return result == Z_OK ? 1 : -ENOMEM;
}

int gzip_inflate(struct inflater *in, unsigned char *to, size_t *got, bool blocks)
{
    z_stream *stream = &in->stream;
    int result = Z_OK, ret = 1;

    stream->next_out = to;
    stream->avail_out = (uInt)*got;
    in->between = false;
    while (ret > 0 && stream->avail_out > 0 && !in->ended && !in->between) {
        ret = img_input_need(&in->input, 1);
        if (ret <= 0)
            break;
        stream->next_in = (Bytef *)(uintptr_t)in->input.bytes;
        stream->avail_in = (uInt)in->input.left;
        result = inflate(stream, blocks ? Z_BLOCK : Z_NO_FLUSH);
        if (stream->avail_in < in->input.left)
            in->last = stream->next_in[-1];
        img_input_skip(&in->input, in->input.left - stream->avail_in);
        in->ended = result == Z_STREAM_END;
        in->between = blocks && stream->data_type & 128 && !(stream->data_type & 64);
        if (result == Z_MEM_ERROR)
            ret = -ENOMEM;
        else if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            ret = -EIO;
    }
    *got -= stream->avail_out;
    return ret;
}

void gzip_save(struct inflater *in, struct gzip_state *state)
{
    uInt length = sizeof state->window;

    state->bits = (unsigned)in->stream.data_type & 7;
    state->byte = in->last;
    inflateGetDictionary(&in->stream, state->window, &length);
    state->length = length;
}

static int restore(struct inflater *in, const struct gzip_state *state)
{
    int ret = gzip_reset(in);

    if (ret < 0)
        return ret;
    if (state->bits && inflatePrime(&in->stream, (int)state->bits, (int)(state->byte >> (8 - state->bits))) != Z_OK)
        return -EIO;
    if (state->length && inflateSetDictionary(&in->stream, state->window, state->length) != Z_OK)
        return -EIO;
    return 1;
}

void gzip_end(struct inflater *in)
{
    if (in->alive)
        inflateEnd(&in->stream);
    in->alive = false;
    img_input_end(&in->input);
}

/* ---- Segments of any file ------------------------------------------------------------------ */

static int gzip_start(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length)
{
    struct inflater *in = *decoder ? *decoder : img_calloc(1, sizeof *in);
    int ret;

    (void)length;
    *decoder = in;
    ret = in ? img_input_start(&in->input, image->file, segment->coded) : -ENOMEM;
    if (ret == 0 && segment->state) {
        ret = restore(in, segment->state);
    } else if (ret == 0) {
        ret = gzip_skip_header(&in->input);
        if (ret > 0)
            ret = gzip_reset(in);
    }
    return ret > 0 ? 0 : ret < 0 ? ret : -EIO;
}

/* Sums were checked when the file was opened. */
static int next_member(struct inflater *in)
{
    int ret = img_input_need(&in->input, TRAILER);

    if (ret <= 0)
        return ret;
    img_input_skip(&in->input, TRAILER);
    ret = gzip_skip_header(&in->input);
    return ret > 0 ? gzip_reset(in) : ret;
}

static int gzip_run(struct img *image, void *decoder, void *buffer, size_t length)
{
    struct inflater *in = decoder;
    unsigned char *to = buffer;
    int ret = 1;

    (void)image;
    while (length > 0) {
        size_t got = length;
        if (in->ended)
            ret = next_member(in);
        if (ret > 0)
            ret = gzip_inflate(in, to, &got, false);
        if (ret <= 0)
            return ret < 0 ? ret : -EIO;
        to += got;
        length -= got;
    }
    return 0;
}

static void gzip_drop(void *decoder)
{
    if (decoder)
        gzip_end(decoder);
    free(decoder);
}

const struct img_unpacking gzip_unpacking = { .start = gzip_start, .run = gzip_run, .end = gzip_drop };

/* ---- Segments of BGZF ------------------------------------------------------------------------ */

struct bgzf {
    struct img_input input;
    unsigned used, left;            /* of the member that was decoded last */
    unsigned char plain[GZIP_BGZF_MAX];
};

static int bgzf_start(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length)
{
    struct bgzf *bgzf = *decoder ? *decoder : img_calloc(1, sizeof *bgzf);

    (void)length;
    *decoder = bgzf;
    if (!bgzf)
        return -ENOMEM;
    bgzf->used = bgzf->left = 0;
    return img_input_start(&bgzf->input, image->file, segment->coded);
}

/* Decode the member that comes next: into `to` if it fits, otherwise into the buffer.  Returns its length, if it is in
 * `to`; or 0; or a negative errno. */
static int decode_member(struct bgzf *bgzf, unsigned char *to, size_t room)
{
    struct img_input *input = &bgzf->input;
    int ret = img_input_need(input, 1);
    uint32_t coded, length, head;
    unsigned char *plain;

    if (ret <= 0)
        return ret < 0 ? ret : -EIO;
    img_input_need(input, GZIP_BGZF_HEAD);
    coded = gzip_bgzf_length(input->bytes, img_min(input->left, GZIP_BGZF_HEAD));
    ret = img_input_need(input, coded);
    if (coded == 0 || ret <= 0)
        return ret < 0 ? ret : -EIO;
    head = 12u + img_get_le16(input->bytes + 10);
    if (head + TRAILER > coded)
        return -EIO;
    length = img_get_le32(input->bytes + coded - 4);
    if (length > GZIP_BGZF_MAX)
        return -EIO;
    plain = length <= room ? to : bgzf->plain;
    ret = img_decode_exact(IMG_CODEC_DEFLATE, input->bytes + head, coded - head - TRAILER, plain, length);
    if (ret < 0)
        return ret;
    if (img_crc32(0, plain, length) != img_get_le32(input->bytes + coded - TRAILER))
        return -EIO;
    img_input_skip(input, coded);
    bgzf->used = 0;
    bgzf->left = plain == to ? 0 : length;
    return plain == to ? (int)length : 0;
}

static int bgzf_run(struct img *image, void *decoder, void *buffer, size_t length)
{
    struct bgzf *bgzf = decoder;
    unsigned char *to = buffer;

    (void)image;
    while (length > 0) {
        size_t part = (size_t)img_min(bgzf->left, length);
        memcpy(to, bgzf->plain + bgzf->used, part);
        bgzf->used += (unsigned)part;
        bgzf->left -= (unsigned)part;
        if (part == 0) {
            int got = decode_member(bgzf, to, length);
            if (got < 0)
                return got;
            part = (size_t)got;
        }
        to += part;
        length -= part;
    }
    return 0;
}

static void bgzf_drop(void *decoder)
{
    struct bgzf *bgzf = decoder;

    if (bgzf)
        img_input_end(&bgzf->input);
    free(bgzf);
}

const struct img_unpacking gzip_bgzf_unpacking = { .start = bgzf_start, .run = bgzf_run, .end = bgzf_drop };
