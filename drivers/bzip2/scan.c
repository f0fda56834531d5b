/* SPDX-License-Identifier: MIT */
/* scan.c - finds the blocks of a bzip2 file, and counts their content by decoding them, several at a time. */
#include "bzip2.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/team.h"
#include "../../libimg/util/vector.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_MARK 0x314159265359ull
#define END_MARK 0x177245385090ull
enum { MARK_BITS = 48, SUM_BITS = 32, HEAD = 4 };
/* Content of a segment, if it can be chosen. */
enum { SPACING = 4 << 20 };
/* For 1.8 TB in blocks of 900 kB; what is found takes 32 bytes each. */
enum { MOST_MARKS = 2 << 20 };
enum { PIECE = 64 << 10, STACK = 128 << 10 };

struct mark {
    uint64_t bit;
    bool is_end;                    /* of a stream */
    uint32_t sum;                   /* of the content of the block, or of those of the stream */
    /* Of a block, when it was decoded: */
    uint64_t length;
    uint32_t next;                  /* the mark that follows is so much further on; 0: it is no block */
};

struct scan {
    struct img *file;
    IMG_VECTOR(struct mark) marks;
    size_t next;                    /* to be decoded; atomic */
    int error;                      /* the first that is not of one block: no memory, or the file; atomic */
};

/* ---- Marks ---------------------------------------------------------------------------- */

/* Each mark, at any of the eight bits, has one of 16 values in the byte before its last two. */
static void fill_filter(bool filter[256])
{
    for (int shift = 0; shift < 8; shift++) {
        filter[(BLOCK_MARK >> (16 - shift)) & 255] = true;
        filter[(END_MARK >> (16 - shift)) & 255] = true;
    }
}

static int add_mark(struct scan *scan, uint64_t bit, bool is_end)
{
    if (scan->marks.count >= MOST_MARKS)
        return -EFBIG;
    return IMG_VECTOR_PUSH(&scan->marks, (struct mark){ .bit = bit, .is_end = is_end }) ? 0 : -ENOMEM;
}

/* `last`: the last 64 bits before byte `at`, in which marks end that are not in the byte before. */
static int look(struct scan *scan, uint64_t last, uint64_t at)
{
    for (unsigned shift = 8; shift-- > 0; ) {
        uint64_t bits = last >> shift & ((1ull << MARK_BITS) - 1), end = at * 8 - shift;
        int ret = 0;
        if ((bits == BLOCK_MARK || bits == END_MARK) && end >= MARK_BITS)
            ret = add_mark(scan, end - MARK_BITS, bits == END_MARK);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int find_marks(struct scan *scan)
{
    struct img_input input = { 0 };
    bool filter[256] = { false };
    uint64_t last = 0, at = 0;
    int ret = img_input_start(&input, scan->file, 0);

    fill_filter(filter);
    while (ret == 0 && (ret = img_input_need(&input, 1)) > 0) {
        ret = 0;
        for (size_t i = 0; i < input.left && ret == 0; i++) {
            last = last << 8 | input.bytes[i];
            at++;
            if (filter[last >> 16 & 255])
                ret = look(scan, last, at);
        }
        img_input_skip(&input, input.left);
    }
    img_input_end(&input);
    return ret;
}

/* ---- Sums ------------------------------------------------------------------------------- */

/* The 32 bits from a bit of the file on. */
static int read_bits(struct img *file, uint64_t bit, uint32_t *bits)
{
    unsigned char bytes[8] = { 0 };
    int ret = img_pread_padded(file, bytes, bit / 8, 5);

    *bits = (uint32_t)(img_get_be64(bytes) >> (32 - bit % 8));
    return ret;
}

static int read_sums(struct scan *scan)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < scan->marks.count; i++)
        ret = read_bits(scan->file, scan->marks.at[i].bit + MARK_BITS, &scan->marks.at[i].sum);
    return ret;
}

/* ---- Decoding ------------------------------------------------------------------------------ */

struct worker {
    struct scan *scan;
    struct bunzip in;
    char *piece;
};

static int prepare(void *worker)
{
    struct worker *w = worker;

    w->piece = img_malloc(2 * PIECE);
    return w->piece ? 0 : -ENOMEM;
}

