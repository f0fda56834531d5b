/* SPDX-License-Identifier: MIT */
/*
 * zstd: the content of a zstd file (RFC 8878) of any number of frames, read only.
 *
 * The headers of frames and blocks are read when the file is opened: they tell where the frames are, and usually how
 * much content each has.  Otherwise a table at the end of the file tells it (the seekable format of zstd's contrib
 * folder), or else these frames are decoded once, to count it.
 */
#include "../../libimg/driver.h"
#include "../../libimg/io/unpacked.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

IMG_NEEDS("zstd");

enum { SPACING = 2 << 20, MOST_FRAMES = 64 << 10, PIECE = 128 << 10 };
/* The most memory that a frame may ask for, as a power of two: what the zstd tool allows by default. */
enum { WINDOW_LOG = 27 };

#define MAGIC 0xfd2fb528u
#define MAGIC_SKIPPED 0x184d2a50u
#define MAGIC_SKIPPED_MASK 0xfffffff0u

struct zstd {
    struct img_unpacked *unpacked;
};

/* ---- Decoding ------------------------------------------------------------------------ */

struct decoder {
    ZSTD_DCtx *context;
    struct img_input input;
    uint64_t left;                  /* content of the segment that is still to come */
    bool inside;                    /* a frame */
};

/* Is the next frame one of RFC 8878?  Libraries may decode drafts of it, too.  1, 0 or a negative errno. */
static int is_frame(struct img_input *input)
{
    int ret = img_input_need(input, 4);
    uint32_t magic;

    if (ret <= 0)
        return ret;
    magic = img_get_le32(input->bytes);
    return magic == MAGIC || (magic & MAGIC_SKIPPED_MASK) == MAGIC_SKIPPED;
}

static int start(struct decoder *in, struct img *file, uint64_t offset)
{
    if (!in->context && !(in->context = ZSTD_createDCtx()))
        return -ENOMEM;
    ZSTD_DCtx_reset(in->context, ZSTD_reset_session_only);
    ZSTD_DCtx_setParameter(in->context, ZSTD_d_windowLogMax, WINDOW_LOG);
    in->inside = false;
    return img_input_start(&in->input, file, offset);
}

static int code_of(size_t result)
{
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation:
        return -ENOMEM;
    case ZSTD_error_frameParameter_windowTooLarge:
        return -EFBIG;
    default:
        return -EIO;
    }
}

/* Decode at most *got bytes, up to the end of a frame; *got: how many it was.  0 or a negative errno. */
static int step(struct decoder *in, void *to, size_t *got)
{
    ZSTD_outBuffer out = { .dst = to, .size = *got };
    int ret = 0;

    do {
        ZSTD_inBuffer bytes;
        size_t result, before = out.pos;
        ret = in->inside ? img_input_need(&in->input, 1) : is_frame(&in->input);
        if (ret < 0)
            return ret;
        /* At the end of the file it may still have content. */
        if (ret == 0 && !in->inside)
            return -EIO;
        bytes = (ZSTD_inBuffer){ .src = in->input.bytes, .size = in->input.left };
        result = ZSTD_decompressStream(in->context, &out, &bytes);
        img_input_skip(&in->input, bytes.pos);
        if (ZSTD_isError(result))
            return code_of(result);
        in->inside = result != 0;
        if (in->inside && bytes.pos == 0 && out.pos == before)
            return -EIO;
    } while (in->inside && out.pos < out.size);
    *got = out.pos;
    return 0;
}

static void end(struct decoder *in)
{
    ZSTD_freeDCtx(in->context);
    img_input_end(&in->input);
}

static int zstd_start(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length)
{
    struct decoder *in = *decoder ? *decoder : img_calloc(1, sizeof *in);

    *decoder = in;
    if (!in)
        return -ENOMEM;
    in->left = length;
    return start(in, image->file, segment->coded);
}

static int zstd_run(struct img *image, void *decoder, void *buffer, size_t length)
{
    struct decoder *in = decoder;
    char *to = buffer, none;
    int ret = 0;

    (void)image;
    in->left -= length;
    while (ret == 0 && length > 0) {
        size_t got = length;
        ret = step(in, to, &got);
        to += got;
        length -= ret == 0 ? got : 0;
    }
    /* The sum at the end of the frame. */
    while (ret == 0 && in->left == 0 && in->inside) {
        size_t got = 0;
        ret = step(in, &none, &got);
    }
    return ret;
}

static void zstd_drop(void *decoder)
{
    if (decoder)
        end(decoder);
    free(decoder);
}

/* ---- Frames ---------------------------------------------------------------------------- */

enum { FRAME_HEAD = 18, BLOCK_HEAD = 3 };

struct frame {
    uint64_t start, end;            /* in the file */
    uint64_t content;               /* UINT64_MAX: not known */
};

static int truncated(struct img_error *err)
{
    return img_error_set(err, EIO, "The zstd file is truncated");
}

