/* SPDX-License-Identifier: MIT */
/* serve-socket.c - the listening sockets: made here, or passed by a service manager. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_HOST "0.0.0.0"
enum { FIRST_PASSED = 3, LEAST_BACKLOG = 16 };

/* The socket in the file system that is ours, to be removed at the end. */
static struct stat made;

struct img_address serve_address(const struct serve *s)
{
    struct img_address address = { .type = IMG_INET, .ipv4 = -1, .ipv6 = -1 };

    if (s->path) {
        address.type = IMG_UNIX;
        address.path = (char *)s->path;
    } else {
        address.host = (char *)(s->bind ? s->bind : DEFAULT_HOST);
        address.port = (char *)(s->port ? s->port : IMG_NBD_PORT);
    }
    return address;
}

/* ---- A service manager ------------------------------------------------------------------- */

/* A number from 1 on in an environment variable, which is removed: children must not take it for theirs.  0: none. */
static unsigned long take_number(const char *name)
{
    const char *text = getenv(name);
    unsigned long number = 0;
    char *end;

    if (text) {
        errno = 0;
        number = strtoul(text, &end, 10);
        if (end == text || *end || errno || *text == '-')
            number = 0;
    }
    unsetenv(name);
    return number;
}

unsigned serve_activation(void)
{
    unsigned long pid = take_number("LISTEN_PID"), count = take_number("LISTEN_FDS");

    unsetenv("LISTEN_FDNAMES");
    return pid == (unsigned long)getpid() && count <= INT32_MAX ? (unsigned)count : 0;
}

static bool take_passed(struct serve *s)
{
    for (unsigned i = 0; i < s->activated; i++) {
        int fd = FIRST_PASSED + (int)i, flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
            app_error("Socket activation failed: invalid file descriptor fd = %d: %s", fd, img_strerror(errno));
            return false;
        }
        s->sockets[s->socket_count++] = fd;
    }
    return true;
}

/* ---- SELinux ------------------------------------------------------------------------------- */

/* The label of the sockets that this thread creates from now on; NULL: the usual one. */
static bool label_sockets(const char *label)
{
    CLEANUP_FD int fd = open("/proc/thread-self/attr/sockcreate", O_RDWR | O_CLOEXEC);
    size_t length = label ? strlen(label) + 1 : 0;

    return fd >= 0 && write(fd, label, length) == (ssize_t)length;
}

/* ---- Listening -------------------------------------------------------------------------------- */

/*
 * qemu-nbd takes over whatever has the name of its socket, be it in use, and scripts rely on it: they start a server
 * again, or pass a name from mktemp.  A file with content or a device is nobody's socket, and stays.
 */
static void clear_way(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return;
    if (S_ISSOCK(st.st_mode) || S_ISLNK(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size == 0))
        unlink(path);
}

bool serve_listen(struct serve *s)
{
    struct img_address address = serve_address(s);
    struct img_error err = IMG_ERROR_INIT;
    unsigned backlog = s->shared > LEAST_BACKLOG ? (unsigned)s->shared : LEAST_BACKLOG;
    int count;

    if (s->activated)
        return take_passed(s);
    if (s->selinux && !label_sockets(s->selinux)) {
        app_error("Cannot set SELinux socket create context to %s: %s", s->selinux, img_strerror(errno));
        return false;
    }
    if (s->nbd && s->path)
        clear_way(s->path);
    count = img_listen(&address, backlog, s->sockets, SERVE_SOCKETS, &err);
    if (s->selinux)
        label_sockets(NULL);
    if (count < 0) {
        app_report(&err);
        return false;
    }
    s->socket_count = (size_t)count;
    if (s->path && lstat(s->path, &made) < 0)
        made.st_ino = 0;
    return true;
}

/* Another server may have taken the name over. */
void serve_unlisten(struct serve *s)
{
    struct stat now;

    if (s->path && s->socket_count && made.st_ino && lstat(s->path, &now) == 0 && now.st_dev == made.st_dev &&
        now.st_ino == made.st_ino)
        unlink(s->path);
    for (size_t i = 0; i < s->socket_count; i++)
        close(s->sockets[i]);
    s->socket_count = 0;
}
