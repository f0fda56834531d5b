/* SPDX-License-Identifier: MIT */
/* The drivers "file" (regular files) and "host_device" (block and character devices): options, open, close and info. */
#include "file.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define OPEN_OPTION(text, kind, field, ...) \
    { .name = text, .help = __VA_ARGS__, .type = kind, .when = IMG_AT_OPEN, \
      .offset = offsetof(struct file_open_options, field) }
#define CREATE_OPTION(text, kind, field, ...) \
    { .name = text, .help = __VA_ARGS__, .type = kind, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct file_create_options, field) }

#define OPEN_OPTIONS \
    OPEN_OPTION("aio", IMG_OPT_STRING, aio, "host AIO implementation (threads, native, io_uring)"), \
    OPEN_OPTION("aio-max-batch", IMG_OPT_NUMBER, aio_max_batch, "AIO max batch size (0: automatic)"), \
    OPEN_OPTION("locking", IMG_OPT_STRING, locking, "file locking mode (on/off/auto, default: auto)"), \
    OPEN_OPTION("pr-manager", IMG_OPT_STRING, pr_manager, "persistent reservation manager (none is known)"), \
    OPEN_OPTION("drop-cache", IMG_OPT_BOOL, drop_cache, "for live migration: no effect"), \
    OPEN_OPTION("x-check-cache-dropped", IMG_OPT_BOOL, check_cache_dropped, "for live migration: no effect")

/* The help text lists all allowed values in brackets, since callers parse it. */
static const struct img_option file_options[] = {
    OPEN_OPTIONS,
    CREATE_OPTION("size", IMG_OPT_SIZE, size, "Virtual disk size"),
    CREATE_OPTION("nocow", IMG_OPT_BOOL, nocow, "Turn off copy-on-write (valid only on btrfs)"),
    CREATE_OPTION("preallocation", IMG_OPT_STRING, preallocation,
                  "Preallocation mode (allowed values: off, falloc, full)", .choices = "off falloc full"),
    CREATE_OPTION("extent_size_hint", IMG_OPT_SIZE, extent_size_hint,
                  "Extent size hint for the image file, 0 to disable"),
    { .name = NULL }
};

static const struct img_option device_options[] = {
    OPEN_OPTIONS,
    CREATE_OPTION("size", IMG_OPT_SIZE, size, "Virtual disk size"),
    CREATE_OPTION("preallocation", IMG_OPT_STRING, preallocation, "Preallocation mode (allowed values: off)"),
    { .name = NULL }
};

static int probe_file(const char *name)
{
    (void)name;
    return 1;
}

static int probe_device(const char *name)
{
    struct stat status;

    return file_stat_name(name, &status) == 0 && file_is_device(status.st_mode) ? 100 : 0;
}

static int check_options(const struct img *image, const struct file_open_options *options,
                         enum file_locking *locking, struct img_error *err)
{
    static const char *const engines[] = { "threads", "native", "io_uring", NULL };
    size_t engine = 0;

    if (!image->filename || !*image->filename)
        return img_error_set(err, EINVAL, "The '%s' block driver requires a file name", image->driver->name);
    while (options->aio && engines[engine] && strcmp(options->aio, engines[engine]) != 0)
        engine++;
    if (!engines[engine])
        return img_error_set(err, EINVAL, "invalid parameter value: %s", options->aio);
    if (file_locking_parse(options->locking, locking, err) < 0)
        return -EINVAL;
    if (options->pr_manager)
        return img_error_set(err, EINVAL, "No persistent reservation manager with id '%s'", options->pr_manager);
    if (engine == 1 && !img_cache_direct(image->cache))
        return img_error_set(err, EINVAL, "aio=native was specified, but it requires cache.direct=on, "
                             "which was not specified.");
    return 0;
}

static int open_flags(const struct img *image)
{
    int flags = (image->flags & IMG_RDWR ? O_RDWR : O_RDONLY) | O_CLOEXEC;

#ifdef O_DIRECT
    if (img_cache_direct(image->cache))
        flags |= O_DIRECT;
#endif
    if ((image->flags & IMG_RDWR) &&
        (image->cache == IMG_CACHE_WRITETHROUGH || image->cache == IMG_CACHE_DIRECTSYNC))
        flags |= O_DSYNC;
    return flags;
}

