/* SPDX-License-Identifier: MIT */
/* kind.c - which of the two drivers accepts a file: regular files, or block and character devices. */
#include "file.h"
#include <string.h>

bool file_is_device(mode_t mode)
{
    return S_ISBLK(mode) || S_ISCHR(mode);
}

/* Also checked before the open: opening a FIFO or a tape could block or have side effects. */
int file_check_kind(const struct stat *status, bool device, const char *name, struct img_error *err)
{
    if (device && !file_is_device(status->st_mode))
        return img_error_set(err, EINVAL, "'host_device' driver requires '%s' to be either a character or block "
                             "device", name);
    if (!device && !S_ISREG(status->st_mode))
        return img_error_set(err, EINVAL, "'file' driver requires '%s' to be a regular file", name);
    return 0;
}

/* A read-only device can be opened for writing, so ask it. */
int file_check_writable(int fd, struct img_error *err)
{
    return file_device_read_only(fd) ? img_error_errno(err, EACCES, "The device is not writable") : 0;
}