static int damaged(uint64_t at, struct img_error *err)
{
    return img_error_set(err, EIO, "The zstd file is damaged at %llu", (unsigned long long)at);
}

/* The descriptor of a frame's header says which fields follow. */
static size_t head_length(unsigned descriptor)
{
    static const unsigned char dictionary[] = { 0, 1, 2, 4 }, content[] = { 0, 2, 4, 8 };
    bool single = descriptor & 32;
    unsigned size = descriptor >> 6;

    return 5 + !single + dictionary[descriptor & 3] + (size ? content[size] : single);
}

static uint64_t content_length(const unsigned char *head, size_t length)
{
    unsigned descriptor = head[4], size = descriptor >> 6;

    switch (size) {
    case 0:
        return descriptor & 32 ? head[length - 1] : UINT64_MAX;
    case 1:
        return img_get_le16(head + length - 2) + 256u;
    case 2:
        return img_get_le32(head + length - 4);
    default:
        return img_get_le64(head + length - 8);
    }
}

/* From block to block to the end of the frame. */
static int find_end(struct img *file, struct frame *frame, uint64_t at, bool sum, struct img_error *err)
{
    uint64_t size = img_size(file);
    bool last = false;

    while (!last) {
        unsigned char head[4] = { 0 };
        uint32_t block;
        int ret = size - at < BLOCK_HEAD ? truncated(err) : img_pread(file, head, at, BLOCK_HEAD);
        if (ret < 0)
            return ret;
        block = img_get_le32(head);
        last = block & 1;
        if ((block >> 1 & 3) == 3)
            return damaged(at, err);
        at += BLOCK_HEAD;
        block = (block >> 1 & 3) == 1 ? 1 : block >> 3;
        if (block > size - at)
            return truncated(err);
        at += block;
    }
    if (sum && size - at < 4)
        return truncated(err);
    frame->end = at + (sum ? 4 : 0);
    return 0;
}

/* Read the headers of the frame that begins at frame->start. */
static int read_frame(struct img *file, struct frame *frame, struct img_error *err)
{
    unsigned char head[FRAME_HEAD] = { 0 };
    uint64_t left = img_size(file) - frame->start;
    uint32_t magic;
    size_t length;
    int ret = img_pread_padded(file, head, frame->start, sizeof head);

    if (ret < 0)
        return ret;
    if (left < 8)
        return truncated(err);
    magic = img_get_le32(head);
    if ((magic & MAGIC_SKIPPED_MASK) == MAGIC_SKIPPED) {
        frame->content = 0;
        frame->end = frame->start + 8 + img_get_le32(head + 4);
        return frame->end > img_size(file) ? truncated(err) : 0;
    }
    if (magic != MAGIC)
        return img_error_set(err, EINVAL, "Not in zstd format at %llu", (unsigned long long)frame->start);
    length = head_length(head[4]);
    if (length > left)
        return truncated(err);
    frame->content = content_length(head, length);
    return find_end(file, frame, frame->start + length, head[4] & 4, err);
}

/* Decode a frame that does not tell its length. */
static int count_content(struct decoder *in, struct img *file, struct frame *frame, struct img_error *err)
{
    char *piece = img_malloc(PIECE);
    int ret = piece ? start(in, file, frame->start) : -ENOMEM;

    frame->content = 0;
    do {
        size_t got = PIECE;
        ret = ret < 0 ? ret : step(in, piece, &got);
        if (ret == 0 && !img_add(frame->content, got, &frame->content))
            ret = -EFBIG;
    } while (ret == 0 && in->inside);
    free(piece);
    if (ret == -EIO)
        return damaged(img_input_at(&in->input), err);
    if (ret == -EFBIG)
        return img_error_set(err, EFBIG, "The zstd file needs a window of more than %u MiB", 1u << WINDOW_LOG >> 20);
    return ret;
}

static int add_frame(struct img_segments *list, const struct frame *frame, uint64_t *size)
{
    int ret = frame->content ? img_segments_add(list, *size, frame->start, NULL) : 0;

    if (ret < 0)
        return ret;
    return img_add(*size, frame->content, size) && *size <= INT64_MAX ? 0 : -EFBIG;
}

static int scan(struct img *file, struct img_segments *list, uint64_t *size, struct img_error *err)
{
    struct decoder in = { 0 };
    struct frame frame = { 0 };
    int ret = 0;

    *size = 0;
    do {
        ret = read_frame(file, &frame, err);
        if (ret == 0 && frame.content == UINT64_MAX)
            ret = count_content(&in, file, &frame, err);
        if (ret == 0)
            ret = add_frame(list, &frame, size);
        frame.start = frame.end;
        ret = ret < 0 ? ret : img_input_is_end(file, frame.start);
    } while (ret == 0);
    end(&in);
    return ret < 0 ? ret : 0;
}

