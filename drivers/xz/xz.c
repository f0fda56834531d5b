/* SPDX-License-Identifier: MIT */
/*
 * xz: the content of an .xz file (The .xz File Format 1.2.0) of any number of streams, read only.
 *
 * A stream ends with an index: the length of each block, and of its content.  The file is read from its end, so all of
 * it is known without decoding.
 */
#include "../../libimg/driver.h"
#include "../../libimg/io/unpacked.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/vector.h"
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

IMG_NEEDS("xz");

/* The most memory that the decoder of a block may ask for; `xz -9` makes 65 MiB. */
#define MEMORY_MOST (512ull << 20)
/* All decoders together. */
#define MEMORY_ALL (256ull << 20)
/* An index is read in one piece. */
enum { INDEX_MOST = 64 << 20 };

struct xz {
    struct img_unpacked *unpacked;
};

/* ---- Decoding ------------------------------------------------------------------------ */

/* A segment is a block.  Where it begins, and the kind of its checksum, are one number. */
enum { CHECK_BITS = 4 };

struct decoder {
    lzma_stream stream;
    lzma_block block;               /* the stream writes to it until the block ends */
    struct img_input input;
    uint64_t left;                  /* content of the block that is still to come */
};

static int code_of(lzma_ret result)
{
    switch (result) {
    case LZMA_OK:
    case LZMA_STREAM_END:
        return 0;
    case LZMA_MEM_ERROR:
        return -ENOMEM;
    case LZMA_MEMLIMIT_ERROR:
        return -EFBIG;
    case LZMA_OPTIONS_ERROR:
        return -ENOTSUP;
    default:
        return -EIO;
    }
}

static void free_filters(lzma_filter *filters)
{
    for (size_t i = 0; filters[i].id != LZMA_VLI_UNKNOWN; i++)
        free(filters[i].options);
}

/* Read the header of the block that comes next.  The caller frees what the filters need. */
static int read_head(struct img_input *input, lzma_block *block)
{
    int ret = img_input_need(input, 1);

    if (ret <= 0 || input->bytes[0] == 0)
        return ret < 0 ? ret : -EIO;
    block->header_size = lzma_block_header_size_decode(input->bytes[0]);
    ret = img_input_need(input, block->header_size);
    if (ret <= 0)
        return ret < 0 ? ret : -EIO;
    ret = code_of(lzma_block_header_decode(block, NULL, input->bytes));
    if (ret == 0)
        img_input_skip(input, block->header_size);
    return ret;
}

static int xz_start(struct img *image, void **decoder, const struct img_segment *segment, uint64_t length)
{
    static const lzma_stream fresh = LZMA_STREAM_INIT;
    lzma_filter filters[LZMA_FILTERS_MAX + 1] = { { .id = LZMA_VLI_UNKNOWN } };
    struct decoder *in = *decoder ? *decoder : img_calloc(1, sizeof *in);
    int ret;

    if (in && !*decoder)
        in->stream = fresh;
    *decoder = in;
    ret = in ? img_input_start(&in->input, image->file, segment->coded >> CHECK_BITS) : -ENOMEM;
    if (ret < 0)
        return ret;
    in->left = length;
    in->block = (lzma_block){ .version = 1, .filters = filters,
                              .check = (lzma_check)(segment->coded & ((1 << CHECK_BITS) - 1)) };
    ret = read_head(&in->input, &in->block);
    if (ret < 0)
        return ret;
    if (in->block.uncompressed_size != LZMA_VLI_UNKNOWN && in->block.uncompressed_size != length)
        ret = -EIO;
    else if (lzma_raw_decoder_memusage(filters) > MEMORY_MOST)
        ret = -EFBIG;
    else
        ret = code_of(lzma_block_decoder(&in->stream, &in->block));
    free_filters(filters);
    in->block.filters = NULL;
    return ret;
}

static int xz_run(struct img *image, void *decoder, void *buffer, size_t length)
{
    struct decoder *in = decoder;
    lzma_stream *stream = &in->stream;
    lzma_ret result = LZMA_OK;

    (void)image;
    in->left -= length;
    stream->next_out = buffer;
    stream->avail_out = length;
    while (result == LZMA_OK && (stream->avail_out > 0 || in->left == 0)) {
        size_t before = stream->avail_out;
        int ret = img_input_need(&in->input, 1);
        if (ret < 0)
            return ret;
        stream->next_in = in->input.bytes;
        stream->avail_in = in->input.left;
        result = lzma_code(stream, LZMA_RUN);
        if (stream->avail_in == in->input.left && stream->avail_out == before && result == LZMA_OK)
            return -EIO;
        img_input_skip(&in->input, in->input.left - stream->avail_in);
    }
    if (result != LZMA_OK && result != LZMA_STREAM_END)
        return code_of(result);
    /* The block ends with its last byte, neither before nor later. */
    return stream->avail_out == 0 && (result == LZMA_STREAM_END) == (in->left == 0) ? 0 : -EIO;
}

