/* SPDX-License-Identifier: MIT */
/*
 * System-specific calls: block device requests, file attributes, queue limits.  Where the system lacks one, they
 * return "not supported", and the callers do without.
 */
#include "file.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#ifdef __linux__
#include <linux/fs.h>
#include <sys/sysmacros.h>
#endif

#ifdef __linux__
static int range_request(int fd, unsigned long request, uint64_t offset, uint64_t length)
{
    uint64_t range[2] = { offset, length };

    while (ioctl(fd, request, range) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}
#endif

int file_device_zero(int fd, uint64_t offset, uint64_t length)
{
#ifdef BLKZEROOUT
    return range_request(fd, BLKZEROOUT, offset, length);
#else
    (void)fd, (void)offset, (void)length;
    return -ENOTSUP;
#endif
}

int file_device_discard(int fd, uint64_t offset, uint64_t length)
{
#ifdef BLKDISCARD
    return range_request(fd, BLKDISCARD, offset, length);
#else
    (void)fd, (void)offset, (void)length;
    return -ENOTSUP;
#endif
}

bool file_device_read_only(int fd)
{
#ifdef BLKROGET
    int read_only = 0;

    return ioctl(fd, BLKROGET, &read_only) == 0 && read_only;
#else
    (void)fd;
    return false;
#endif
}

uint32_t file_device_sector(int fd)
{
#ifdef BLKSSZGET
    int size = 0;

    if (ioctl(fd, BLKSSZGET, &size) == 0 && size > 0 && img_power_of_two((uint64_t)size))
        return (uint32_t)size;
#else
    (void)fd;
#endif
    return 0;
}

uint64_t file_queue_limit(int fd, const char *name)
{
    uint64_t value = 0;
#ifdef __linux__
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISBLK(status.st_mode))
        return 0;
    /* A partition has no queue: use that of its disk. */
    for (int up = 0; up < 2; up++) {
        CLEANUP_FREE char *path = img_asprintf("/sys/dev/block/%u:%u/%squeue/%s", major(status.st_rdev),
                                                minor(status.st_rdev), up ? "../" : "", name);
        CLEANUP_FD int queue = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        char text[32];
        ssize_t got = queue < 0 ? -1 : read(queue, text, sizeof text - 1);

        if (got > 0) {
            text[got] = '\0';
            value = strtoull(text, NULL, 10);
            break;
        }
    }
#else
    (void)fd, (void)name;
#endif
    return value;
}

/* Only btrfs supports it; elsewhere it is silently ignored, as in qemu-img. */
void file_set_nocow(int fd)
{
#if defined(FS_IOC_GETFLAGS) && defined(FS_NOCOW_FL)
    int flags = 0;

    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
#else
    (void)fd;
#endif
}

int file_set_extent_size(int fd, uint32_t size)
{
#if defined(FS_IOC_FSGETXATTR) && defined(FS_XFLAG_EXTSIZE)
    struct fsxattr attributes;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
        return -errno;
    attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
    attributes.fsx_extsize = size;
    return ioctl(fd, FS_IOC_FSSETXATTR, &attributes) < 0 ? -errno : 0;
#else
    (void)fd, (void)size;
    return -ENOTSUP;
#endif
}

uint32_t file_extent_size(int fd)
{
#ifdef FS_IOC_FSGETXATTR
    struct fsxattr attributes;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0)
        return attributes.fsx_extsize;
#else
    (void)fd;
#endif
    return 0;
}
