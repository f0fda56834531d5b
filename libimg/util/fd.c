/* SPDX-License-Identifier: MIT */
/* Reading and writing an open file at its current position. */
#include "fd.h"
#include "checked.h"
#include "clock.h"
#include "stop.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/statvfs.h>
#include <string.h>
#include <unistd.h>

#define MOST (1u << 30)             /* bytes per call */
enum { MOST_DIGITS = 9 };           /* of the number of a descriptor */

int img_fd_of_name(const char *name)
{
    static const char *const streams[] = { "/dev/stdin", "/dev/stdout", "/dev/stderr" };
    static const char *const folders[] = { "/dev/fd/", "/proc/self/fd/" };
    int fd = 0;

    for (int i = 0; i < 3; i++)
        if (strcmp(name, streams[i]) == 0)
            return i;
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(folders[i]);
        const char *digits = name + length;
        if (strncmp(name, folders[i], length) != 0)
            continue;
        if (!*digits || strlen(digits) > MOST_DIGITS || digits[strspn(digits, "0123456789")])
            return -1;
        while (*digits)
            fd = 10 * fd + (*digits++ - '0');
        return fd;
    }
    return -1;
}

/* After a failed call: should it be repeated?  Waits until `what` (POLLIN, POLLOUT) is possible. */
static bool again(int fd, short what)
{
    struct pollfd ready = { .fd = fd, .events = what };

    if (errno == EINTR)
        return true;
    return (errno == EAGAIN || errno == EWOULDBLOCK) && (poll(&ready, 1, -1) >= 0 || errno == EINTR);
}

/* Wait for bytes, or for a stop request.  Returns false on a stop request. */
static bool bytes_come(int fd, const struct img_stop *stop)
{
    struct pollfd either[] = { { .fd = fd, .events = POLLIN }, { .fd = img_stop_fd(stop), .events = POLLIN } };

    while (!img_stop_asked(stop)) {
        if (poll(either, 2, -1) >= 0 && either[0].revents)
            return true;
    }
    return false;
}

int img_fd_wait(int fd, short events, uint64_t deadline, int stop)
{
    struct pollfd either[] = { { .fd = fd, .events = events }, { .fd = stop, .events = POLLIN } };

    for (;;) {
        uint64_t now = img_now_milliseconds(), left = deadline > now ? deadline - now : 0;
        int ready = poll(either, 2, deadline ? (int)img_min(left, INT32_MAX) : -1);

        if (ready > 0)
            return either[1].revents ? -ECANCELED : 0;
        if (ready == 0 && left <= INT32_MAX)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

int64_t img_read_all(int fd, void *bytes, uint64_t length, const struct img_stop *stop)
{
    unsigned char *at = bytes;
    uint64_t have = 0;

    while (have < length) {
        if (stop && !bytes_come(fd, stop))
            return -ECANCELED;
        ssize_t n = read(fd, at + have, (size_t)img_min(length - have, MOST));
        if (n < 0 && again(fd, POLLIN))
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (uint64_t)n;
    }
    return (int64_t)have;
}

int img_write_all(int fd, const void *bytes, uint64_t length)
{
    const unsigned char *at = bytes;

    while (length) {
        ssize_t n = write(fd, at, (size_t)img_min(length, MOST));
        if (n < 0 && again(fd, POLLOUT))
            continue;
        if (n < 0)
            return -errno;
        at += n;
        length -= (uint64_t)n;
    }
    return 0;
}

int64_t img_free_space(int fd)
{
    struct statvfs status;
    uint64_t blocks, bytes;

    if (fstatvfs(fd, &status) < 0)
        return -1;
    /* A part is kept for root. */
    blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail;
    return img_mul(blocks, status.f_frsize, &bytes) && bytes <= INT64_MAX ? (int64_t)bytes : -1;
}
