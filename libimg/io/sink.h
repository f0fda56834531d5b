/* SPDX-License-Identifier: MIT */
/* sink.h - a stream of bytes into a pipe, for the copy engine; drivers use the functions of driver.h. */
#ifndef IMG_SINK_H
#define IMG_SINK_H

#include <stddef.h>
#include <stdint.h>

enum { IMG_SINK_BUFFER = 128 << 10 };

struct img_sink {
    int fd;
    uint64_t position;              /* including pending bytes */
    unsigned char *buffer;          /* small pending pieces, `used` bytes; */
    size_t used;
    const unsigned char *large;     /* after them a large pending piece, in its owner's memory */
    uint64_t large_length;
};

int img_sink_open(struct img_sink *sink, int fd);
/* Drop pending bytes; the file stays open. */
void img_sink_close(struct img_sink *sink);

#endif
