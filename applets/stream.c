/* SPDX-License-Identifier: MIT */
/* stream.c - sources and targets that are not images: standard input and output, named pipes, sockets. */
#include "applet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool app_is_stream(const char *name)
{
    int fd = img_fd_of_name(name);
    struct stat st;

    return (fd < 0 ? stat(name, &st) : fstat(fd, &st)) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int app_open_stream(const char *name, int flag)
{
    int fd;

    if (!name || strcmp(name, "-") == 0)
        return flag == O_RDONLY ? STDIN_FILENO : STDOUT_FILENO;
    fd = img_fd_of_name(name);
    fd = fd < 0 ? open(name, flag | O_CLOEXEC) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        app_error("Could not open '%s': %s", name, img_strerror(errno));
    return fd;
}

int app_close_stream(int fd)
{
    /* Standard output stays open, but a network file system reports write errors only on the first close. */
    if (fd <= STDERR_FILENO)
        fd = dup(fd);
    return fd >= 0 && close(fd) < 0 ? -errno : 0;
}

bool app_can_stream(const struct img_driver *driver)
{
    char *formats;

    if (img_driver_can_stream(driver))
        return true;
    formats = app_need(img_stream_formats());
    app_error("Image format '%s' cannot be written in order, to standard output or a pipe; these can: %s",
              img_driver_name(driver), formats);
    free(formats);
    return false;
}
