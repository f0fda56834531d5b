/* SPDX-License-Identifier: MIT */
/*
 * gzip: the content of a gzip file (RFC 1952) of any number of members, read only.
 *
 * BGZF (specification: SAMv1, section 4.1): each member has at most 64 KiB of content, and its length in a field BC of
 * its header.  So its length is found without decoding.
 *
 * In any other file the length of the content is only known when all of it was decoded (the number at the end is modulo
 * 2^32, and of the last member).  That is done once, when the file is opened; every sum is checked then, and the state
 * of the decoder is kept at some places, where decoding can begin later.
 */
#include "gzip.h"
#include "../../libimg/codec/codec.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/scratch.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>

IMG_NEEDS("zlib");

enum { SPACING = 2 << 20, MOST_STATES = 512, MOST_PLACES = 64 << 10 };
/* What is decoded at once when the file is opened. */
enum { PIECE = 128 << 10 };

struct gzip {
    struct img_unpacked *unpacked;
};

/* ---- Headers ---------------------------------------------------------------------- */

enum { ID1 = 0x1f, ID2 = 0x8b, DEFLATE = 8, FIXED = 10, TRAILER = 8 };
enum { FLAG_HCRC = 2, FLAG_EXTRA = 4, FLAG_NAME = 8, FLAG_COMMENT = 16, FLAGS_RESERVED = 0xe0 };

/* Skip a text with its end.  Like all of these: 1, 0 at the end of the file, or a negative errno. */
static int skip_text(struct img_input *input)
{
    for (;;) {
        int ret = img_input_need(input, 1);
        const unsigned char *end;
        if (ret <= 0)
            return ret;
        end = memchr(input->bytes, 0, input->left);
        img_input_skip(input, end ? (size_t)(end - input->bytes) + 1 : input->left);
        if (end)
            return 1;
    }
}

static int skip_bytes(struct img_input *input, size_t count)
{
    while (count > 0) {
        int ret = img_input_need(input, 1);
        size_t part = (size_t)img_min(count, input->left);
        if (ret <= 0)
            return ret;
        img_input_skip(input, part);
        count -= part;
    }
    return 1;
}

int gzip_skip_header(struct img_input *input)
{
    int ret = img_input_need(input, FIXED), flags;

    if (ret <= 0)
        return ret;
    flags = input->bytes[3];
    if (input->bytes[0] != ID1 || input->bytes[1] != ID2 || input->bytes[2] != DEFLATE || flags & FLAGS_RESERVED)
        return -EINVAL;
    img_input_skip(input, FIXED);
    if (flags & FLAG_EXTRA) {
        if ((ret = img_input_need(input, 2)) <= 0)
            return ret;
        size_t length = img_get_le16(input->bytes);
        img_input_skip(input, 2);
        ret = skip_bytes(input, length);
    }
    if (ret > 0 && flags & FLAG_NAME)
        ret = skip_text(input);
    if (ret > 0 && flags & FLAG_COMMENT)
        ret = skip_text(input);
    if (ret > 0 && flags & FLAG_HCRC)
        ret = skip_bytes(input, 2);
    return ret;
}

/* ---- BGZF ----------------------------------------------------------------------------- */

uint32_t gzip_bgzf_length(const unsigned char *head, size_t length)
{
    size_t at = FIXED + 2, end;

    if (length < FIXED + 2 || head[0] != ID1 || head[1] != ID2 || head[2] != DEFLATE || head[3] != FLAG_EXTRA)
        return 0;
    end = img_min(at + img_get_le16(head + FIXED), length);
    while (at + 4 <= end) {
        size_t field = img_get_le16(head + at + 2);
        if (head[at] == 'B' && head[at + 1] == 'C' && field == 2 && at + 6 <= end)
            return img_get_le16(head + at + 4) + 1u;
        at += 4 + field;
    }
    return 0;
}

/* Find the segments of a file that is BGZF to its end.  1; 0: it is not; or a negative errno. */
static int scan_bgzf(struct img *file, struct img_segments *list, uint64_t *size)
{
    uint64_t at = 0, end = img_size(file);
    /* The length of the content of one member, then the header of the next. */
    unsigned char bytes[4 + GZIP_BGZF_HEAD];

    for (*size = 0; at < end; ) {
        int ret = img_pread_padded(file, bytes + (at ? 0 : 4), at ? at - 4 : 0, at ? sizeof bytes : GZIP_BGZF_HEAD);
        if (ret < 0)
            return ret;
        if (at) {
            uint32_t length = img_get_le32(bytes);
            if (length > GZIP_BGZF_MAX)
                return 0;
            *size += length;
        }
        uint32_t coded = gzip_bgzf_length(bytes + 4, (size_t)img_min(GZIP_BGZF_HEAD, end - at));
        if (coded < FIXED + 2 + 6 + TRAILER || coded > end - at) {
            ret = img_input_is_end(file, at);
            return ret < 0 ? ret : at && ret;
        }
        ret = img_segments_add(list, *size, at, NULL);
        if (ret < 0)
            return ret;
        at += coded;
    }
    if (at == 0 || img_pread(file, bytes, at - 4, 4) < 0 || img_get_le32(bytes) > GZIP_BGZF_MAX)
        return 0;
    *size += img_get_le32(bytes);
    return 1;
}

/* ---- Other files ---------------------------------------------------------------------- */

