/* SPDX-License-Identifier: MIT */
/*
 * Guest writes.  New blocks are appended.
 * Specification: "Block Allocation Table and Data Blocks".
 *
 * First the footer is written after the place of the new block, then the block's bitmap over the old footer: so the
 * file always ends with a footer, even if the process is killed.  A new block is a hole in the file, so it reads as
 * before, and its entry may reach the BAT before or after its data.  But an entry must not point beyond the end of
 * the file, so entries wait until the new length is durable.
 */
#include "vpc.h"

enum { BITS_BYTES = 4096 };
/* tag[] of a reservation, for publish: where the data of the block begin; where in it the sectors do; their length. */
enum { TAG_HOST, TAG_INSIDE, TAG_LENGTH };

/* Mark all sectors of a block as present: unwritten ones read as zeroes.  On a differencing disk none is, at first. */
static int write_bitmap(struct img *image, uint64_t place)
{
    struct vpc *s = vpc_state(image);
    uint8_t bits[BITS_BYTES];
    int status = 0;

    memset(bits, s->differencing ? 0 : 0xff, sizeof bits);
    for (uint64_t at = 0; at < s->bitmap_bytes && status == 0; at += BITS_BYTES)
        status = img_pwrite(image->file, bits, place + at, (size_t)img_min(s->bitmap_bytes - at, BITS_BYTES));
    if (status == 0)
        s->marked = place;
    return status;
}

/*
 * Clear bytes that a killed process left after the last block, and the part of the old footer that the bitmap does
 * not cover.
 */
static int clear_place(struct img *image, uint64_t data, uint64_t end)
{
    return data < end ? img_zero(image->file, data, end - data, IMG_ZERO_MAY_UNMAP) : 0;
}

static int allocate_block(struct img *image, uint64_t index, uint64_t *host)
{
    struct vpc *s = vpc_state(image);
    uint64_t place = s->free_offset, data = place + s->bitmap_bytes, end = data + s->block_size;
    uint64_t used = img_size(image->file);
    int status;

    if (place / VPC_SECTOR >= VPC_UNUSED)
        return -EFBIG;
    if ((status = img_pwrite(image->file, s->footer, end, VPC_FOOTER_BYTES)) < 0 ||
        (status = clear_place(image, data, img_min(used, end))) < 0 ||
        (status = write_bitmap(image, place)) < 0 ||
        (status = vpc_set_block(image, index, place)) < 0)
        return status;
    s->free_offset = end;
    *host = data;
    return 0;
}

/* Does a block overlap the header or the BAT?  Then no disk tool has put it there. */
static bool in_metadata(const struct vpc *s, uint64_t place, uint64_t end)
{
    uint64_t table_end = s->table_offset + (uint64_t)s->entries * 4;

    return place < VPC_FOOTER_BYTES || (place < s->header_offset + VPC_HEADER_BYTES && end > s->header_offset) ||
           (place < table_end && end > s->table_offset);
}

/* Check the place of an allocated block before writing to it. */
static int check_block(const struct vpc *s, uint64_t host)
{
    return in_metadata(s, host - s->bitmap_bytes, host + s->block_size) ? -EIO : 0;
}

static int use_block(struct img *image, uint64_t index, uint64_t *host)
{
    struct vpc *s = vpc_state(image);
    int status = vpc_find_block(image, index, host);

    if (status < 0)
        return status;
    if (status == 0)
        return allocate_block(image, index, host);
    status = check_block(s, *host);
    if (status == 0 && !s->differencing && s->marked != *host - s->bitmap_bytes)
        status = write_bitmap(image, *host - s->bitmap_bytes);
    return status;
}

/* On a fixed disk, writes must stop before the footer, which may describe a larger disk than the file holds. */
static uint64_t before_footer(const struct img *image, uint64_t offset, uint64_t length)
{
    uint64_t end = img_size(image->file) - VPC_FOOTER_BYTES;

    return offset < end ? img_min(length, end - offset) : 0;
}

/*
 * On a differencing disk: the bits of the sectors are set once their bytes are there.  What is left of the first and
 * the last sector comes from the parent, if they are its.
 */
static int reserve_sectors(struct img *image, uint64_t block, uint64_t inside, struct img_reservation *to)
{
    uint64_t first = img_align_down(inside, VPC_SECTOR), end = inside + to->length;
    uint64_t last = img_align_up(end, VPC_SECTOR), length;
    bool own;
    int status = vpc_look_at_sectors(image, block, inside, &own, &length);

    if (status < 0)
        return status;
    to->published = own;
    if (own) {
        to->length = img_min(to->length, length);
        return 0;
    }
    to->head = inside - first;
    to->tail = last - end;
    to->tag[TAG_HOST] = block;
    to->tag[TAG_INSIDE] = first;
    to->tag[TAG_LENGTH] = last - first;
    return 0;
}

int vpc_publish(struct img *image, struct img_reservation *at)
{
    return vpc_own_sectors(image, at->tag[TAG_HOST], at->tag[TAG_INSIDE], at->tag[TAG_LENGTH]);
}

int vpc_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    const struct vpc *s = vpc_state(image);

    to->file = image->file;
    to->published = true;
    to->length = length;
    to->host = offset;
    if (s->fixed) {
        to->length = before_footer(image, offset, length);
        return to->length ? 0 : -EIO;
    }
    uint64_t inside = offset & (s->block_size - 1);
    uint64_t block = 0;
    int status = use_block(image, offset / s->block_size, &block);
    to->length = img_min(length, s->block_size - inside);
    if (status == 0 && s->differencing)
        status = reserve_sectors(image, block, inside, to);
    to->host = block + inside;
    return status;
}

int vpc_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct vpc *s = vpc_state(image);
    int status = 0;

    if (s->fixed && before_footer(image, offset, length) < length)
        return -EIO;
    if (s->fixed)
        return img_zero(image->file, offset, length, flags);
    /* A sector without a place is the parent's. */
    if (s->differencing)
        return -ENOTSUP;
    while (length > 0 && status == 0) {
        uint64_t inside = offset & (s->block_size - 1), part = img_min(s->block_size - inside, length), host;
        int there = vpc_find_block(image, offset / s->block_size, &host);
        status = there > 0 ? check_block(s, host) : there;
        if (there > 0 && status == 0)
            status = img_zero(image->file, host + inside, part, flags);
        offset += part;
        length -= part;
    }
    return status;
}

int vpc_flush(struct img *image)
{
    struct vpc *s = vpc_state(image);
    int status = s->bitmaps ? img_pages_write_aside(s->bitmaps) : 0;

    return s->table && status == 0 ? img_pages_write_aside(s->table) : status;
}