/* ---- The table of the seekable format ------------------------------------------------------ */

#define TABLE_MAGIC 0x8f92eab1u
enum { TABLE_END = 9, TABLE_SUMS = 128, TABLE_PIECE = 6144 };

/* Add the frames of the table, whose entries begin at `at`.  1; 0: they are not where the table says. */
static int add_table(struct img *file, uint64_t at, uint32_t count, unsigned entry, struct img_segments *list,
                     uint64_t *size)
{
    unsigned char piece[TABLE_PIECE];
    struct frame frame = { 0 };
    uint64_t table = at - 8;

    for (uint32_t i = 0; i < count; i++, frame.start = frame.end) {
        unsigned in_piece = i % (TABLE_PIECE / 12);
        const unsigned char *bytes = piece + in_piece * entry;
        int ret = in_piece ? 0 : img_pread(file, piece, at + (uint64_t)i * entry,
                                           (size_t)img_min(TABLE_PIECE / 12, count - i) * entry);
        if (ret < 0)
            return ret;
        frame.end = frame.start + img_get_le32(bytes);
        frame.content = img_get_le32(bytes + 4);
        if (frame.end > table || (frame.content && frame.end == frame.start))
            return 0;
        ret = add_frame(list, &frame, size);
        if (ret < 0)
            return ret;
    }
    return frame.end == table;
}

/* A table ends with a byte that is not zero; the storage is counted in sectors.  *end: behind the last such byte. */
static int find_table_end(struct img *file, uint64_t *end)
{
    unsigned char last[512];
    size_t length = (size_t)img_min(img_size(file), sizeof last);
    int ret = img_pread(file, last, img_size(file) - length, length);

    *end = img_size(file);
    while (length > 0 && last[--length] == 0)
        --*end;
    return ret;
}

/* 1: the file has a table, and the segments were found; 0: it has none. */
static int read_table(struct img *file, struct img_segments *list, uint64_t *size)
{
    unsigned char foot[TABLE_END], head[8];
    uint64_t file_size, length;
    uint32_t count;
    unsigned entry;
    int ret = find_table_end(file, &file_size);

    *size = 0;
    if (ret < 0)
        return ret;
    if (file_size < TABLE_END + 8)
        return 0;
    ret = img_pread(file, foot, file_size - TABLE_END, sizeof foot);
    if (ret < 0)
        return ret;
    count = img_get_le32(foot);
    entry = foot[4] & TABLE_SUMS ? 12 : 8;
    length = (uint64_t)count * entry + TABLE_END;
    if (img_get_le32(foot + 5) != TABLE_MAGIC || foot[4] & 0x7c || length + 8 > file_size)
        return 0;
    ret = img_pread(file, head, file_size - length - 8, sizeof head);
    if (ret < 0)
        return ret;
    if (img_get_le32(head) != (MAGIC_SKIPPED | 14) || img_get_le32(head + 4) != length)
        return 0;
    return add_table(file, file_size - length, count, entry, list, size);
}

/* ---- Driver -------------------------------------------------------------------------------- */

static int zstd_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    static const struct img_unpacking how = { .start = zstd_start, .run = zstd_run, .end = zstd_drop };
    struct img_segments list = { .spacing = SPACING, .most = MOST_FRAMES };
    struct zstd *zstd = image->state;
    uint64_t size;
    int ret;

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A zstd file cannot be written to");
    ret = read_table(image->file, &list, &size);
    if (ret == 0) {
        img_segments_free(&list);
        list = (struct img_segments){ .spacing = SPACING, .most = MOST_FRAMES };
        ret = scan(image->file, &list, &size, err);
    }
    if (ret < 0) {
        img_segments_free(&list);
        return ret;
    }
    image->size = size;
    zstd->unpacked = img_unpacked_new(image, &how, &list);
    return zstd->unpacked ? 0 : -ENOMEM;
}

static int zstd_close(struct img *image)
{
    struct zstd *zstd = image->state;

    img_unpacked_free(zstd->unpacked);
    zstd->unpacked = NULL;
    return 0;
}

static int zstd_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct zstd *zstd = image->state;

    return img_unpacked_read(zstd->unpacked, buffer, offset, length);
}

static int zstd_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)err;
    return img_unpacked_parse_name("zstd", name, options);
}

const struct img_driver img_driver_zstd = {
    IMG_ROW(
        .name = "zstd", .kind = IMG_ADAPTER, .prefix = "zstd",
        .marks = IMG_MARKS(IMG_AT(0, "\x28\xb5\x2f\xfd"), IMG_OR, IMG_AT(1, "\x2a\x4d\x18"), IMG_AT_LEAST(0, "\x50"))
    ),
    .state_size = sizeof(struct zstd), .parse_name = zstd_parse_name, .plain_name = img_unpacked_plain_name,
    .open = zstd_open, .close = zstd_close, .pread = zstd_pread,
    .length = img_unpacked_length,
};
