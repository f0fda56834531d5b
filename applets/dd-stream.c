/* SPDX-License-Identifier: MIT */
/* dd-stream.c - skipping the start of a stream, and detecting its end. */
#include "dd.h"

#include <sys/stat.h>
#include <unistd.h>

/* Seek in a file on standard input. 1: done, 0: it is too short, -1: it is not a file. */
static int seek_forward(int fd, uint64_t length)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat st;

    if (at < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    if (at > st.st_size || length > (uint64_t)(st.st_size - at))
        return 0;
    return lseek(fd, (off_t)length, SEEK_CUR) < 0 ? -1 : 1;
}

int dd_skip_stream(int fd, uint64_t length)
{
    char buffer[16 << 10];
    int ret = seek_forward(fd, length);

    if (ret >= 0)
        return ret;
    while (length) {
        uint64_t wanted = img_min(length, sizeof buffer);
        int64_t n = img_read_all(fd, buffer, wanted, NULL);
        if (n < 0 || (uint64_t)n < wanted)
            return n < 0 ? (int)n : 0;
        length -= wanted;
    }
    return 1;
}

int dd_at_end(int fd)
{
    char byte;
    int64_t n = img_read_all(fd, &byte, 1, NULL);

    return n < 0 ? (int)n : n == 0;
}