static void xz_drop(void *decoder)
{
    struct decoder *in = decoder;

    if (!in)
        return;
    lzma_end(&in->stream);
    img_input_end(&in->input);
    free(in);
}

/* ---- Streams and their indexes ------------------------------------------------------------ */

enum { ENDS = LZMA_STREAM_HEADER_SIZE, PAD = 4, PAD_PIECE = 4096 };

struct stream {
    uint64_t start, index;          /* where it begins, and its index */
    size_t index_length;
    lzma_check check;
};

/* The blocks of an index: where the next one begins, in the file and in the content. */
struct blocks {
    struct img_segments *list;      /* NULL: only add up */
    uint64_t at, plain;
    lzma_check check;
};

static int add_block(struct blocks *blocks, uint64_t unpadded, uint64_t content)
{
    uint64_t coded;
    int ret = 0;

    if (unpadded < 5 || unpadded > INT64_MAX || blocks->at > INT64_MAX >> CHECK_BITS)
        return -EIO;
    coded = img_align_up(unpadded, PAD);
    if (blocks->list && content)
        ret = img_segments_add(blocks->list, blocks->plain, blocks->at << CHECK_BITS | (unsigned)blocks->check, NULL);
    if (ret < 0)
        return ret;
    if (!img_add(blocks->at, coded, &blocks->at) || !img_add(blocks->plain, content, &blocks->plain))
        return -EFBIG;
    return blocks->plain > INT64_MAX ? -EFBIG : 0;
}

static int get_number(const uint8_t *bytes, size_t length, size_t *at, uint64_t *number)
{
    lzma_vli value = 0;
    lzma_ret result = lzma_vli_decode(&value, NULL, bytes, at, length);

    *number = value;
    return result == LZMA_OK ? 0 : -EIO;
}

/* The sum at the end is checked already. */
static int read_records(const uint8_t *bytes, size_t length, struct blocks *blocks)
{
    uint64_t count, unpadded, content;
    size_t at = 1;
    int ret = bytes[0] ? -EIO : get_number(bytes, length, &at, &count);

    while (ret == 0 && count-- > 0) {
        ret = get_number(bytes, length, &at, &unpadded);
        if (ret == 0)
            ret = get_number(bytes, length, &at, &content);
        if (ret == 0)
            ret = add_block(blocks, unpadded, content);
    }
    if (ret == 0 && (length - at >= PAD || !img_is_zero(bytes + at, length - at)))
        ret = -EIO;
    return ret;
}

static int read_index(struct img *file, const struct stream *stream, struct blocks *blocks)
{
    size_t length = stream->index_length;
    uint8_t *bytes = img_malloc(length);
    int ret = bytes ? img_pread(file, bytes, stream->index, length) : -ENOMEM;

    blocks->check = stream->check;
    if (ret == 0 && lzma_crc32(bytes, length - PAD, 0) != img_get_le32(bytes + length - PAD))
        ret = -EIO;
    if (ret == 0)
        ret = read_records(bytes, length - PAD, blocks);
    free(bytes);
    return ret;
}

/* Between streams, and behind the last, there may be zeroes, four or a multiple.  *end is moved before them. */
static int skip_padding(struct img *file, uint64_t *end)
{
    uint8_t bytes[PAD_PIECE];

    while (*end >= PAD) {
        size_t length = (size_t)img_min(*end, sizeof bytes), left = length;
        int ret = img_pread(file, bytes, *end - length, length);
        if (ret < 0)
            return ret;
        while (left >= PAD && img_is_zero(bytes + left - PAD, PAD))
            left -= PAD;
        *end -= length - left;
        if (left >= PAD)
            break;
    }
    return 0;
}

