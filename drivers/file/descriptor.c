/* SPDX-License-Identifier: MIT */
/*
 * Names of descriptors that the process has already: /dev/stdin, /dev/fd/5.
 *
 * The system opens such a name by way of /proc, and the result is an open file of its own.  Without /proc, or where the
 * file may not be opened again, the descriptor itself is shared; then its position is left alone, but its locks are not
 * dropped by closing our copy.
 */
#include "file.h"
#include "../../libimg/util/fd.h"
#include <fcntl.h>

int file_stat_name(const char *name, struct stat *status)
{
    int fd = img_fd_of_name(name);

    return fd < 0 ? stat(name, status) : fstat(fd, status);
}

static int share(int fd, int flags)
{
    int now = fcntl(fd, F_GETFL), asked = flags & O_ACCMODE;

    if (now < 0)
        return -errno;
    if ((now & O_ACCMODE) != O_RDWR && (now & O_ACCMODE) != asked)
        return -EACCES;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int file_open_name(const char *name, int flags, bool *shared)
{
    int known = img_fd_of_name(name), fd = open(name, flags, 0644);

    *shared = false;
    if (fd >= 0)
        return fd;
    if (known < 0)
        return -errno;
    fd = share(known, flags);
    *shared = fd >= 0;
    return fd;
}

bool file_is_same(int fd, int other)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}
