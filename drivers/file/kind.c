/* SPDX-License-Identifier: MIT */
/* kind.c - which of the two drivers takes a file: regular files, or block and character devices. */
#include "file.h"
#include <string.h>

bool file_is_device(mode_t mode)
{
    return S_ISBLK(mode) || S_ISCHR(mode);
}

/* Asked before the open as well: to open a FIFO or a tape for a look could block or act on it. */
int file_check_kind(const struct stat *status, bool device, const char *name, struct img_error *err)
{
    if (device && !file_is_device(status->st_mode))
        return img_error_set(err, EINVAL, "'host_device' driver requires '%s' to be either a character or block "
                             "device", name);
    if (!device && !S_ISREG(status->st_mode))
        return img_error_set(err, EINVAL, "'file' driver requires '%s' to be a regular file", name);
    return 0;
}

/* A device that is read-only lets itself be opened for writing all the same. */
int file_check_writable(int fd, struct img_error *err)
{
    return file_device_read_only(fd) ? img_error_errno(err, EACCES, "The device is not writable") : 0;
}

const char *file_strip_prefix(const char *name)
{
    static const char *const prefixes[] = { "file:", "host_device:" };

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return name + strlen(prefixes[i]);
    }
    return name;
}