/* Read the ends of the stream that ends at `end`, and its index. */
static int read_stream(struct img *file, uint64_t end, struct stream *stream)
{
    lzma_stream_flags foot, head;
    struct blocks blocks = { 0 };
    uint8_t bytes[ENDS];
    int ret;

    if (end < 2 * ENDS + 2 * PAD)
        return -EIO;
    ret = img_pread(file, bytes, end - ENDS, ENDS);
    if (ret == 0)
        ret = code_of(lzma_stream_footer_decode(&foot, bytes));
    if (ret < 0)
        return ret;
    if (foot.backward_size > end - 2 * ENDS)
        return -EIO;
    if (foot.backward_size > INDEX_MOST)
        return -EFBIG;
    *stream = (struct stream){ .index = end - ENDS - foot.backward_size, .check = foot.check,
                               .index_length = (size_t)foot.backward_size };
    ret = read_index(file, stream, &blocks);
    if (ret < 0)
        return ret;
    if (blocks.at > stream->index - ENDS)
        return -EIO;
    stream->start = stream->index - blocks.at - ENDS;
    ret = img_pread(file, bytes, stream->start, ENDS);
    if (ret == 0)
        ret = code_of(lzma_stream_header_decode(&head, bytes));
    return ret < 0 ? ret : code_of(lzma_stream_flags_compare(&head, &foot));
}

static int bad(uint64_t at, int ret, struct img_error *err)
{
    switch (ret) {
    case -EIO:
        return img_error_set(err, EIO, "The xz file is truncated or damaged: no sound index before %llu",
                             (unsigned long long)at);
    case -EFBIG:
        return img_error_set(err, EFBIG, "The xz file has too many blocks");
    default:
        return ret;
    }
}

static int scan(struct img *file, struct img_segments *list, uint64_t *size, struct img_error *err)
{
    IMG_VECTOR(struct stream) streams = { 0 };
    struct blocks blocks = { .list = list };
    uint64_t end = img_size(file);
    struct stream stream;
    int ret = 0;

    do {
        ret = skip_padding(file, &end);
        if (ret == 0)
            ret = bad(end, read_stream(file, end, &stream), err);
        if (ret == 0 && !IMG_VECTOR_PUSH(&streams, stream))
            ret = -ENOMEM;
        end = ret == 0 ? stream.start : 0;
    } while (end > 0);
    for (size_t i = streams.count; ret == 0 && i-- > 0; ) {
        blocks.at = streams.at[i].start + ENDS;
        ret = bad(streams.at[i].index, read_index(file, &streams.at[i], &blocks), err);
    }
    free(streams.at);
    *size = blocks.plain;
    return ret;
}

/* ---- Driver -------------------------------------------------------------------------------- */

/* How many decoders may run; all blocks are usually alike. */
static unsigned decoders(struct img *file, const struct img_segments *list)
{
    lzma_filter filters[LZMA_FILTERS_MAX + 1] = { { .id = LZMA_VLI_UNKNOWN } };
    lzma_block block = { .version = 1, .filters = filters };
    struct img_input input = { 0 };
    uint64_t memory = 0;

    if (list->count && img_input_start(&input, file, list->at[0].coded >> CHECK_BITS) == 0 &&
        read_head(&input, &block) == 0)
        memory = lzma_raw_decoder_memusage(filters);
    free_filters(filters);
    img_input_end(&input);
    return (unsigned)img_max(1, img_min(MEMORY_ALL / img_max(memory, 1), 1000));
}

static int xz_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct img_unpacking how = { .start = xz_start, .run = xz_run, .end = xz_drop };
    struct img_segments list = { 0 };
    struct xz *xz = image->state;
    uint64_t size;
    int ret;

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "An xz file cannot be written to");
    ret = scan(image->file, &list, &size, err);
    if (ret < 0) {
        img_segments_free(&list);
        return ret;
    }
    how.decoders = decoders(image->file, &list);
    image->size = size;
    xz->unpacked = img_unpacked_new(image, &how, &list);
    return xz->unpacked ? 0 : -ENOMEM;
}

static int xz_close(struct img *image)
{
    struct xz *xz = image->state;

    img_unpacked_free(xz->unpacked);
    xz->unpacked = NULL;
    return 0;
}

static int xz_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct xz *xz = image->state;

    return img_unpacked_read(xz->unpacked, buffer, offset, length);
}

static int xz_parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)err;
    return img_unpacked_parse_name("xz", name, options);
}

const struct img_driver img_driver_xz = {
    IMG_ROW(
        .name = "xz", .kind = IMG_ADAPTER, .prefix = "xz", .marks = IMG_MARKS(IMG_AT(0, "\xfd" "7zXZ\0"))
    ),
    .state_size = sizeof(struct xz), .parse_name = xz_parse_name, .plain_name = img_unpacked_plain_name,
    .open = xz_open, .close = xz_close, .pread = xz_pread,
    .length = img_unpacked_length,
};
