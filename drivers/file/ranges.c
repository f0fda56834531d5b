/* SPDX-License-Identifier: MIT */
/*
 * Ranges of a file: which are data and which are holes; making holes and zeroes without writing bytes.  A call that
 * the file system has refused as "not supported" is not tried again on the same handle.
 */
#include "file.h"
#include <fcntl.h>
#ifdef __linux__
#include <linux/falloc.h>       /* (musl's fcntl.h knows only some of the modes) */
#endif

void file_forget_data(struct file_state *file)
{
    LOCK_SCOPE(&file->map_lock);
    file->data_start = file->data_end = 0;
    file->data_generation++;
}

/* The cached end of the data or hole around `offset`; 0: not known. */
static uint64_t recall_run(struct file_state *file, uint64_t offset, bool *data, unsigned *generation)
{
    LOCK_SCOPE(&file->map_lock);
    *generation = file->data_generation;
    *data = !file->data_is_hole;
    return offset >= file->data_start && offset < file->data_end ? file->data_end : 0;
}

/* Drop answers that were invalidated meanwhile. */
static void remember_run(struct file_state *file, uint64_t start, uint64_t end, bool data, unsigned generation)
{
    LOCK_SCOPE(&file->map_lock);
    if (generation == file->data_generation) {
        file->data_start = start;
        file->data_end = end;
        file->data_is_hole = !data;
    }
}

/* Data that became a hole still reads the same; a hole that others may write to may become data. */
static bool holes_stay(const struct img *image)
{
    return !(image->flags & (IMG_RDWR | IMG_SHARE)) && !(image->shared & IMG_PERM_WRITE);
}

/*
 * Find the end of the run at `offset`, and whether it is data.  Another process may change the file between the two
 * calls: an end that is not beyond `offset` means "the rest is data", which is always safe to read.
 */
static uint64_t ask_run(struct file_state *file, uint64_t offset, uint64_t limit, bool *data)
{
#if defined(SEEK_DATA) && defined(SEEK_HOLE)
    off_t start = lseek(file->fd, (off_t)offset, SEEK_DATA);

    *data = false;
    if (start < 0 && errno == ENXIO)
        return limit;                   /* a hole up to the end */
    if (start > (off_t)offset)
        return (uint64_t)start;
    *data = true;
    if (start == (off_t)offset) {
        off_t end = lseek(file->fd, start, SEEK_HOLE);

        if (end > start)
            return (uint64_t)end;
        return limit;
    }
    atomic_fetch_or(&file->missing, FILE_NO_SEEK);
#else
    (void)offset;
#endif
    *data = true;
    return limit;
}

int file_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct file_state *file = image->state;
    /* Writes of other threads may extend the file meanwhile. */
    uint64_t size = __atomic_load_n(&image->size, __ATOMIC_RELAXED), end = size;
    bool data = true;

    if (!file->device && !(atomic_load_explicit(&file->missing, memory_order_relaxed) & FILE_NO_SEEK)) {
        unsigned generation;

        end = recall_run(file, offset, &data, &generation);
        if (end == 0) {
            end = ask_run(file, offset, size, &data);
            if (data || holes_stay(image))
                remember_run(file, offset, end, data, generation);
        }
    }
    *extent = (struct img_extent){
        .offset = offset, .length = img_min(length, end - offset), .kind = data ? IMG_DATA : IMG_ZERO,
        .host_valid = true, .file = image, .host = offset,
    };
    return 0;
}

static bool unsupported(int status)
{
    return status == -ENOTSUP || status == -EOPNOTSUPP || status == -ENOSYS || status == -ENOTTY;
}