/* Feed whole bytes, and count what comes. */
static int count(struct worker *w, const void *bytes, size_t length, uint64_t *content)
{
    const char *at = bytes;
    int ret = 0;

    for (;;) {
        size_t coded = length, got = PIECE;
        ret = bzip2_feed(&w->in, at, &coded, w->piece, &got);
        if (ret < 0 || !img_add(*content, got, content))
            return ret < 0 ? ret : -EIO;
        at += coded;
        length -= coded;
        if (w->in.ended || (length == 0 && got < PIECE))
            return w->in.ended && length ? -EIO : 0;
        if (coded == 0 && got == 0)
            return -EIO;
    }
}

/* The bits [from, to) of the file as whole bytes, then the bits that end a stream of one block with this sum. */
struct bits {
    uint64_t pending;
    unsigned count;
    char *to;
    size_t length;
};

static void put_bits(struct bits *bits, uint64_t value, unsigned count_of)
{
    for (; count_of >= 8; count_of -= 8) {
        bits->pending = bits->pending << 8 | (value >> (count_of - 8) & 255);
        bits->to[bits->length++] = (char)(bits->pending >> bits->count & 255);
    }
    if (count_of) {
        bits->pending = bits->pending << count_of | (value & ((1u << count_of) - 1));
        bits->count += count_of;
    }
    if (bits->count >= 8) {
        bits->count -= 8;
        bits->to[bits->length++] = (char)(bits->pending >> bits->count & 255);
    }
}

/* Decode the block from `first` to the mark `last` as a stream of its own. */
static int decode(struct worker *w, const struct mark *first, const struct mark *last, uint64_t *content)
{
    struct bits bits = { .to = w->piece + PIECE };
    uint64_t left = last->bit - first->bit;
    int ret = bzip2_start(&w->in, w->scan->file, first->bit);

    *content = 0;
    /* The bits of the first byte that belong to the block. */
    if (ret == 0 && first->bit % 8) {
        unsigned some = 8 - (unsigned)(first->bit % 8);
        put_bits(&bits, w->in.input.bytes[0], some);
        img_input_skip(&w->in.input, 1);
        left -= some;
    }
    while (ret == 0 && left >= 8) {
        size_t part;
        ret = img_input_need(&w->in.input, 1);
        if (ret <= 0)
            return ret < 0 ? ret : -EIO;
        part = (size_t)img_min(img_min(w->in.input.left, left / 8), PIECE / 2);
        for (size_t i = 0; i < part; i++)
            put_bits(&bits, w->in.input.bytes[i], 8);
        img_input_skip(&w->in.input, part);
        left -= (uint64_t)part * 8;
        ret = count(w, bits.to, bits.length, content);
        bits.length = 0;
    }
    if (ret == 0 && left) {
        ret = img_input_need(&w->in.input, 1) > 0 ? 0 : -EIO;
        if (ret == 0)
            put_bits(&bits, w->in.input.bytes[0] >> (8 - left), (unsigned)left);
    }
    put_bits(&bits, END_MARK, MARK_BITS);
    put_bits(&bits, first->sum, SUM_BITS);
    put_bits(&bits, 0, 7);
    if (ret == 0)
        ret = count(w, bits.to, bits.length, content);
    return ret == 0 && !w->in.ended ? -EIO : ret;
}

/* The bits of a mark may stand inside a block by chance, about once in 30 TB.  Then the block ends at the next one. */
static void decode_block(struct worker *w, size_t index)
{
    struct mark *mark = &w->scan->marks.at[index];
    int ret = -EIO;

    for (uint32_t next = 1; ret == -EIO && next <= 2 && index + next < w->scan->marks.count; next++) {
        ret = decode(w, mark, mark + next, &mark->length);
        mark->next = ret == 0 ? next : 0;
    }
    if (ret < 0 && ret != -EIO)
        __atomic_store_n(&w->scan->error, ret, __ATOMIC_RELAXED);
}

static void *work(void *worker)
{
    struct worker *w = worker;
    size_t index;

    while (!__atomic_load_n(&w->scan->error, __ATOMIC_RELAXED) &&
           (index = __atomic_fetch_add(&w->scan->next, 1, __ATOMIC_RELAXED)) < w->scan->marks.count)
        if (!w->scan->marks.at[index].is_end)
            decode_block(w, index);
    return NULL;
}

