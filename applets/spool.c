/* SPDX-License-Identifier: MIT */
/*
 * spool.c - saving what comes through a pipe, for those who need its length, or read it in another order, or twice.  It
 * goes to an unnamed file, with zeroes as holes.
 */
#include "source.h"
#include "../libimg/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *temporary_folder(void)
{
    const char *temporary = getenv("TMPDIR");

    return temporary && *temporary ? temporary : "/var/tmp";
}

char *app_spool_folder(const char *target)
{
    static const char prefix[] = "file:";
    const struct img_driver *driver = target ? img_driver_for_name(target) : NULL;
    const char *slash;

    /* What is beside a device, or a server, is no place for files. */
    if (!driver || strcmp(img_driver_name(driver), "file") != 0)
        return app_strdup(temporary_folder());
    if (strncmp(target, prefix, sizeof prefix - 1) == 0)
        target += sizeof prefix - 1;
    slash = strrchr(target, '/');
    if (!slash)
        return app_strdup(".");
    return app_strndup(target, slash == target ? 1 : (size_t)(slash - target));
}

static int open_nameless(const char *folder)
{
    CLEANUP_FREE char *name = app_asprintf("%s/.imgbox-XXXXXX", folder);
    int fd = -1;

#ifdef O_TMPFILE
    fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
#endif
    if (fd >= 0)
        return fd;
    fd = mkstemp(name);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        unlink(name);
    }
    return fd;
}

static int open_place(const char *folder)
{
    int fd = open_nameless(folder), error = errno;

    /* A file may be there to be written in a folder that is not. */
    if (fd < 0 && (error == EACCES || error == EROFS))
        fd = open_nameless(temporary_folder());
    if (fd < 0)
        app_error("Could not make a temporary file in '%s' for standard input: %s", folder, img_strerror(error));
    return fd;
}

/* Copy all that comes to the file; -1 after a message. */
static int fill(struct img_intake *intake, int fd)
{
    struct img_open how = { .format = IMG_PLAIN_FORMAT, .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_UNSAFE };
    struct img_copy what = { .intake = intake, .target_fd = -1, .target_is_zero = true,
                             .target_backing_size = UINT64_MAX, .grow_target = true, .in_order = true, .sparse = 4096 };
    struct img_error err = IMG_ERROR_INIT;
    struct img_copy_fault fault;
    int ret;

    if (img_open_descriptor(&what.target, fd, "temporary file", &how, &err) < 0) {
        app_report(&err);
        return -1;
    }
    ret = img_copy(&what, NULL, &fault);
    if (ret < 0)
        app_error("error while %s at byte %llu: %s", fault.stage == IMG_COPY_READING ? "reading" :
                  "keeping standard input", (unsigned long long)fault.offset, img_strerror(-ret));
    return app_close_after(what.target, ret < 0) ? -1 : 0;
}

int app_spool(struct img_intake *intake, const char *folder)
{
    int fd = open_place(folder);

    if (fd >= 0 && fill(intake, fd) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}