/* Try it, unless it is known not to work; remember "not supported", which is -ENOTSUP. */
static int attempt(struct file_state *file, unsigned what, int mode, uint64_t offset, uint64_t length)
{
    int status = -ENOTSUP;

    if (atomic_load_explicit(&file->missing, memory_order_relaxed) & what)
        return -ENOTSUP;
    switch (what) {
    case FILE_NO_ZEROOUT:
        status = file_device_zero(file->fd, offset, length);
        break;
    case FILE_NO_DISCARD:
        status = file_device_discard(file->fd, offset, length);
        break;
    default:
#ifdef __linux__
        do {
            status = fallocate(file->fd, mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
        } while (status == -EINTR);
#else
        (void)mode;
#endif
    }
    if (!unsupported(status))
        return status;
    atomic_fetch_or(&file->missing, what);
    return -ENOTSUP;
}

/* Mode 0 would allocate and zero nothing, so no mode may be missing without an error. */
#ifdef __linux__
enum { MODE_PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MODE_ZERO = FALLOC_FL_ZERO_RANGE };
#else
enum { MODE_PUNCH = 0, MODE_ZERO = 0 };         /* (there `attempt` does nothing) */
#endif

static int zero_device(struct file_state *file, uint64_t offset, uint64_t length, unsigned flags)
{
    int status = -ENOTSUP;

    if (flags & IMG_ZERO_MAY_UNMAP)
        status = attempt(file, FILE_NO_PUNCH, MODE_PUNCH, offset, length);
    if (status < 0 && !(flags & IMG_ZERO_NO_FALLBACK))
        status = attempt(file, FILE_NO_ZEROOUT, 0, offset, length);
    /* The caller must write ranges that are not aligned to the device's sectors. */
    return status == -EINVAL ? -ENOTSUP : status;
}

/* Zero the range but keep it allocated: a zero range, or else a hole that is allocated again. */
static int zero_allocated(struct file_state *file, uint64_t offset, uint64_t length)
{
    struct stat status;
    int result = attempt(file, FILE_NO_ZERO_RANGE, MODE_ZERO, offset, length);

    if (result != -ENOTSUP && result != -EINVAL)
        return result;
    bool behind_end = fstat(file->fd, &status) == 0 && offset >= (uint64_t)status.st_size;
    if (!behind_end)
        result = attempt(file, FILE_NO_PUNCH, MODE_PUNCH, offset, length);
    if (behind_end || result == 0)
        result = attempt(file, FILE_NO_ALLOCATE, 0, offset, length);
    return result == -EINVAL ? -ENOTSUP : result;
}

static int zero_range(struct file_state *file, uint64_t offset, uint64_t length, unsigned flags)
{
    int status = -ENOTSUP;

    if (file->device)
        return file->block ? zero_device(file, offset, length, flags) : -ENOTSUP;
    if (flags & IMG_ZERO_MAY_UNMAP)
        status = attempt(file, FILE_NO_PUNCH, MODE_PUNCH, offset, length);
    if (status == -ENOTSUP || status == -EINVAL)
        status = zero_allocated(file, offset, length);
    return status;
}

/* A zero range beyond the end extends the file, a hole does not. */
static void note_growth(struct img *image, uint64_t end)
{
    const struct file_state *file = image->state;
    struct stat status;

    if (end > img_size(image) && !file->device && fstat(file->fd, &status) == 0 && (uint64_t)status.st_size >= end)
        img_grew_to(image, end);
}

static int finish(struct img *image, int status)
{
    struct file_state *file = image->state;

    if (status < 0)
        return status;
    file_forget_data(file);
    return file->write_through ? file_flush(image) : 0;
}

int file_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int status = zero_range(image->state, offset, length, flags);

    if (status == 0)
        note_growth(image, offset + length);
    return finish(image, status);
}

int file_discard(struct img *image, uint64_t offset, uint64_t length)
{
    struct file_state *file = image->state;
    int status;

    if (file->device && !file->block)
        return -ENOTSUP;
    if (file->block)
        status = attempt(file, FILE_NO_DISCARD, 0, offset, length);
    else
        status = attempt(file, FILE_NO_PUNCH, MODE_PUNCH, offset, length);
    return finish(image, status);
}
