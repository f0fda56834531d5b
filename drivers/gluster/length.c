/* SPDX-License-Identifier: MIT */
/* The length of a file, and allocating storage for a new part.  The bricks do the work, where they can. */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

static const char *const modes[] = { "off", "falloc", "full" };
/* (a brick whose file system has no call for it writes zeroes, which takes its time) */
#define ZERO_PART ((uint64_t)1 << 30)
enum { WRITE_PART = 1 << 20 };

int gluster_preallocation_parse(const char *mode, enum gluster_preallocation *parsed, struct img_error *err)
{
    *parsed = GLUSTER_OFF;
    for (size_t i = 0; mode && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(mode, modes[i]) == 0) {
            *parsed = (enum gluster_preallocation)i;
            return 0;
        }
    }
    if (mode && strcmp(mode, "metadata") == 0)
        return img_error_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
    return mode ? img_error_set(err, EINVAL, "invalid parameter value: %s", mode) : 0;
}

/* What a call has returned, as a result. */
static int result(int ret)
{
    if (ret >= 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == ENOSYS)
        return -ENOTSUP;
    return errno ? -errno : -EIO;
}

int gluster_zerofill(glfs_fd_t *fd, uint64_t offset, uint64_t length)
{
    errno = 0;
    return result(glfs_zerofill(fd, (off_t)offset, (off_t)length));
}

int gluster_punch(glfs_fd_t *fd, uint64_t offset, uint64_t length)
{
    errno = 0;
    return result(glfs_discard(fd, (off_t)offset, length));
}

static int fallocate_range(glfs_fd_t *fd, uint64_t from, uint64_t to)
{
    errno = 0;
    return result(glfs_fallocate(fd, 0, (off_t)from, to - from));
}

/* (dispersed volumes make no zeroes) */
static int write_zeroes(glfs_fd_t *fd, uint64_t from, uint64_t to)
{
    CLEANUP_FREE char *zeroes = img_calloc(1, WRITE_PART);
    int ret = zeroes ? 0 : -ENOMEM;

    for (ssize_t put; ret == 0 && from < to; from += (uint64_t)put) {
        errno = 0;
        put = glfs_pwrite(fd, zeroes, img_min(to - from, WRITE_PART), (off_t)from, 0, NULL, NULL);
        if (put <= 0)
            ret = put < 0 ? result(-1) : -EIO;
    }
    return ret;
}

/* (reserved first, where that works: a disk that is too small is then found out at once) */
static int fill(glfs_fd_t *fd, uint64_t from, uint64_t to)
{
    int ret = fallocate_range(fd, from, to);

    if (ret == -ENOTSUP)
        ret = 0;
    for (uint64_t part; ret == 0 && from < to; from += part) {
        part = img_min(to - from, ZERO_PART);
        ret = gluster_zerofill(fd, from, part);
        if (ret == -ENOTSUP)
            return write_zeroes(fd, from, to);
    }
    return ret;
}

int gluster_set_length(glfs_fd_t *fd, uint64_t from, uint64_t to, enum gluster_preallocation mode,
                       struct img_error *err)
{
    int ret;

    if (mode == GLUSTER_FALLOC && to > from) {
        ret = fallocate_range(fd, from, to);
        return ret < 0 ? img_error_errno(err, -ret, "Could not preallocate data") : 0;
    }
    errno = 0;
    ret = result(glfs_ftruncate(fd, (off_t)to, NULL, NULL));
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not resize file");
    ret = mode == GLUSTER_FULL && to > from ? fill(fd, from, to) : 0;
    return ret < 0 ? img_error_errno(err, -ret, "Could not zerofill the new area") : 0;
}
