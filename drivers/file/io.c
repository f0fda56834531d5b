/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes of a file.  Beyond its end it reads as zeroes.
 *
 * Under O_DIRECT the kernel accepts only aligned requests, and libimg sends no others.  There is one exception: an
 * end of file inside a block is written through a second descriptor, with the page cache.
 */
#include "file.h"
#include <fcntl.h>
#include <string.h>

#define DEFAULT_DIRECT_ALIGNMENT 4096u
#define MAX_DIRECT_ALIGNMENT 65536u

/* Returns the bytes read; fewer than requested only at the end of the file. */
static ssize_t read_plain(int fd, void *buffer, size_t length, uint64_t offset, uint32_t alignment)
{
    size_t done = 0;

    while (done < length) {
        ssize_t got = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
        /* O_DIRECT: a partial block is the end of the file, and reading on at an unaligned offset is impossible. */
        if (done % alignment)
            break;
    }
    return (ssize_t)done;
}

int file_write_plain(int fd, const void *buffer, size_t length, uint64_t offset)
{
    size_t done = 0;

    while (done < length) {
        ssize_t put = pwrite(fd, (const char *)buffer + done, length - done, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        if (put == 0)
            return -ENOSPC;
        done += (size_t)put;
    }
    return 0;
}

int file_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct file_state *file = image->state;
    ssize_t got = read_plain(file->fd, buffer, length, offset, image->limits.request_alignment);

    if (got < 0)
        return (int)got;
    memset((char *)buffer + got, 0, length - (size_t)got);
    return 0;
}

/* Open the file of `fd` once more.  Its name is tried first; if it means another file by now, /proc knows this one. */
static int open_again(const char *name, int fd, int flags)
{
    CLEANUP_FREE char *path = img_asprintf("/proc/self/fd/%d", fd);
    int again = open(name, flags);

    if (again >= 0 && file_is_same(again, fd))
        return again;
    if (again >= 0)
        close(again);
    again = path ? open(path, flags) : -1;
    if (!path)
        return -ENOMEM;
    return again < 0 ? -errno : again;
}

/* Returns the descriptor without O_DIRECT, or a negative errno.  The kernel keeps both descriptors coherent. */
static int end_descriptor(struct img *image)
{
    struct file_state *file = image->state;

    LOCK_SCOPE(&file->end_lock);
    if (file->end_fd < 0)
        file->end_fd = open_again(image->filename, file->fd,
                                  O_RDWR | O_CLOEXEC | O_NONBLOCK | (file->write_through ? O_DSYNC : 0));
    return file->end_fd;
}

/* Write less than a block at the end of the file: O_DIRECT would extend the file to a whole block. */
static int write_end(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    int fd = end_descriptor(image);

    return fd < 0 ? fd : file_write_plain(fd, buffer, length, offset);
}

static int write_direct(struct img *image, const char *buffer, uint64_t offset, size_t length)
{
    struct file_state *file = image->state;
    size_t tail = length & (image->limits.request_alignment - 1), body = length - tail;
    int status = body ? file_write_plain(file->fd, buffer, body, offset) : 0;

    return status == 0 && tail ? write_end(image, buffer + body, offset + body, tail) : status;
}

int file_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct file_state *file = image->state;
    int status;

    (void)flags;
    if (image->limits.request_alignment > 1)
        return write_direct(image, buffer, offset, length);
    status = file_write_plain(file->fd, buffer, length, offset);
    if (status == 0)
        file_written(image, offset, length);
    return status;
}

/* The size is that of whole sectors. */
uint64_t file_length(struct img *image, bool now)
{
    const struct file_state *file = image->state;
    uint64_t size = img_size(image);
    struct stat status;

    if (file->device)
        return size;
    if (!now)
        return size - img_min(size, FILE_SECTOR - 1);
    if (fstat(file->fd, &status) < 0)
        return size;
    img_grew_to(image, img_align_up((uint64_t)status.st_size, FILE_SECTOR));
    return (uint64_t)status.st_size;
}

static int sync_data(int fd)
{
#if defined(__APPLE__)
    /* There, fsync leaves data in the drive's cache. */
    return fcntl(fd, F_FULLFSYNC) == 0 || fsync(fd) == 0 ? 0 : -errno;
#else
    while (fdatasync(fd) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
#endif
}

int file_flush(struct img *image)
{
    struct file_state *file = image->state;
    int failed = atomic_load(&file->writeback_error);

    if (failed)
        return failed;
    int status = sync_data(file->fd);
    /* A character device has nothing to sync. */
    return status == -EINVAL && file->device && !file->block ? 0 : status;
}

/* The smallest unit in which a read succeeds; O_DIRECT refuses smaller ones. */
static uint32_t try_alignments(int fd, char *buffer, bool memory)
{
    static const uint32_t units[] = { 1, 512, 1024, 2048, 4096 };

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t shift = memory ? units[i] : 0, length = memory ? MAX_DIRECT_ALIGNMENT : units[i];

        if (pread(fd, buffer + shift, length, 0) >= 0 || errno != EINVAL)
            return units[i];
    }
    return DEFAULT_DIRECT_ALIGNMENT;
}

int file_probe_alignment(struct img *image)
{
    const struct file_state *file = image->state;
    struct img_limits *limits = &image->limits;
    uint32_t sector = file->block ? file_device_sector(file->fd) : 0;
    void *buffer = NULL;

    if (posix_memalign(&buffer, MAX_DIRECT_ALIGNMENT, 2 * MAX_DIRECT_ALIGNMENT) != 0)
        return -ENOMEM;
    limits->request_alignment = sector ? sector : try_alignments(file->fd, buffer, false);
    limits->memory_alignment = try_alignments(file->fd, buffer, true);
    free(buffer);
    /* A read that works at any byte says nothing about writes (an empty file, a hole): use the safe unit. */
    if (limits->request_alignment == 1)
        limits->request_alignment = DEFAULT_DIRECT_ALIGNMENT;
    if (limits->memory_alignment == 1)
        limits->memory_alignment = DEFAULT_DIRECT_ALIGNMENT;
    return 0;
}
