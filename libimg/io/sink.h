/* SPDX-License-Identifier: MIT */
/* sink.h - bytes on their way into a pipe, for the copy engine; drivers see the functions of driver.h. */
#ifndef IMG_SINK_H
#define IMG_SINK_H

#include <stddef.h>
#include <stdint.h>

enum { IMG_SINK_BUFFER = 128 << 10 };

struct img_sink {
    int fd;
    uint64_t position;              /* with what waits */
    unsigned char *buffer;          /* small pieces wait here, `used` bytes; */
    size_t used;
    const unsigned char *large;     /* behind them a piece that waits where its owner has it */
    uint64_t large_length;
};

int img_sink_open(struct img_sink *sink, int fd);
/* What waits is dropped; the file stays open. */
void img_sink_close(struct img_sink *sink);

#endif
