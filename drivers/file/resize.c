/* SPDX-License-Identifier: MIT */
/* The length of a file, and allocating storage for a new part. */
#include "file.h"
#include <fcntl.h>
#include <string.h>

#define FULL_CHUNK (1u << 20)
#define FIRST_BLOCK 4096u

static const char *const mode_names[] = { "off", "metadata", "falloc", "full" };

int file_preallocation_parse(const char *text, enum file_preallocation *mode, struct img_error *err)
{
    *mode = FILE_PREALLOC_OFF;
    if (!text)
        return 0;
    for (unsigned i = 0; i < sizeof mode_names / sizeof *mode_names; i++) {
        if (strcmp(text, mode_names[i]) == 0) {
            *mode = (enum file_preallocation)i;
            return 0;
        }
    }
    return img_error_set(err, EINVAL, "invalid parameter value: %s", text);
}

static int truncate_to(int fd, uint64_t size, struct img_error *err)
{
    while (ftruncate(fd, (off_t)size) < 0) {
        if (errno != EINTR)
            return img_error_errno(err, errno, "Could not resize file");
    }
    return 0;
}

/*
 * An image that grows from nothing gets its first block at once, as in qemu-img: a later O_DIRECT open detects the
 * block size by reading there, which does not work on a hole.
 */
static void allocate_first_block(int fd, uint64_t size)
{
    static const char zeroes[FIRST_BLOCK];
    size_t length = size >= FIRST_BLOCK ? FIRST_BLOCK : FILE_SECTOR;

    (void)file_write_plain(fd, zeroes, (size_t)img_min(length, size), 0);
}

static int fill(int fd, uint64_t from, uint64_t to)
{
    CLEANUP_FREE char *zeroes = calloc(1, FULL_CHUNK);

    if (!zeroes)
        return -ENOMEM;
    while (from < to) {
        size_t part = (size_t)img_min(to - from, FULL_CHUNK);
        int status = file_write_plain(fd, zeroes, part, from);

        if (status < 0)
            return status;
        from += part;
    }
    return 0;
}

/* The range is new, so if the file system cannot allocate blocks, writing zeroes does the same. */
static int allocate(int fd, uint64_t from, uint64_t to)
{
#ifdef __linux__
    while (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return fill(fd, from, to);
        if (errno != EINTR)
            return -errno;
    }
    return 0;
#else
    return fill(fd, from, to);
#endif
}

static int preallocate_full(int fd, uint64_t from, uint64_t to, struct img_error *err)
{
    int status = truncate_to(fd, to, err);

    if (status < 0)
        return status;
    status = fill(fd, from, to);
    if (status < 0)
        return img_error_errno(err, -status, "Could not write zeros for preallocation");
    if (fsync(fd) < 0)
        return img_error_errno(err, errno, "Could not flush file to disk");
    return 0;
}

static int preallocate(int fd, uint64_t from, uint64_t to, enum file_preallocation mode, struct img_error *err)
{
    int status;

    switch (mode) {
    case FILE_PREALLOC_OFF:
        status = truncate_to(fd, to, err);
        break;
    case FILE_PREALLOC_FALLOC:
        status = to > from ? allocate(fd, from, to) : 0;
        if (status < 0)
            img_error_errno(err, -status, "Could not preallocate new data");
        break;
    case FILE_PREALLOC_FULL:
        return preallocate_full(fd, from, to, err);
    default:
        return img_error_set(err, ENOTSUP, "Unsupported preallocation mode: %s", mode_names[mode]);
    }
    if (status == 0 && from == 0 && to > 0)
        allocate_first_block(fd, to);
    return status;
}

static void advise_space(int fd, uint64_t needed, struct img_error *err)
{
    char words[64], left[64];
    int64_t space = img_free_space(fd);

    if (space >= 0)
        img_error_advise(err, "this needs %s more, and the file system has %s left",
                         img_size_words(words, sizeof words, needed),
                         img_size_words(left, sizeof left, (uint64_t)space));
}

int file_set_length(int fd, uint64_t size, enum file_preallocation mode, struct img_error *err)
{
    struct stat status;

    if (size > INT64_MAX)
        return img_error_errno(err, EFBIG, "Could not resize file");
    if (fstat(fd, &status) < 0)
        return img_error_errno(err, errno, "Could not stat file");
    uint64_t before = (uint64_t)status.st_size;
    if (size < before && mode != FILE_PREALLOC_OFF)
        return img_error_set(err, ENOTSUP, "Preallocation can't be used for shrinking files");
    int result = preallocate(fd, before, size, mode, err);
    bool touched = mode == FILE_PREALLOC_FALLOC || mode == FILE_PREALLOC_FULL;
    if (result < 0 && touched && ftruncate(fd, (off_t)before) < 0)
        img_notice(IMG_WARNING, "Failed to restore old file length: %s", img_strerror(errno));
    if (result == -ENOSPC)
        advise_space(fd, size - before, err);
    return result;
}

static int resize_device(struct img *image, uint64_t size, enum file_preallocation mode, struct img_error *err)
{
    if (mode != FILE_PREALLOC_OFF)
        return img_error_set(err, ENOTSUP, "Preallocation mode '%s' unsupported for this non-regular file",
                             mode_names[mode]);
    if (size != image->size)
        return img_error_set(err, ENOTSUP, "Cannot resize device files");
    return 0;
}

int file_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct file_state *file = image->state;
    enum file_preallocation mode;
    int status = file_preallocation_parse(preallocation, &mode, err);

    if (status < 0)
        return status;
    if (file->device)
        return resize_device(image, size, mode, err);
    status = file_set_length(file->fd, size, mode, err);
    file_forget_data(file);
    if (status < 0)
        return status;
    /* Other threads may write before the end meanwhile, and read the size. */
    __atomic_store_n(&image->size, img_align_up(size, FILE_SECTOR), __ATOMIC_RELAXED);
    return 0;
}