static int decode_all(struct scan *scan)
{
    struct worker workers[16] = { { .scan = NULL } };
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct img_team team = { .workers = workers, .size = sizeof *workers, .stack = STACK, .prepare = prepare,
                             .work = work };
    int ret;

    team.count = (unsigned)img_min(sizeof workers / sizeof *workers, processors > 0 ? (uint64_t)processors : 1);
    for (unsigned i = 0; i < team.count; i++)
        workers[i].scan = scan;
    ret = img_team_run(&team);
    for (unsigned i = 0; i < team.count; i++) {
        bzip2_end(&workers[i].in);
        free(workers[i].piece);
    }
    return ret < 0 ? ret : scan->error;
}

/* ---- Streams -------------------------------------------------------------------------------- */

struct place {
    uint64_t at;                    /* a byte of the file */
    size_t mark;                    /* the next mark */
    uint64_t plain;
    bool in_stream;                 /* the segment began inside the stream, so it cannot go on behind it */
};

static int damaged(uint64_t at, struct img_error *err)
{
    return img_error_set(err, EIO, "The bzip2 file is damaged or truncated at %llu", (unsigned long long)at);
}

/* Begin a segment at a block, if it is time for one. */
static int add_segment(struct img_segments *list, struct place *place, uint64_t bit, bool first)
{
    bool due = list->count == 0 || place->plain - list->at[list->count - 1].plain >= SPACING;

    if (!due && !(first && place->in_stream))
        return 0;
    place->in_stream = !first;
    return img_segments_add(list, place->plain, first ? place->at * 8 : bit, NULL);
}

/* From the header of a stream to its end. */
static int add_stream(const struct scan *scan, struct img_segments *list, struct place *place, struct img_error *err)
{
    uint64_t expected = (place->at + HEAD) * 8;
    uint32_t sum = 0;
    bool first = true;

    while (place->mark < scan->marks.count && scan->marks.at[place->mark].bit < expected)
        place->mark++;
    for (;;) {
        const struct mark *mark = place->mark < scan->marks.count ? &scan->marks.at[place->mark] : NULL;
        int ret;
        if (!mark || mark->bit != expected)
            return damaged(expected / 8, err);
        if (mark->is_end)
            break;
        if (mark->next == 0)
            return damaged(mark->bit / 8, err);
        ret = mark->length ? add_segment(list, place, mark->bit, first) : 0;
        if (ret < 0)
            return ret;
        if (!img_add(place->plain, mark->length, &place->plain) || place->plain > INT64_MAX)
            return -EFBIG;
        sum = (sum << 1 | sum >> 31) ^ mark->sum;
        first = false;
        place->mark += mark->next;
        expected = mark[mark->next].bit;
    }
    if (sum != scan->marks.at[place->mark].sum)
        return img_error_set(err, EIO, "The bzip2 file is damaged: wrong checksum at %llu",
                             (unsigned long long)expected / 8);
    place->at = img_div_up(expected + MARK_BITS + SUM_BITS, 8);
    return 0;
}

static int add_streams(const struct scan *scan, struct img_segments *list, uint64_t *size, struct img_error *err)
{
    struct place place = { 0 };
    int ret = 0;

    while (ret == 0) {
        unsigned char head[HEAD];
        ret = img_pread_padded(scan->file, head, place.at, HEAD);
        if (ret == 0 && (memcmp(head, "BZh", 3) != 0 || head[3] < '1' || head[3] > '9'))
            return img_error_set(err, EINVAL, "Not in bzip2 format at %llu", (unsigned long long)place.at);
        if (ret == 0)
            ret = add_stream(scan, list, &place, err);
        if (ret == 0)
            ret = img_input_is_end(scan->file, place.at);
    }
    *size = place.plain;
    return ret < 0 ? ret : 0;
}

int bzip2_scan(struct img *file, struct img_segments *list, uint64_t *size, struct img_error *err)
{
    struct scan scan = { .file = file };
    int ret = find_marks(&scan);

    if (ret == 0)
        ret = read_sums(&scan);
    if (ret == 0)
        ret = decode_all(&scan);
    if (ret == 0)
        ret = add_streams(&scan, list, size, err);
    if (ret == -EFBIG && !err->text)
        img_error_set(err, EFBIG, "The bzip2 file has too many blocks");
    free(scan.marks.at);
    return ret;
}