/* Returns a descriptor, or a negative errno, with *err set if there is more to say. */
static int open_anywhere(struct img *image, const char *name, bool device, struct img_error *err)
{
    struct file_state *file = image->state;
    struct stat status;

    /* Opening a directory is harmless, and the system has the better message. */
    if (file_stat_name(name, &status) == 0 && !S_ISDIR(status.st_mode) &&
        file_check_kind(&status, device, name, err) < 0)
        return -EINVAL;
    return file_open_name(name, open_flags(image), &file->shared);
}

static int open_name(struct img *image, const char *name, bool device, struct img_error *err)
{
    int fd = image->within ? file_open_within(image->within, name, device, open_flags(image), err)
                           : open_anywhere(image, name, device, err);

    if (fd >= 0 || err->text)
        return fd;
    if (fd == -EINVAL && img_cache_direct(image->cache))
        return img_error_set(err, EINVAL, "Could not open '%s': filesystem does not support O_DIRECT", name);
    if (fd == -EACCES)
        file_advise_access(name, err);
    return img_error_errno(err, -fd, "Could not open '%s'", name);
}

static int open_descriptor(struct img *image, const char *name, bool device, struct img_error *err)
{
    struct file_state *file = image->state;
    struct stat status;

    file->fd = open_name(image, name, device, err);
    if (file->fd < 0)
        return file->fd;
    if (fstat(file->fd, &status) < 0)
        return img_error_errno(err, errno, "Could not stat '%s'", name);
    file->device = device;
    image->blind = device;
    file->block = S_ISBLK(status.st_mode);
    if (file_check_kind(&status, device, name, err) < 0)
        return -EINVAL;
    return file->block && (image->flags & IMG_RDWR) ? file_check_writable(file->fd, err) : 0;
}

/* Does O_DIRECT really bypass the cache? Character devices accept any request, and not every system supports it. */
static bool direct_works(const struct img *image)
{
#ifdef O_DIRECT
    const struct file_state *file = image->state;

    return img_cache_direct(image->cache) && (file->block || !file->device);
#else
    (void)image;
    return false;
#endif
}

static int find_size(struct img *image, struct img_error *err)
{
    struct file_state *file = image->state;
    off_t end = lseek(file->fd, 0, SEEK_END);

    if (end < 0 && file->device && !file->block)
        end = 0;
    if (end < 0)
        return img_error_errno(err, errno, "Could not refresh total sector count");
    /* All layers above count in sectors; the missing part of the last one reads as zeroes. */
    image->size = img_align_up((uint64_t)end, FILE_SECTOR);
    return 0;
}

/* Alignments are detected before. */
static void set_limits(struct img *image)
{
    const struct file_state *file = image->state;
    struct img_limits *limits = &image->limits;
    long page = sysconf(_SC_PAGESIZE);

    limits->min_mem_alignment = limits->memory_alignment;
    limits->opt_mem_alignment = img_max(limits->memory_alignment, page > 0 ? (uint64_t)page : 4096);
    limits->max_iov = IOV_MAX;
    if (!file->block)
        return;
    limits->max_hw_transfer = file_queue_limit(file->fd, "max_sectors_kb") * 1024;
    limits->max_hw_iov = (int)img_min(file_queue_limit(file->fd, "max_segments"), INT32_MAX);
    limits->discard_alignment = file_queue_limit(file->fd, "discard_granularity");
}

static int open_node(struct img *image, const struct file_open_options *options, bool device,
                     struct img_error *err)
{
    struct file_state *file = image->state;
    int status = check_options(image, options, &file->locking, err);

    if (status == 0)
        status = open_descriptor(image, image->filename, device, err);
    if (status == 0)
        status = find_size(image, err);
    if (status < 0)
        return status;
    file->write_through = image->cache == IMG_CACHE_WRITETHROUGH || image->cache == IMG_CACHE_DIRECTSYNC;
    if (direct_works(image)) {
        status = file_probe_alignment(image);
        if (status < 0)
            return img_error_errno(err, -status, "Could not find working O_DIRECT alignment");
    }
    set_limits(image);
    return 0;
}

