/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a file.  What lies behind its end reads as zeroes.
 *
 * Under O_DIRECT the kernel takes only aligned requests.  A request is cut into
 * a body of whole blocks, which goes straight through (over a bounce buffer
 * when the caller's memory is not aligned), and edges that share a block with
 * other bytes.  Edges are written by read-modify-write under one lock a
 * handle: two writers that do not overlap may well share a block.
 */
#include "file.h"
#include <fcntl.h>
#include <string.h>

#define BOUNCE_BYTES (1u << 20)
#define DEFAULT_DIRECT_ALIGNMENT 4096u
#define MAX_DIRECT_ALIGNMENT 65536u

/* Bytes read; fewer than asked for only at the end of the file. */
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
        /* O_DIRECT: a partial block is the tail of the file, and could not be continued from anyway. */
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

static void *aligned_buffer(const struct file_state *file, size_t length)
{
    void *buffer = NULL;
    size_t alignment = img_max(file->memory_alignment, sizeof(void *));

    return posix_memalign(&buffer, alignment, length) == 0 ? buffer : NULL;
}

static bool memory_aligned(const struct file_state *file, const void *buffer)
{
    return ((uintptr_t)buffer & (file->memory_alignment - 1)) == 0;
}

/* Read whole blocks; behind the end of the file: zeroes. */
static int read_blocks(const struct file_state *file, void *buffer, size_t length, uint64_t offset)
{
    ssize_t got = read_plain(file->fd, buffer, length, offset, file->alignment);

    if (got < 0)
        return (int)got;
    memset((char *)buffer + got, 0, length - (size_t)got);
    return 0;
}

static int read_bounced(const struct file_state *file, char *buffer, uint64_t offset, size_t length)
{
    uint64_t lead = offset & (file->alignment - 1);
    size_t capacity = (size_t)img_min(img_align_up(lead + length, file->alignment), BOUNCE_BYTES);
    CLEANUP_FREE char *bounce = aligned_buffer(file, capacity);

    if (!bounce)
        return -ENOMEM;
    while (length > 0) {
        uint64_t start = img_align_down(offset, file->alignment);
        size_t skip = (size_t)(offset - start);
        size_t want = (size_t)img_min(length, capacity - skip);
        int status = read_blocks(file, bounce, (size_t)img_align_up(skip + want, file->alignment), start);

        if (status < 0)
            return status;
        memcpy(buffer, bounce + skip, want);
        buffer += want;
        offset += want;
        length -= want;
    }
    return 0;
}

int file_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct file_state *file = image->state;

    if (file->alignment > 1 && (!img_aligned(offset | length, file->alignment) || !memory_aligned(file, buffer)))
        return read_bounced(file, buffer, offset, length);
    return read_blocks(file, buffer, length, offset);
}

/*
 * The last block of a file that ends inside it cannot be written under
 * O_DIRECT without making the file longer.  A second descriptor with the page
 * cache does it to the byte; the kernel keeps both views the same.
 */
static int write_at_end(struct file_state *file, const void *buffer, uint64_t offset, size_t length)
{
    if (file->tail_fd < 0) {
        CLEANUP_FREE char *path = img_xasprintf("/proc/self/fd/%d", file->fd);

        file->tail_fd = open(path, O_RDWR | O_CLOEXEC | (file->write_through ? O_DSYNC : 0));
        if (file->tail_fd < 0)
            return -ENOTSUP;
    }
    return file_write_plain(file->tail_fd, buffer, length, offset);
}

/* Bytes within one block. */
static int write_edge(struct file_state *file, const void *buffer, uint64_t offset, size_t length)
{
    uint64_t start = img_align_down(offset, file->alignment);
    CLEANUP_FREE char *block = aligned_buffer(file, file->alignment);

    if (!block)
        return -ENOMEM;
    LOCK_SCOPE(&file->edge);
    ssize_t got = read_plain(file->fd, block, file->alignment, start, file->alignment);
    if (got < 0)
        return (int)got;
    if ((size_t)got < file->alignment && !file->device) {
        int status = write_at_end(file, buffer, offset, length);

        if (status != -ENOTSUP)
            return status;
    }
    memset(block + got, 0, file->alignment - (size_t)got);
    memcpy(block + (offset - start), buffer, length);
    return file_write_plain(file->fd, block, file->alignment, start);
}

