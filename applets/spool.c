/* SPDX-License-Identifier: MIT */
/*
 * convert-spool.c - saving standard input for targets that need its length, or read it twice.
 *
 * A raw or qcow2 file grows as input arrives.  Other formats cannot grow, nor can an image that is itself
 * written to a pipe.  In these cases the input is first saved to an unnamed file, with zeroes as holes.
 */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_needed(const struct convert *r)
{
    if (!r->from_stream || r->no_create || r->raw_stream)
        return false;
    return r->to_stream || !img_driver_can_resize(r->driver);
}

/* A regular file at its start can be used directly as a source. */
static bool is_plain_file(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0;
}

/* The directory of the target, or of temporary files. */
static char *folder_of(const struct convert *r)
{
    static const char prefix[] = "file:";
    const char *temporary = getenv("TMPDIR"), *name = r->target_name, *slash;

    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        name += sizeof prefix - 1;
    slash = strrchr(name, '/');
    if (r->to_stream)
        return app_strdup(temporary && *temporary ? temporary : "/var/tmp");
    if (!slash)
        return app_strdup(".");
    return app_strndup(name, slash == name ? 1 : (size_t)(slash - name));
}

static int open_nameless(const char *folder)
{
    CLEANUP_FREE char *name = app_asprintf("%s/.imgbox-XXXXXX", folder);
    int fd = -1;

#ifdef O_TMPFILE
    fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
#endif
    if (fd < 0) {
        fd = mkstemp(name);
        if (fd >= 0)
            unlink(name);
    }
    if (fd < 0)
        app_error("Could not make a temporary file in '%s' for standard input: %s", folder, img_strerror(errno));
    return fd;
}

/* Copy all of standard input to the image at `name`; -1 after a message. */
static int fill(const struct convert *r, const char *name)
{
    struct img_open how = { .format = IMG_PLAIN_FORMAT, .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_UNSAFE };
    struct img *image = app_open(name, &how);
    struct img_copy what = { .source_fd = STDIN_FILENO, .target = image, .target_fd = -1, .target_is_zero = true,
                             .target_backing_size = UINT64_MAX, .grow_target = true, .in_order = true,
                             .workers = r->workers, .sparse = 4096 };
    struct img_copy_fault fault;
    int ret;

    if (!image)
        return -1;
    ret = img_copy(&what, NULL, &fault);
    if (ret < 0)
        app_error("error while %s at byte %llu: %s", fault.stage == IMG_COPY_READING ? "reading" :
                  "keeping standard input", (unsigned long long)fault.offset, img_strerror(-ret));
    return app_close_after(image, ret < 0) ? -1 : 0;
}

int convert_spool(struct convert *r)
{
    struct img_open how = { .format = IMG_PLAIN_FORMAT, .flags = IMG_SHARE };
    CLEANUP_FREE char *name = NULL;
    int fd = STDIN_FILENO;

    if (!is_needed(r))
        return 0;
    if (!is_plain_file(fd)) {
        CLEANUP_FREE char *folder = folder_of(r);
        fd = open_nameless(folder);
        if (fd < 0)
            return -1;
    }
    name = app_asprintf("/proc/self/fd/%d", fd);
    r->images = app_calloc(1, sizeof *r->images);
    if (fd == STDIN_FILENO || fill(r, name) == 0)
        r->images[0] = app_open(name, &how);
    if (fd != STDIN_FILENO)
        close(fd);      /* the image has opened it */
    if (!r->images[0])
        return -1;
    r->total = img_size(r->images[0]);
    r->from_stream = false;
    return 0;
}
