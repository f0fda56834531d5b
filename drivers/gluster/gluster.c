/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "gluster.h"
#include "../../libimg/net/pool.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <fcntl.h>
#include <string.h>

IMG_MODULE("glusterfs-api >= 7.6");

/* A node has whole sectors; what the file lacks of the last reads as zeroes. */
enum { SECTOR = 512, MOST_TRANSFER = 1 << 20, USEFUL = 16 };
/* A brick may have to write the zeroes. */
enum { MOST_ZEROES = 64 << 20, MOST_DISCARD = 1 << 30 };

struct gluster {
    struct gluster_target target;
    glfs_t *fs;
    glfs_fd_t *fd;
    struct gluster_map map;
    bool touched;                   /* atomic: something was written */
    bool lost;                      /* atomic: a write went wrong, and was reported */
};

/* ---- Opening ---------------------------------------------------------------------------------- */

static int failed(void)
{
    return errno ? -errno : -EIO;
}

static int look(const struct gluster *s, struct stat *status)
{
    errno = 0;
    return glfs_fstat(s->fd, status) < 0 ? failed() : 0;
}

static int measure(struct img *image, struct img_error *err)
{
    struct gluster *s = image->state;
    struct stat status;
    int ret = look(s, &status);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not get the size of the file");
    if (status.st_size < 0 || status.st_size > INT64_MAX - (SECTOR - 1))
        return img_error_set(err, EFBIG, "The file is too large");
    image->size = img_align_up((uint64_t)status.st_size, SECTOR);
    return 0;
}

static int open_file(struct img *image, struct img_error *err)
{
    struct gluster *s = image->state;
    int flags = (image->flags & IMG_RDWR ? O_RDWR : O_RDONLY) | (img_cache_direct(image->cache) ? O_DIRECT : 0);
    int ret = gluster_volume(&s->target, &s->fs, err);

    if (ret < 0)
        return ret;
    errno = 0;
    s->fd = glfs_open(s->fs, s->target.path, flags);
    if (s->fd)
        return 0;
    if (image->filename && *image->filename)
        return img_error_errno(err, -failed(), "Could not open '%s'", image->filename);
    return img_error_errno(err, -failed(), "Could not open image");
}

static int gluster_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct gluster *s = image->state;
    const struct gluster_open_options *given = parsed;
    int ret;

    if (given->timeout >= 0 && img_check_seconds("timeout", given->timeout, err) < 0)
        return -err->code;
    ret = gluster_target_take(image->filename, options, given, &s->target, err);
    if (ret < 0)
        return ret;
    ret = open_file(image, err);
    if (ret == 0 && (ret = measure(image, err)) < 0)
        glfs_close(s->fd);
    if (ret < 0) {
        gluster_target_free(&s->target);
        return ret;
    }
    pthread_mutex_init(&s->map.lock, NULL);
    image->no_details = true;
    image->limits.request_alignment = SECTOR;
    image->limits.round_trip = true;
    image->limits.requests = USEFUL;
    image->limits.max_transfer = MOST_TRANSFER;
    image->limits.max_write_zeroes = MOST_ZEROES;
    image->limits.max_discard = MOST_DISCARD;
    return 0;
}

/* (where a write went wrong, the brick that is gone is no news) */
static int gluster_driver_close(struct img *image)
{
    struct gluster *s = image->state;
    int ret;

    gluster_map_end(&s->map);
    errno = 0;
    ret = glfs_close(s->fd) < 0 && s->touched && !s->lost ? failed() : 0;
    if (s->touched)
        gluster_settle(s->fs);
    gluster_target_free(&s->target);
    return ret;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static int gluster_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct gluster *s = image->state;
    char *to = buffer;

    for (size_t done = 0; done < length;) {
        ssize_t got;
        errno = 0;
        got = glfs_pread(s->fd, to + done, length - done, (off_t)(offset + done), 0, NULL);
        if (got < 0 || (size_t)got > length - done)
            return got < 0 ? failed() : -EIO;
        if (got == 0) {
            memset(to + done, 0, length - done);
            return 0;
        }
        done += (size_t)got;
    }
    return 0;
}

static int changed(struct gluster *s, int ret)
{
    __atomic_store_n(&s->touched, true, __ATOMIC_RELAXED);
    if (ret < 0 && ret != -ENOTSUP)
        __atomic_store_n(&s->lost, true, __ATOMIC_RELAXED);
    return ret;
}

static int write_all(struct gluster *s, const char *from, uint64_t offset, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put;
        errno = 0;
        put = glfs_pwrite(s->fd, from + done, length - done, (off_t)(offset + done), 0, NULL, NULL);
        if (put <= 0 || (size_t)put > length - done)
            return put < 0 ? failed() : -EIO;
        done += (size_t)put;
    }
    return 0;
}

