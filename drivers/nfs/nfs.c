/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "nfs.h"
#include "../../libimg/util/checked.h"
#include <fcntl.h>
#include <string.h>

IMG_MODULE("libnfs >= 4.0.0 libnfs < 6");

/* A node has whole sectors; what the file lacks of the last reads as zeroes. */
enum { SECTOR = 512, MOST_TRANSFER = 2 << 20, USEFUL_EACH = 2 };

struct nfs {
    struct nfs_target target;
    struct nfs_mode mode;
    struct nfs_file file;
    struct img_pool pool;
};

/* ---- The pool ------------------------------------------------------------------------------- */

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    struct nfs *s = owner;

    return nfs_connection_open(connection, &s->target, &s->mode, &s->file, stop, err);
}

static void pool_close(void *owner, void *connection)
{
    (void)owner;
    nfs_connection_close(connection);
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct nfs_connection), .open = pool_open, .close = pool_close,
};

static int run(struct img *image, struct nfs_request *request)
{
    struct nfs *s = image->state;
    int ret;

    request->stop = img_stop_descriptor(image);
    ret = img_pool_run(&s->pool, nfs_connection_run, request, request->stop);
    return ret == IMG_POOL_LOST ? -EIO : ret;
}

/* ---- Opening ---------------------------------------------------------------------------------- */

static int look_at_file(struct img *image, struct img_error *err)
{
    struct nfs_request look = { .kind = NFS_LOOK };
    int ret = run(image, &look);

    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to fstat file");
    if (look.size > INT64_MAX - (SECTOR - 1))
        return img_error_set(err, EFBIG, "The file is too large");
    image->size = img_align_up(look.size, SECTOR);
    return 0;
}

static int connect_to_server(struct img *image, struct img_error *err)
{
    struct nfs *s = image->state;
    int ret;

    pthread_mutex_init(&s->file.lock, NULL);
    ret = img_pool_start(&s->pool, &pool_ops, s, -1, err);
    if (ret == 0 && (ret = look_at_file(image, err)) < 0)
        img_pool_end(&s->pool);
    if (ret < 0)
        pthread_mutex_destroy(&s->file.lock);
    return ret;
}

static int nfs_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct nfs *s = image->state;
    const struct nfs_open_options *given = parsed;
    int ret;

    if (img_check_seconds("timeout", given->timeout, err) < 0 ||
        img_pool_take_most(&s->pool, given->connections, err) < 0)
        return -err->code;
    ret = nfs_target_take(options, given, img_cache_direct(image->cache), &s->target, err);
    if (ret < 0)
        return ret;
    s->mode.flags = image->flags & IMG_RDWR ? O_RDWR : O_RDONLY;
    s->pool.patience = s->target.timeout ? s->target.timeout : UINT64_MAX / 2;
    ret = connect_to_server(image, err);
    if (ret < 0) {
        nfs_target_free(&s->target);
        return ret;
    }
    image->no_details = true;
    image->limits.round_trip = true;
    image->limits.requests = USEFUL_EACH * s->pool.most;
    image->limits.max_transfer = MOST_TRANSFER;
    return 0;
}

static int nfs_driver_close(struct img *image)
{
    struct nfs *s = image->state;

    img_pool_end(&s->pool);
    pthread_mutex_destroy(&s->file.lock);
    nfs_target_free(&s->target);
    return 0;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static int nfs_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct nfs_request request = { .kind = NFS_READ, .read = buffer, .offset = offset, .length = length };

    return run(image, &request);
}

static int nfs_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct nfs_request request = {
        .kind = flags & IMG_WRITE_FUA ? NFS_WRITE_DURABLE : NFS_WRITE, .write = buffer, .offset = offset,
        .length = length,
    };
    int ret = run(image, &request);

    if (ret == 0)
        img_grew_to(image, offset + length);
    return ret;
}

static int nfs_driver_flush(struct img *image)
{
    struct nfs_request request = { .kind = NFS_FLUSH };

    return run(image, &request);
}

static int nfs_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct nfs_request request = { .kind = NFS_SET_LENGTH, .offset = size };
    int ret;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    ret = run(image, &request);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to truncate file");
    image->size = size;
    return 0;
}

static int64_t nfs_driver_allocated(struct img *image)
{
    struct nfs_request look = { .kind = NFS_LOOK };
    int ret = run(image, &look);

    if (ret < 0)
        return ret;
    return look.used > INT64_MAX - (SECTOR - 1) ? -EFBIG : (int64_t)img_align_up(look.used, SECTOR);
}

static bool zero_initialised(struct img *image)
{
    (void)image;
    return true;
}

static int plain_name(const struct img *image, char **name)
{
    const struct nfs *s = image->state;

    *name = nfs_target_text(&s->target);
    return *name ? 0 : -ENOMEM;
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_OPEN(option, kind, member, usual, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, .standard = usual, \
      .offset = offsetof(struct nfs_open_options, member) }

static const struct img_option nfs_options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct nfs_create_options, size) },
    AT_OPEN("path", IMG_OPT_STRING, path, NULL, "The file: the path of the export, and that of the file in it"),
    AT_OPEN("user", IMG_OPT_STRING, user, NULL, "User id to ask as"),
    AT_OPEN("group", IMG_OPT_STRING, group, NULL, "Group id to ask as"),
    AT_OPEN("tcp-syn-count", IMG_OPT_STRING, syn_count, NULL, "How often to try to connect"),
    AT_OPEN("readahead-size", IMG_OPT_STRING, readahead, NULL, "Bytes to read ahead; not used"),
    AT_OPEN("page-cache-size", IMG_OPT_STRING, page_cache, NULL, "Pages to keep; not used"),
    AT_OPEN("debug", IMG_OPT_STRING, debug, NULL, "What libnfs says of its work: 0 to 2"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "60", "Seconds that the server may be silent; 0: for ever"),
    AT_OPEN("connections", IMG_OPT_NUMBER, connections, "4", "Connections at most"),
    { .name = NULL }
};

static const char *const strong_options[] = { "server.", "path", "user", "group", NULL };

const struct img_driver img_driver_nfs = {
    IMG_ROW(
        .name = "nfs", .kind = IMG_PROTOCOL, .prefix = "nfs"
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct nfs),
    .options = nfs_options,
    .create_size = sizeof(struct nfs_create_options),
    .open_size = sizeof(struct nfs_open_options),
    .open = nfs_driver_open,
    .close = nfs_driver_close,
    .create = nfs_driver_create,
    .parse_name = nfs_parse_name,
    .plain_name = plain_name,
    .pread = nfs_driver_pread,
    .pwrite = nfs_driver_pwrite,
    .flush = nfs_driver_flush,
    .resize = nfs_driver_resize,
    .allocated = nfs_driver_allocated,
    .zero_initialised = zero_initialised,
    .strong_options = strong_options,
};
