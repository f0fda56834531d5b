/* SPDX-License-Identifier: MIT */
/* kind.c - which of the two drivers accepts a file, regular files or devices; and whom a file accepts. */
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

void file_advise_access(const char *name, struct img_error *err)
{
    struct stat status;
    unsigned user = (unsigned)geteuid();

    if (stat(name, &status) == 0)
        img_error_advise(err, "the file belongs to user %u and group %u and has mode %04o; this process is of user %u",
                         (unsigned)status.st_uid, (unsigned)status.st_gid, (unsigned)status.st_mode & 07777, user);
    else if (errno == EACCES)
        img_error_advise(err, "a folder on the way to it cannot be entered by user %u", user);
    else if (errno == ENOENT)
        img_error_advise(err, "its folder cannot be written to by user %u", user);
}
