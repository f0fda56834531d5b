/* SPDX-License-Identifier: MIT */
/*
 * Folders that are images, and files that must lie in one.  A link inside such a folder may point anywhere: only the
 * folder in which the file really lies counts.  So links in the last part of a name are followed here, one by one,
 * until the name is no link.  The folder reached is held open, its parents are checked by way of "..", and the file
 * is opened in it without following links.  A rename or link made meanwhile changes nothing that was checked.
 */
#include "file.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { MAX_LINKS = 40 };            /* the same limit as Linux */

#ifdef O_PATH
#define OPEN_FOLDER (O_PATH | O_DIRECTORY | O_CLOEXEC)
#else
#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

/* The place of a file: its folder, and its name there, which is not a link. */
struct place {
    int folder;
    char *name;
};

/* Open the folder of `name`, relative to the folder `from`; *last is the rest of the name. */
static int open_folder_of(int from, const char *name, const char **last)
{
    const char *slash = strrchr(name, '/');
    CLEANUP_FREE char *folder = slash ? img_strndup(name, (size_t)(slash - name) + 1) : img_strdup(".");
    int fd = folder ? openat(from, folder, OPEN_FOLDER) : -1;

    *last = slash ? slash + 1 : name;
    if (!folder)
        return -ENOMEM;
    return fd < 0 ? -errno : fd;
}

/* Follow one link: *place is the folder of `name`, and *target the content of the link, NULL if it is not one. */
static int step(struct place *place, const char *name, char **target)
{
    char link[PATH_MAX];
    const char *last;
    int from = place->folder, to = open_folder_of(from, name, &last);
    ssize_t length;

    if (from != AT_FDCWD)
        close(from);
    place->folder = to;
    if (to < 0)
        return to;
    if (img_replace_text(&place->name, last) < 0)
        return -ENOMEM;
    length = readlinkat(to, last, link, sizeof link);
    if (length == sizeof link)
        return -ENAMETOOLONG;
    /* Not a link, or not there: opening it reports the error. */
    if (length < 0)
        return 0;
    *target = img_strndup(link, (size_t)length);
    return *target ? 0 : -ENOMEM;
}

static int find_place(const char *name, struct place *place)
{
    char *next = img_strdup(name);
    int status = next ? 0 : -ENOMEM;

    for (unsigned links = 0; next && status == 0; links++) {
        CLEANUP_FREE char *here = next;

        next = NULL;
        status = links > MAX_LINKS ? -ELOOP : step(place, here, &next);
    }
    free(next);
    return status;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is the folder `fd` equal to or below the folder `top`?  Returns 1, 0 or a negative errno. */
static int is_below(int fd, const char *top)
{
    CLEANUP_FD int at = dup(fd);
    struct stat want, here, above;

    if (at < 0 || stat(top, &want) < 0 || fstat(at, &here) < 0)
        return -errno;
    while (!same_file(&here, &want)) {
        int up = openat(at, "..", OPEN_FOLDER);

        if (up < 0)
            return -errno;
        close(at);
        at = up;
        if (fstat(at, &above) < 0)
            return -errno;
        if (same_file(&above, &here))
            return 0;
        here = above;
    }
    return 1;
}

static int open_place(const struct place *place, const char *name, bool device, int flags, struct img_error *err)
{
    struct stat status;
    int fd;

    if (fstatat(place->folder, place->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        file_check_kind(&status, device, name, err) < 0)
        return -EINVAL;
    fd = openat(place->folder, place->name, flags | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int file_open_within(const char *folder, const char *name, bool device, int flags, struct img_error *err)
{
    struct place place = { .folder = AT_FDCWD };
    int status = find_place(name, &place);

    if (status == 0)
        status = is_below(place.folder, folder);
    if (status > 0)
        status = open_place(&place, name, device, flags, err);
    else if (status == 0)
        status = img_error_set(err, EPERM, "'%s' leads out of the folder '%s', and is not opened", name, folder);
    if (place.folder >= 0)
        close(place.folder);
    free(place.name);
    return status;
}

int file_in_folder(const char *name, const char *inside, char **found)
{
    char *path;
    struct stat status;

    if (stat(name, &status) < 0 || !S_ISDIR(status.st_mode))
        return 0;
    path = img_asprintf("%s/%s", name, inside);
    if (!path)
        return -ENOMEM;
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
        *found = path;
    else
        free(path);
    return 0;
}
