/* SPDX-License-Identifier: MIT */
/* serve-process.c - --fork and --pid-file. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* The child writes a byte when it serves; -1: there is no parent that waits. */
static int ready_fd = -1;

/* The parent: wait for the byte, or for the child's end, and leave with its exit code. */
static _Noreturn void wait_for_child(int fd, pid_t child)
{
    int status = 0;
    char byte;
    ssize_t n;

    while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR) { }
    if (n == 1)
        _exit(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) { }
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

/* Put /dev/null in the place of a standard stream. */
static void silence(int stream)
{
    int fd = open("/dev/null", stream == STDIN_FILENO ? O_RDONLY : O_WRONLY);

    if (fd < 0)
        return;
    dup2(fd, stream);
    if (fd > STDERR_FILENO)
        close(fd);
}

bool serve_fork(const struct serve *s)
{
    int fds[2];
    pid_t child;

    if (!s->fork)
        return true;
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
        app_error("Failed to fork: %s", img_strerror(errno));
        return false;
    }
    if (child > 0) {
        close(fds[1]);
        wait_for_child(fds[0], child);
    }
    close(fds[0]);
    ready_fd = fds[1];
    setsid();
    silence(STDIN_FILENO);
    silence(STDOUT_FILENO);
    return true;
}

/* It stays open, and locked, until the process ends: so a second server with this file is refused. */
static bool write_pid_file(const char *name)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    CLEANUP_FREE char *text = app_asprintf("%ld\n", (long)getpid());
    int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600), ret;

    if (fd < 0) {
        app_error("Could not create '%s': %s", name, img_strerror(errno));
        return false;
    }
    if (fcntl(fd, F_SETLK, &whole) < 0) {
        app_error("Cannot lock pid file: %s", img_strerror(errno));
        close(fd);
        return false;
    }
    ret = ftruncate(fd, 0) < 0 ? -errno : img_write_all(fd, text, strlen(text));
    if (ret < 0) {
        app_error("Failed to write pid file: %s", img_strerror(ret));
        close(fd);
    }
    return ret == 0;
}

bool serve_ready(const struct serve *s)
{
    if (s->pid_file && !write_pid_file(s->pid_file))
        return false;
    if (ready_fd < 0)
        return true;
    if (chdir("/") < 0) {
        app_error("Could not change to the root folder: %s", img_strerror(errno));
        return false;
    }
    if (!s->verbose)
        silence(STDERR_FILENO);
    /* (a parent that was killed does not read it) */
    img_write_all(ready_fd, "", 1);
    close(ready_fd);
    ready_fd = -1;
    return true;
}
