/* SPDX-License-Identifier: MIT */
/*
 * Copies between files without passing the bytes through this process: by sharing blocks if the file system can
 * (btrfs, xfs, bcachefs, nfs 4.2 ...), or by a copy in the kernel or the server.
 */
#include "file.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#ifdef __linux__
#include <linux/fs.h>
#endif

#if defined(__linux__) && defined(FICLONERANGE)
/* EINVAL if the range is not aligned to blocks of the file system: other ranges may be. */
static int share_blocks(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length)
{
    struct file_clone_range range = { .src_fd = from, .src_offset = from_offset, .src_length = length,
                                      .dest_offset = to_offset };

    while (ioctl(to, FICLONERANGE, &range) < 0) {
        if (errno != EINTR)
            return errno == EINVAL || errno == ENOSPC || errno == EIO ? -errno : -ENOTSUP;
    }
    return 0;
}
#else
static int share_blocks(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length)
{
    (void)from, (void)from_offset, (void)to, (void)to_offset, (void)length;
    return -ENOTSUP;
}
#endif

static int copy_by_kernel(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length)
{
#ifdef __linux__
    loff_t source = (loff_t)from_offset, target = (loff_t)to_offset;

    while (length > 0) {
        ssize_t done = copy_file_range(from, &source, to, &target, (size_t)img_min(length, 1u << 30), 0);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == ENOSPC || errno == EIO || errno == EFBIG ? -errno : -ENOTSUP;
        if (done == 0)
            return -EIO;    /* end of the source: a read knows what lies beyond */
        length -= (uint64_t)done;
    }
    return 0;
#else
    (void)from, (void)from_offset, (void)to, (void)to_offset, (void)length;
    return -ENOTSUP;
#endif
}

int file_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                    bool share)
{
    const struct file_state *source = from->state;
    struct file_state *target = to->state;
    int status = -ENOTSUP;

    if (!(atomic_load_explicit(&target->missing, memory_order_relaxed) & FILE_NO_SHARE)) {
        status = share_blocks(source->fd, from_offset, target->fd, to_offset, length);
        if (status == -ENOTSUP)
            atomic_fetch_or(&target->missing, FILE_NO_SHARE);
    }
    if (status < 0 && !share) {
        status = copy_by_kernel(source->fd, from_offset, target->fd, to_offset, length);
        if (status == 0)
            file_written(to, to_offset, length);
    }
    return status;
}