static int write_body(const struct file_state *file, const char *buffer, uint64_t offset, size_t length)
{
    if (memory_aligned(file, buffer))
        return file_write_plain(file->fd, buffer, length, offset);

    size_t capacity = (size_t)img_min(length, BOUNCE_BYTES);
    CLEANUP_FREE char *bounce = aligned_buffer(file, capacity);
    if (!bounce)
        return -ENOMEM;
    while (length > 0) {
        size_t part = (size_t)img_min(length, capacity);

        memcpy(bounce, buffer, part);
        int status = file_write_plain(file->fd, bounce, part, offset);
        if (status < 0)
            return status;
        buffer += part;
        offset += part;
        length -= part;
    }
    return 0;
}

static int write_direct(struct file_state *file, const char *buffer, uint64_t offset, size_t length)
{
    uint32_t unit = file->alignment;
    size_t head = (size_t)img_min(img_align_up(offset, unit) - offset, length);
    size_t tail = head == length ? 0 : (size_t)((offset + length) & (unit - 1));
    size_t body = length - head - tail;
    int status = 0;

    if (head > 0)
        status = write_edge(file, buffer, offset, head);
    if (status == 0 && body > 0)
        status = write_body(file, buffer + head, offset + head, body);
    if (status == 0 && tail > 0)
        status = write_edge(file, buffer + head + body, offset + head + body, tail);
    return status;
}

int file_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length)
{
    struct file_state *file = image->state;

    int status = file->alignment > 1 ? write_direct(file, buffer, offset, length)
                                     : file_write_plain(file->fd, buffer, length, offset);
    atomic_fetch_add(&file->changed, 1);
    if (status == 0 && file->alignment <= 1)
        file_written(image, offset, length);
    return status;
}

static int sync_data(int fd)
{
#if defined(__APPLE__)
    /* fsync leaves the data in the drive's cache there. */
    return fcntl(fd, F_FULLFSYNC) == 0 || fsync(fd) == 0 ? 0 : -errno;
#else
    while (fdatasync(fd) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
#endif
}

/* Flushes beside each other: the one that saw more counts. */
static void set_synced(struct file_state *file, unsigned long long changed)
{
    unsigned long long synced = atomic_load(&file->synced);

    while (synced < changed && !atomic_compare_exchange_weak(&file->synced, &synced, changed)) { }
}

/*
 * Changes are counted when they have ended, and are synced when a sync has ended that began after that.  So a change
 * that runs beside a flush is left to the next one, and a flush does not rely on another one that has not ended.
 */
int file_flush(struct img *image)
{
    struct file_state *file = image->state;
    int failed = atomic_load(&file->sync_error);

    if (failed)
        return failed;
    if (img_cache_unsafe(image->cache))
        return 0;
    unsigned long long changed = atomic_load(&file->changed);
    if (atomic_load(&file->synced) >= changed)
        return 0;
    int status = sync_data(file->fd);
    if (status == -EINVAL && file->device && !file->block)
        status = 0;     /* a character device has nothing to sync */
    if (status < 0)
        atomic_store(&file->sync_error, status);
    else
        set_synced(file, changed);
    return status;
}

/* The first unit in which a read succeeds; O_DIRECT refuses finer ones. */
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

int file_probe_alignment(struct file_state *file)
{
    uint32_t sector = file->block ? file_device_sector(file->fd) : 0;
    void *buffer = NULL;

    if (posix_memalign(&buffer, MAX_DIRECT_ALIGNMENT, 2 * MAX_DIRECT_ALIGNMENT) != 0)
        return -ENOMEM;
    file->alignment = sector ? sector : try_alignments(file->fd, buffer, false);
    file->memory_alignment = try_alignments(file->fd, buffer, true);
    free(buffer);
    /* A read that works at any byte tells nothing about writes (an empty file, a hole): take the safe unit. */
    if (file->alignment == 1)
        file->alignment = DEFAULT_DIRECT_ALIGNMENT;
    if (file->memory_alignment == 1)
        file->memory_alignment = DEFAULT_DIRECT_ALIGNMENT;
    return 0;
}