/* A file has whole sectors: qemu-img reads no part of one here.  (libimg fills up what is not a new end.) */
static int gluster_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    static const char zeroes[SECTOR];
    struct gluster *s = image->state;
    uint64_t end = offset + length;
    int ret = write_all(s, buffer, offset, length);

    (void)flags;
    if (ret == 0 && end % SECTOR)
        ret = write_all(s, zeroes, end, SECTOR - end % SECTOR);
    if (ret == 0)
        img_grew_to(image, img_align_up(end, SECTOR));
    return changed(s, ret);
}

static int gluster_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct gluster *s = image->state;
    /* A hole makes a file no longer. */
    bool inside = img_within(offset, length, img_size(image));
    int ret = flags & IMG_ZERO_MAY_UNMAP && inside ? gluster_punch(s->fd, offset, length) : -ENOTSUP;

    if (ret == -ENOTSUP)
        ret = gluster_zerofill(s->fd, offset, length);
    if (ret == 0)
        img_grew_to(image, offset + length);
    return changed(s, ret);
}

static int gluster_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    struct gluster *s = image->state;

    return changed(s, gluster_punch(s->fd, offset, length));
}

static int gluster_driver_flush(struct img *image)
{
    struct gluster *s = image->state;

    errno = 0;
    return glfs_fsync(s->fd, NULL, NULL) < 0 ? changed(s, failed()) : 0;
}

static int gluster_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct gluster *s = image->state;
    bool keep = !(image->flags & (IMG_RDWR | IMG_SHARE));
    uint64_t end;
    bool data;
    int ret = gluster_map_ask(&s->map, s->fd, offset, img_size(image), keep, &data, &end);

    if (ret < 0)
        return ret;
    *extent = (struct img_extent){
        .offset = offset, .length = img_min(length, end - offset), .kind = data ? IMG_DATA : IMG_ZERO,
        .host_valid = true, .file = image, .host = offset,
    };
    return 0;
}

static int gluster_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct gluster *s = image->state;
    enum gluster_preallocation mode;
    int ret = gluster_preallocation_parse(preallocation, &mode, err);

    if (ret == 0)
        ret = changed(s, gluster_set_length(s->fd, img_size(image), size, mode, err));
    if (ret == 0)
        image->size = size;
    return ret;
}

static int64_t gluster_driver_allocated(struct img *image)
{
    struct stat status;
    int ret = look(image->state, &status);

    return ret < 0 ? ret : (int64_t)status.st_blocks * SECTOR;
}

static bool zero_initialised(struct img *image)
{
    (void)image;
    return true;
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_CREATE(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct gluster_create_options, member) }
#define AT_OPEN(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, \
      .offset = offsetof(struct gluster_open_options, member) }

static const struct img_option gluster_options[] = {
    AT_CREATE("size", IMG_OPT_SIZE, size, "Virtual disk size"),
    AT_CREATE("preallocation", IMG_OPT_STRING, preallocation, "Preallocation mode (allowed values: off, falloc, full)"),
    AT_CREATE("debug", IMG_OPT_NUMBER, debug, "Gluster log level, valid range is 0-9"),
    AT_CREATE("logfile", IMG_OPT_STRING, logfile, "Logfile path of libgfapi"),
    AT_OPEN("volume", IMG_OPT_STRING, volume, "The volume"),
    AT_OPEN("path", IMG_OPT_STRING, path, "The file in the volume"),
    AT_OPEN("debug", IMG_OPT_NUMBER, debug, "What libgfapi says of its work: 0 to 9"),
    AT_OPEN("logfile", IMG_OPT_STRING, logfile, "Where it says it; -: standard error"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "Seconds that servers may be silent; 0: what the volume says"),
    { .name = NULL }
};

static const char *const strong_options[] = { "server.", "volume", "path", NULL };

const struct img_driver img_driver_gluster = {
    IMG_ROW(
        .name = "gluster", .kind = IMG_PROTOCOL, .prefix = "gluster gluster+tcp gluster+unix"
    ),
    .state_size = sizeof(struct gluster),
    .options = gluster_options,
    .create_size = sizeof(struct gluster_create_options),
    .open_size = sizeof(struct gluster_open_options),
    .open = gluster_driver_open,
    .close = gluster_driver_close,
    .create = gluster_driver_create,
    .pread = gluster_driver_pread,
    .pwrite = gluster_driver_pwrite,
    .zero = gluster_driver_zero,
    .discard = gluster_driver_discard,
    .flush = gluster_driver_flush,
    .map = gluster_driver_map,
    .resize = gluster_driver_resize,
    .allocated = gluster_driver_allocated,
    .zero_initialised = zero_initialised,
    .strong_options = strong_options,
};
