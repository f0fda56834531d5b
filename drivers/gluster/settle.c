/* SPDX-License-Identifier: MIT */
/* Calls in flight, by what libgfapi says of itself. */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define COUNT "\"Call_Count\": "
/* In bytes; in milliseconds: bricks are told a second after a change, at the latest. */
enum { FRAMES_TEXT = 8 << 10, LONGEST = 2000 };

/* How many there are, without that which asks; -1: it does not say. */
static int in_flight(glfs_t *fs)
{
    char text[FRAMES_TEXT];
    const char *count;
    ssize_t length = -1;
    glfs_fd_t *fd = glfs_open(fs, "/.meta/frames", O_RDONLY);

    if (fd)
        length = glfs_pread(fd, text, sizeof text - 1, 0, 0, NULL);
    if (fd)
        glfs_close(fd);
    if (length < 0)
        return -1;
    text[length] = 0;
    count = strstr(text, COUNT);
    /* (it is the end of a text that may be too long) */
    return count ? atoi(count + strlen(COUNT)) - 1 : INT_MAX;
}

void gluster_settle(glfs_t *fs)
{
    uint64_t end = img_now_milliseconds() + LONGEST;
    struct timespec pause = { .tv_nsec = 200000 };

    while (in_flight(fs) > 0 && img_now_milliseconds() < end) {
        nanosleep(&pause, NULL);
        pause.tv_nsec = img_min(pause.tv_nsec * 2, 20000000);
    }
}
