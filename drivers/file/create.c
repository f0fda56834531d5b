/* SPDX-License-Identifier: MIT */
/*
 * New files.  The target is locked before it is truncated: an image in use by others is not touched.  A device
 * cannot be created; an existing one that is large enough is used, and its first sector is cleared so that no old
 * header is found.
 */
#include "file.h"
#include "../../libimg/util/fd.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#define DEFAULT_EXTENT_SIZE_HINT (1u << 20)

/* 0: leave the file system's default; unset: a size that keeps files contiguous that grow by small writes. */
static void set_attributes(int fd, const struct file_create_options *options)
{
    bool asked = options->extent_size_hint >= 0;
    uint32_t hint = asked ? (uint32_t)options->extent_size_hint : DEFAULT_EXTENT_SIZE_HINT;

    if (options->nocow == 1)
        file_set_nocow(fd);
    if (hint == 0)
        return;
    int status = file_set_extent_size(fd, hint);
    if (status < 0 && asked)
        img_notice(IMG_WARNING, "Failed to set extent size hint: %s", img_strerror(status));
}

static int refused(int code, const char *what, const char *name, struct img_error *err)
{
    if (code == EACCES)
        file_advise_access(name, err);
    return img_error_errno(err, code, "Could not %s '%s'", what, name);
}

/* Returns 0, or an errno if this user cannot. */
static int cannot_access(const char *path, int mode)
{
    return faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0 ? errno : 0;
}

/* May a file be made in the folder of `name`?  Returns 0 or an errno. */
static int cannot_make(const char *name)
{
    const char *slash = strrchr(name, '/');
    if (slash && !slash[1])
        return 0;       /* creating it says what is wrong */
    CLEANUP_FREE char *folder = slash ? img_strndup(name, (size_t)(slash - name) + 1) : img_strdup(".");

    return folder ? cannot_access(folder, W_OK | X_OK) : ENOMEM;
}

int file_check_name(const char *name, struct img_error *err)
{
    struct stat status;
    int code = file_stat_name(name, &status) < 0 ? errno : 0;

    if (code == ENOENT && name[0])
        code = cannot_make(name);
    else if (code == 0 && S_ISDIR(status.st_mode))
        code = EISDIR;
    else if (code == 0 && img_fd_of_name(name) < 0)
        code = cannot_access(name, W_OK);
    return code ? refused(code, "create", name, err) : 0;
}

/* A file that was not there is remembered before a signal can end the process.  Returns a descriptor, or a negative
 * errno. */
static int open_new(const char *name)
{
    sigset_t all, before;
    bool shared;
    int fd, ret;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    ret = fd < 0 ? -errno : img_created_add(fd, name);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (fd < 0)
        return file_open_name(name, O_RDWR | O_CREAT | O_CLOEXEC, &shared);
    if (ret < 0)
        close(fd);
    return ret < 0 ? ret : fd;
}

int file_create(const struct img_create *request, struct img_error *err)
{
    const struct file_create_options *options = request->options;
    const char *name = request->name;
    uint64_t size = options->size < 0 ? 0 : img_align_up((uint64_t)options->size, FILE_SECTOR);
    enum file_preallocation mode;
    int status = file_preallocation_parse(options->preallocation, &mode, err);

    if (status < 0)
        return status;
    if (options->extent_size_hint > (int64_t)UINT32_MAX)
        return img_error_set(err, EINVAL, "Extent size hint is too large");
    if (mode == FILE_PREALLOC_METADATA) {
        status = file_check_name(name, err);
        return status < 0 ? status : img_error_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
    }

    CLEANUP_FD int fd = open_new(name);
    if (fd < 0)
        return refused(-fd, "create", name, err);
    status = file_lock(fd, FILE_LOCK_AUTO, IMG_PERM_WRITE | IMG_PERM_RESIZE,
                       request->shared & ~(unsigned)IMG_PERM_RESIZE, name, err);
    if (status == 0)
        status = img_may_overwrite(fd, name, err);
    if (status == 0 && img_created_add(fd, name) < 0)
        status = img_error_memory(err);
    if (status == 0)
        status = file_set_length(fd, 0, FILE_PREALLOC_OFF, err);
    if (status < 0)
        return status;
    set_attributes(fd, options);
    return size > 0 ? file_set_length(fd, size, mode, err) : 0;
}

/* Returns a descriptor, or a negative errno with *err set. */
static int open_existing(const char *name, struct img_error *err)
{
    struct stat status;
    bool shared;

    if (file_stat_name(name, &status) == 0 && file_check_kind(&status, true, name, err) < 0)
        return -EINVAL;
    int fd = file_open_name(name, O_RDWR | O_CLOEXEC, &shared);
    if (fd < 0)
        return refused(-fd, "open", name, err);
    if (file_check_writable(fd, err) < 0) {
        close(fd);
        return -EACCES;
    }
    return fd;
}

static int clear_first_sector(int fd, uint64_t size, struct img_error *err)
{
    static const char zeroes[FILE_SECTOR];
    int status = file_write_plain(fd, zeroes, (size_t)img_min(size, sizeof zeroes), 0);

    if (status == 0 && fdatasync(fd) < 0 && errno != EINVAL)
        status = -errno;
    return status < 0 ? img_error_errno(err, -status, "Failed to clear the new image's first sector") : 0;
}

int file_create_on_device(const struct img_create *request, struct img_error *err)
{
    const struct file_create_options *options = request->options;
    const char *name = request->name;
    uint64_t size = options->size < 0 ? 0 : img_align_up((uint64_t)options->size, FILE_SECTOR);
    enum file_preallocation mode;
    int status = file_preallocation_parse(options->preallocation, &mode, err);

    if (status < 0)
        return status;
    if (mode != FILE_PREALLOC_OFF)
        return img_error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", options->preallocation);
    CLEANUP_FD int fd = open_existing(name, err);
    if (fd < 0)
        return img_error_prefix(err, "Protocol driver 'host_device' does not support creating new images, so an "
                                "existing image must be selected as the target; however, opening the given target "
                                "as an existing image failed: ");
    status = file_lock(fd, FILE_LOCK_AUTO, IMG_PERM_READ | IMG_PERM_WRITE | IMG_PERM_RESIZE, request->shared, name, err);
    if (status == 0)
        status = img_may_overwrite(fd, name, err);
    if (status < 0)
        return status;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return img_error_errno(err, errno, "Could not get size of '%s'", name);
    if (size > (uint64_t)end)
        return img_error_set(err, EINVAL, "Cannot grow device files");
    return clear_first_sector(fd, (uint64_t)end, err);
}
