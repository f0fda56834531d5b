/* SPDX-License-Identifier: MIT */
/*
 * Which bytes of a read have come.  A server may send them in parts, in any order, but none twice: to count them is not
 * enough.  Most come in order, so that there is one part.
 */
#include "nbd.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* A server that leaves more gaps at a time is refused. */
enum { MOST_PARTS = 4096 };

/* The first part that ends at this offset or behind it. */
static size_t find_part(const struct nbd_received *received, uint64_t offset)
{
    size_t low = 0, high = received->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (received->at[middle].end < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_part(struct nbd_received *received, size_t index)
{
    received->count--;
    memmove(&received->at[index], &received->at[index + 1], (received->count - index) * sizeof *received->at);
}

static int make_room(struct nbd_received *received)
{
    size_t capacity = received->capacity * 2;
    bool few = received->at == received->few;
    struct nbd_part *more;

    if (received->count < received->capacity)
        return 0;
    if (capacity > MOST_PARTS)
        return -EIO;
    more = img_realloc(few ? NULL : received->at, capacity * sizeof *more);
    if (!more)
        return -ENOMEM;
    if (few)
        memcpy(more, received->few, sizeof received->few);
    received->at = more;
    received->capacity = capacity;
    return 0;
}

static int insert_part(struct nbd_received *received, size_t index, struct nbd_part part)
{
    int ret = make_room(received);

    if (ret < 0)
        return ret;
    memmove(&received->at[index + 1], &received->at[index], (received->count - index) * sizeof *received->at);
    received->at[index] = part;
    received->count++;
    return 0;
}

void nbd_received_begin(struct nbd_received *received)
{
    received->at = received->few;
    received->count = 0;
    received->capacity = NBD_FEW_PARTS;
}

void nbd_received_end(struct nbd_received *received)
{
    if (received->at != received->few)
        free(received->at);
}

int nbd_received_add(struct nbd_received *received, uint64_t offset, uint64_t length)
{
    struct nbd_part part = { .start = offset, .end = offset + length };
    size_t index = find_part(received, offset), behind;
    bool joins;

    if (length == 0)
        return 0;
    joins = index < received->count && received->at[index].end == offset;
    behind = index + joins;
    if (behind < received->count && received->at[behind].start < part.end)
        return -EIO;
    if (behind < received->count && received->at[behind].start == part.end) {
        if (joins) {
            part.start = received->at[index].start;
            remove_part(received, index);
        }
        received->at[index].start = part.start;
        return 0;
    }
    if (!joins)
        return insert_part(received, index, part);
    received->at[index].end = part.end;
    return 0;
}

bool nbd_received_all(const struct nbd_received *received, uint64_t offset, uint64_t length)
{
    return received->count == 1 && received->at[0].start == offset && received->at[0].end == offset + length;
}
