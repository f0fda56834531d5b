/* SPDX-License-Identifier: MIT */
/*
 * convert-atomic.c - --atomic: the target is made under a temporary name beside it, and gets its own name when all of
 * it is on the disk.  Whoever looks sees the old image, or none, or the whole new one, after a power cut too.
 */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_BASE = 200 };        /* of a name; with what is added it fits into 255 bytes */

/* The plain file name, with links resolved so that they stay.  NULL after a message. */
static char *final_name(const struct convert *r, bool *exists)
{
    static const char prefix[] = "file:";
    const char *name = r->target_name;
    const struct img_driver *protocol = img_driver_for_name(name);
    struct stat old;
    char *real;

    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        name += sizeof prefix - 1;
    *exists = stat(name, &old) == 0;
    if (!protocol || strcmp(img_driver_name(protocol), "file") || (*exists && !S_ISREG(old.st_mode))) {
        app_error("--atomic needs a target that is a regular file");
        return NULL;
    }
    real = lstat(name, &old) == 0 && S_ISLNK(old.st_mode) ? realpath(name, NULL) : app_strdup(name);
    if (!real)
        app_error("%s: %s", name, img_strerror(errno));
    return real;
}

/* Is it what a source name stands for, not only a file that a source needs? */
static bool is_source(const struct convert *r, const char *name)
{
    struct stat target, source;

    if (r->source_opts || r->backing || stat(name, &target) < 0)
        return false;
    for (size_t i = 0; i < r->source_count; i++)
        if (stat(r->sources[i], &source) == 0 && source.st_dev == target.st_dev && source.st_ino == target.st_ino)
            return true;
    return false;
}

/* Others must not lose the file that they use.  The source may be replaced: it stays open until it has been read. */
static bool may_replace(const struct convert *r, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;

    if (access(name, W_OK) < 0) {
        app_error("%s: Could not create '%s': %s", r->target_name, name, img_strerror(errno));
        return false;
    }
    if (is_source(r, name) || img_check_new_file(name, &err) == 0)
        return true;
    app_report_with(&err, "%s: ", name);
    return false;
}

/* The permissions of the old file; otherwise those of a new one. */
static int set_permissions(int fd, const char *name)
{
    struct stat old;
    mode_t mask;

    if (stat(name, &old) < 0) {
        mask = umask(0);
        umask(mask);
        return fchmod(fd, 0644 & ~mask);
    }
    /* Only root can give it to somebody else. */
    if (fchown(fd, old.st_uid, old.st_gid) < 0)
        old.st_mode &= 0777;
    return fchmod(fd, old.st_mode & 07777);
}

static int name_length(const char *name)
{
    return (int)(strlen(name) < LONGEST_BASE ? strlen(name) : LONGEST_BASE);
}

static char *temporary_name(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;

    return app_asprintf("%.*s.%.*s.XXXXXX", (int)(base - name), name, name_length(base), base);
}

int convert_atomic_start(struct convert *r)
{
    sigset_t all, before;
    bool exists;
    int fd, ret;

    if (!r->atomic)
        return 0;
    if (img_doc_get(r->create_options, "data_file")) {
        app_error("--atomic makes one file: the image cannot have a data file");
        return -1;
    }
    r->final_name = final_name(r, &exists);
    if (!r->final_name || (exists && !may_replace(r, r->final_name)))
        return -1;
    r->temporary_name = temporary_name(r->final_name);
    /* No signal ends the process before the file is remembered. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    fd = mkstemp(r->temporary_name);
    ret = fd < 0 ? -errno : img_created_add(fd, r->temporary_name);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (fd < 0) {
        app_error("Could not create '%s': %s", r->temporary_name, img_strerror(ret));
        return -1;
    }
    if (ret < 0)
        app_need(NULL);
    close(fd);
    return 0;
}

static int complete(const struct convert *r)
{
    CLEANUP_FD int fd = open(r->temporary_name, O_RDWR | O_CLOEXEC);

    return fd < 0 || set_permissions(fd, r->final_name) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    CLEANUP_FREE char *folder = slash ? app_strndup(name, (size_t)(slash - name) + 1) : app_strdup(".");
    CLEANUP_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* Not every file system can sync a folder. */
    return fd < 0 || (fsync(fd) < 0 && errno != EINVAL) ? -errno : 0;
}

int convert_atomic_end(const struct convert *r)
{
    int ret;

    if (!r->atomic)
        return 0;
    ret = complete(r);
    if (ret == 0 && rename(r->temporary_name, r->final_name) < 0)
        ret = -errno;
    if (ret == 0)
        ret = sync_folder_of(r->final_name);
    if (ret == 0)
        return 0;
    app_error("%s: error while putting the image in its place: %s", r->target_name, img_strerror(ret));
    return -1;
}
