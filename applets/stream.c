/* SPDX-License-Identifier: MIT */
/* stream.c - what is copied from or to without being an image: standard input and output, named pipes, sockets. */
#include "applet.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

bool app_is_stream(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int app_open_stream(const char *name, int flag)
{
    int fd;

    if (!name)
        return flag == O_RDONLY ? STDIN_FILENO : STDOUT_FILENO;
    fd = open(name, flag | O_CLOEXEC);
    if (fd < 0)
        app_error("Could not open '%s': %s", name, img_strerror(errno));
    return fd;
}

int app_close_stream(int fd)
{
    return fd > STDERR_FILENO && close(fd) < 0 ? -errno : 0;
}
