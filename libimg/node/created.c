/* SPDX-License-Identifier: MIT */
/*
 * created.c - the files that this process has created, so that they can be removed if they are not completed.  A signal
 * handler may do that at any moment: files are only added, at the head of a list.
 */
#include "node.h"
#include "util/strbuf.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct created {
    struct created *next;
    char *path;
    dev_t device;
    ino_t inode;
};

static struct created *files;       /* atomic */
static bool watching;

static bool is_known(const struct stat *status)
{
    for (const struct created *file = files; file; file = file->next)
        if (file->device == status->st_dev && file->inode == status->st_ino)
            return true;
    return false;
}

/* The file itself, if the name is a link.  Names of descriptors (/dev/stdout) are not names of files to remove. */
static char *path_of(const char *name)
{
    struct stat status;

    if (strncmp(name, "/dev/", 5) == 0 || strncmp(name, "/proc/", 6) == 0)
        return img_strdup("");
    if (lstat(name, &status) == 0 && S_ISLNK(status.st_mode)) {
        char *real = realpath(name, NULL);

        return real ? real : img_strdup("");
    }
    return img_strdup(name);
}

int img_created_add(int fd, const char *name)
{
    struct created *file;
    struct stat status;

    if (!watching || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || is_known(&status))
        return 0;
    file = img_calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->path = path_of(name);
    if (!file->path) {
        free(file);
        return -ENOMEM;
    }
    file->device = status.st_dev;
    file->inode = status.st_ino;
    file->next = files;
    __atomic_store_n(&files, file, __ATOMIC_SEQ_CST);
    return 0;
}

unsigned img_created_count(void)
{
    unsigned count = 0;

    for (const struct created *file = files; file; file = file->next)
        count++;
    return count;
}

void img_created_watch(void)
{
    watching = true;
}

/* (unlink and lstat are safe in a signal handler.) */
int img_created_remove(void)
{
    int ret = 0, saved = errno;

    for (const struct created *file = __atomic_load_n(&files, __ATOMIC_SEQ_CST); file; file = file->next) {
        struct stat status;

        if (lstat(file->path, &status) == 0 && status.st_dev == file->device && status.st_ino == file->inode &&
            unlink(file->path) < 0)
            ret = -errno;
    }
    errno = saved;
    return ret;
}

void img_created_forget(void)
{
    struct created *file = __atomic_exchange_n(&files, NULL, __ATOMIC_SEQ_CST);

    watching = false;
    while (file) {
        struct created *next = file->next;

        free(file->path);
        free(file);
        file = next;
    }
}