static int check_end(struct img_input *input, uint32_t sum, uint64_t length, struct img_error *err)
{
    int ret = img_input_need(input, TRAILER);

    if (ret <= 0)
        return ret;
    if (img_get_le32(input->bytes) != sum || img_get_le32(input->bytes + 4) != (uint32_t)length)
        return img_error_set(err, EIO, "The gzip file is damaged: wrong checksum at %llu",
                             (unsigned long long)img_input_at(input));
    img_input_skip(input, TRAILER);
    return 1;
}

/* Keep what a decoder needs to begin here, between two blocks of deflate. */
static int keep_state(struct img_segments *list, struct inflater *in, uint64_t plain)
{
    struct gzip_state *state;

    if (!img_segments_want(list, plain))
        return 0;
    state = img_malloc(sizeof *state);
    if (!state)
        return -ENOMEM;
    gzip_save(in, state);
    return img_segments_add(list, plain, img_input_at(&in->input), state);
}

/* Decode a member to its end, and find where decoding can begin. */
static int scan_member(struct img_segments *list, struct inflater *in, unsigned char *piece, uint64_t *size,
                       struct img_error *err)
{
    uint64_t start = *size;
    uint32_t sum = 0;
    int ret = 1;

    while (ret > 0 && !in->ended) {
        size_t got = PIECE;
        ret = gzip_inflate(in, piece, &got, true);
        sum = img_crc32(sum, piece, got);
        *size += got;
        if (*size > INT64_MAX)
            return -EFBIG;
        if (ret > 0 && in->between)
            ret = keep_state(list, in, *size) < 0 ? -ENOMEM : 1;
    }
    return ret > 0 ? check_end(&in->input, sum, *size - start, err) : ret;
}

/* Behind the last member there may be zeroes, as tapes and disks leave them.  1: there is another member. */
static int another_member(struct img_input *input, struct img_error *err)
{
    uint64_t at = img_input_at(input);
    int ret = img_input_need(input, 1);

    if (ret <= 0 || input->bytes[0] == ID1)
        return ret;
    while ((ret = img_input_need(input, 1)) > 0) {
        if (!img_is_zero(input->bytes, input->left))
            return img_error_set(err, EIO, "The gzip file is damaged: something else follows at %llu",
                                 (unsigned long long)at);
        img_input_skip(input, input->left);
    }
    return ret;
}

/* Find the segments by decoding all of it. */
static int scan(struct img *file, struct img_segments *list, uint64_t *size, struct img_error *err)
{
    struct inflater in = { 0 };
    unsigned char *piece = img_malloc(PIECE);
    int ret = piece ? img_input_start(&in.input, file, 0) : -ENOMEM;

    *size = 0;
    for (ret = ret < 0 ? ret : 1; ret > 0; ret = ret > 0 ? another_member(&in.input, err) : ret) {
        uint64_t at = img_input_at(&in.input);
        ret = gzip_skip_header(&in.input);
        if (ret > 0)
            ret = img_segments_add(list, *size, at, NULL) < 0 ? -ENOMEM : 1;
        if (ret > 0)
            ret = gzip_reset(&in);
        if (ret > 0)
            ret = scan_member(list, &in, piece, size, err);
        if (ret == 0)
            ret = img_error_set(err, EIO, "The gzip file is truncated");
        if (ret == -EIO && !err->text)
            img_error_set(err, EIO, "The gzip file is damaged at %llu", (unsigned long long)img_input_at(&in.input));
        if (ret == -EINVAL && !err->text)
            img_error_set(err, EINVAL, "Not in gzip format at %llu", (unsigned long long)at);
    }
    free(piece);
    gzip_end(&in);
    return ret;
}

/* ---- Driver -------------------------------------------------------------------------------- */

static int gzip_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct img_unpacking how = gzip_bgzf_unpacking;
    struct img_segments list = { .spacing = SPACING, .most = MOST_PLACES };
    struct gzip *gzip = image->state;
    uint64_t size;
    int ret;

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A gzip file cannot be written to");
    ret = scan_bgzf(image->file, &list, &size);
    if (ret == 0) {
        img_segments_free(&list);
        list = (struct img_segments){ .spacing = SPACING, .most = MOST_STATES };
        how = gzip_unpacking;
        ret = scan(image->file, &list, &size, err);
    }
    if (ret < 0) {
        img_segments_free(&list);
        return ret;
    }
    image->size = size;
    gzip->unpacked = img_unpacked_new(image, &how, &list);
    return gzip->unpacked ? 0 : -ENOMEM;
}

static int gzip_close(struct img *image)
{
    struct gzip *gzip = image->state;

    img_unpacked_free(gzip->unpacked);
    gzip->unpacked = NULL;
    return 0;
}

static int gzip_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct gzip *gzip = image->state;

    return img_unpacked_read(gzip->unpacked, buffer, offset, length);
}

static int gzip_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)err;
    return img_unpacked_parse_name("gzip", name, options);
}

const struct img_driver img_driver_gzip = {
    IMG_ROW(
        .name = "gzip", .kind = IMG_ADAPTER, .prefix = "gzip", .marks = IMG_MARKS(IMG_AT(0, "\x1f\x8b\x08"))
    ),
    .state_size = sizeof(struct gzip), .parse_name = gzip_parse_name, .plain_name = img_unpacked_plain_name,
    .open = gzip_open, .close = gzip_close, .pread = gzip_pread,
    .length = img_unpacked_length,
};