static int lock_file(struct img *image, struct img_error *err)
{
    const struct file_state *file = image->state;
    bool share = image->flags & IMG_SHARE;

    /* Who reads an image whatever others do to it has nothing to tell them. */
    if (share && file->locking == FILE_LOCK_AUTO && !(image->flags & IMG_RDWR))
        return 0;
    return file_lock(file->fd, file->locking, image->perm, share ? IMG_PERM_ALL : image->shared, image->filename, err);
}

static void release(struct file_state *file)
{
    if (file->fd >= 0 && file->shared)
        file_unlock(file->fd);
    if (file->fd >= 0)
        close(file->fd);
    if (file->end_fd >= 0)
        close(file->end_fd);
    file->fd = file->end_fd = -1;
    pthread_mutex_destroy(&file->end_lock);
    pthread_mutex_destroy(&file->map_lock);
    pthread_mutex_destroy(&file->waiting.lock);
}

static int open_any(struct img *image, const void *parsed, bool device, struct img_error *err)
{
    struct file_state *file = image->state;

    file->fd = file->end_fd = -1;
    pthread_mutex_init(&file->end_lock, NULL);
    pthread_mutex_init(&file->map_lock, NULL);
    pthread_mutex_init(&file->waiting.lock, NULL);
    int status = open_node(image, parsed, device, err);
    if (status < 0)
        release(file);
    return status;
}

static int open_file(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)options;
    return open_any(image, parsed, false, err);
}

static int open_device(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    (void)options;
    return open_any(image, parsed, true, err);
}

static int close_file(struct img *image)
{
    release(image->state);
    return 0;
}

static int descriptor(const struct img *image)
{
    const struct file_state *file = image->state;

    return file->fd;
}

static int64_t allocated(struct img *image)
{
    const struct file_state *file = image->state;
    struct stat status;

    if (fstat(file->fd, &status) < 0)
        return -errno;
    return (int64_t)status.st_blocks * 512;
}

static bool zero_initialised(struct img *image)
{
    const struct file_state *file = image->state;

    return !file->device;
}

static int info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct file_state *file = image->state;
    uint32_t hint = file->device ? 0 : file_extent_size(file->fd);

    (void)err;
    if (hint > 0)
        img_doc_put_uint(data, "extent-size-hint", hint);
    return 0;
}

/* A folder is not a device, but may contain devices. */
static int in_no_folder(const char *name, const char *inside, char **found)
{
    (void)name, (void)inside, (void)found;
    return 0;
}

const struct img_driver img_driver_file = {
    IMG_ROW(
        .name = "file", .kind = IMG_PROTOCOL, .prefix = "file"
    ),
    .state_size = sizeof(struct file_state),
    .options = file_options, .create_size = sizeof(struct file_create_options),
    .open_size = sizeof(struct file_open_options),
    .probe = probe_file, .open = open_file, .close = close_file, .lock = lock_file, .in_folder = file_in_folder,
    .descriptor = descriptor,
    .create = file_create, .check_name = file_check_name, .pread = file_pread, .pwrite = file_pwrite, .zero = file_zero,
    .discard = file_discard,
    .flush = file_flush, .length = file_length, .map = file_map, .copy_range = file_copy_range, .resize = file_resize, .info = info,
    .allocated = allocated, .zero_initialised = zero_initialised,
};

const struct img_driver img_driver_host_device = {
    IMG_ROW(
        .name = "host_device", .kind = IMG_PROTOCOL, .prefix = "host_device"
    ),
    .state_size = sizeof(struct file_state), .options = device_options,
    .create_size = sizeof(struct file_create_options), .open_size = sizeof(struct file_open_options),
    .probe = probe_device, .open = open_device, .close = close_file,
    .lock = lock_file, .in_folder = in_no_folder, .descriptor = descriptor, .cannot_grow = "Cannot grow device files",
    .create = file_create_on_device, .pread = file_pread, .pwrite = file_pwrite, .zero = file_zero,
    .discard = file_discard, .flush = file_flush, .map = file_map, .resize = file_resize,
    .info = info, .info_type = "file", .allocated = allocated, .zero_initialised = zero_initialised,
};
