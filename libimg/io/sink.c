/* SPDX-License-Identifier: MIT */
/*
 * sink.c - writes a file strictly forward.  Small pieces are gathered, large ones are written from the caller's memory,
 * and pieces that are adjacent in memory are written at once.
 */
#include "sink.h"
#include "driver.h"
#include "util/checked.h"
#include "util/fd.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 64 << 10 };

int img_sink_open(struct img_sink *sink, int fd)
{
    *sink = (struct img_sink){ .fd = fd, .buffer = malloc(IMG_SINK_BUFFER) };
    return sink->buffer ? 0 : -ENOMEM;
}

void img_sink_close(struct img_sink *sink)
{
    free(sink->buffer);
    sink->buffer = NULL;
}

int img_sink_flush(struct img_sink *sink)
{
    int ret = img_write_all(sink->fd, sink->buffer, sink->used);

    sink->used = 0;
    if (ret == 0)
        ret = img_write_all(sink->fd, sink->large, sink->large_length);
    sink->large = NULL;
    sink->large_length = 0;
    return ret;
}

/* Make room for `length` bytes, at most IMG_SINK_BUFFER, after the pending ones; NULL with *ret set on failure. */
static unsigned char *take_room(struct img_sink *sink, uint64_t length, int *ret)
{
    unsigned char *at;

    *ret = sink->large_length || length > IMG_SINK_BUFFER - sink->used ? img_sink_flush(sink) : 0;
    if (*ret < 0)
        return NULL;
    at = sink->buffer + sink->used;
    sink->used += length;
    sink->position += length;
    return at;
}

int img_sink_write(struct img_sink *sink, const void *bytes, uint64_t length)
{
    unsigned char *room;
    int ret = 0;

    if (sink->large_length && sink->large + sink->large_length == bytes) {
        sink->large_length += length;
        sink->position += length;
        return 0;
    }
    if (length < LARGE) {
        room = take_room(sink, length, &ret);
        if (room)
            memcpy(room, bytes, length);
        return ret;
    }
    if (sink->large_length)
        ret = img_sink_flush(sink);
    sink->large = bytes;
    sink->large_length = length;
    sink->position += length;
    return ret;
}

int img_sink_zeroes(struct img_sink *sink, uint64_t length)
{
    while (length) {
        uint64_t n = img_min(length, IMG_SINK_BUFFER);
        int ret;
        unsigned char *room = take_room(sink, n, &ret);

        if (!room)
            return ret;
        memset(room, 0, n);
        length -= n;
    }
    return 0;
}

int img_sink_advance(struct img_sink *sink, uint64_t position)
{
    return position < sink->position ? -EIO : img_sink_zeroes(sink, position - sink->position);
}

uint64_t img_sink_position(const struct img_sink *sink)
{
    return sink->position;
}
