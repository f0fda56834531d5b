/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "ssh.h"
#include "../../libimg/util/checked.h"
#include <fcntl.h>
#include <string.h>

IMG_MODULE("libssh >= 0.9");

/* A node has whole sectors; what the file lacks of the last reads as zeroes. */
enum { SECTOR = 512, MOST_TRANSFER = 2 << 20, USEFUL_EACH = 2 };

struct ssh {
    struct ssh_target target;
    struct ssh_mode mode;
    struct ssh_watch watch;
    struct img_pool pool;
    bool told;                      /* that the server cannot flush */
};

/* ---- The pool ------------------------------------------------------------------------------- */

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    struct ssh *s = owner;
    struct ssh_connection *c = connection;

    c->watch = &s->watch;
    return ssh_connection_open(c, &s->target, &s->mode, stop, err);
}

static void pool_close(void *owner, void *connection)
{
    (void)owner;
    ssh_connection_close(connection);
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct ssh_connection), .open = pool_open, .close = pool_close,
};

/* ---- Opening ---------------------------------------------------------------------------------- */

static int connect_to_server(struct img *image, struct img_error *err)
{
    struct ssh *s = image->state;
    uint64_t size;
    int ret = ssh_watch_start(&s->watch, s->target.timeout);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not start a thread");
    ret = img_pool_start(&s->pool, &pool_ops, s, -1, err);
    if (ret == 0 && (ret = ssh_connection_size(img_pool_first(&s->pool), &size, err)) < 0)
        img_pool_end(&s->pool);
    if (ret < 0) {
        ssh_watch_end(&s->watch);
        return ret;
    }
    image->size = img_align_up(size, SECTOR);
    return 0;
}

static int ssh_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct ssh *s = image->state;
    const struct ssh_open_options *given = parsed;
    int ret;

    if (img_check_seconds("timeout", given->timeout, err) < 0 ||
        img_pool_take_most(&s->pool, given->connections, err) < 0)
        return -err->code;
    ret = ssh_target_take(options, given, &s->target, err);
    if (ret < 0)
        return ret;
    s->mode.flags = image->flags & IMG_RDWR ? O_RDWR : O_RDONLY;
    ret = connect_to_server(image, err);
    if (ret < 0) {
        ssh_target_free(&s->target);
        return ret;
    }
    image->no_details = true;
    image->limits.round_trip = true;
    image->limits.requests = USEFUL_EACH * s->pool.most;
    image->limits.max_transfer = MOST_TRANSFER;
    return 0;
}

static int ssh_driver_close(struct img *image)
{
    struct ssh *s = image->state;

    img_pool_end(&s->pool);
    ssh_watch_end(&s->watch);
    ssh_target_free(&s->target);
    return 0;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static int run(struct img *image, struct ssh_request *request)
{
    struct ssh *s = image->state;

    return img_pool_run(&s->pool, ssh_connection_run, request, img_stop_descriptor(image));
}

static int ssh_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct ssh_request request = { .kind = SSH_READ, .read = buffer, .offset = offset, .length = length };

    return run(image, &request);
}

static int ssh_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct ssh_request request = { .kind = SSH_WRITE, .write = buffer, .offset = offset, .length = length };
    int ret = run(image, &request);

    (void)flags;
    if (ret == 0)
        img_grew_to(image, offset + length);
    return ret;
}

/* One file: a flush on any connection covers what all have written. */
static int ssh_driver_flush(struct img *image)
{
    struct ssh *s = image->state;
    struct ssh_request request = { .kind = SSH_FLUSH };
    int ret = run(image, &request);

    if (ret != -ENOTSUP)
        return ret;
    if (!s->told)
        img_notice(IMG_WARNING, "ssh server %s:%s does not support fsync", s->target.address.host, s->target.address.port);
    s->told = true;
    return 0;
}

static int ssh_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    const char zero = 0;
    struct ssh_request last = { .kind = SSH_WRITE, .write = &zero, .offset = size - 1, .length = 1 };
    int ret;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (size < img_size(image))
        return img_error_set(err, ENOTSUP, "ssh driver does not support shrinking files");
    if (size == img_size(image))
        return 0;
    ret = run(image, &last);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to grow file");
    image->size = size;
    return 0;
}

/* The name, unless an option changes what it means. */
static int plain_name(const struct img *image, char **name)
{
    const struct ssh *s = image->state;
    const struct img_address *address = &s->target.address;

    *name = NULL;
    if (address->numeric || address->ipv4 >= 0 || address->ipv6 >= 0 || address->keep_alive || address->mptcp)
        return 0;
    *name = ssh_target_text(&s->target);
    return *name ? 0 : -ENOMEM;
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_OPEN(option, kind, member, usual, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, .standard = usual, \
      .offset = offsetof(struct ssh_open_options, member) }

static const struct img_option ssh_options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct ssh_create_options, size) },
    AT_OPEN("path", IMG_OPT_STRING, path, NULL, "The file on the server"),
    AT_OPEN("user", IMG_OPT_STRING, user, NULL, "User name"),
    AT_OPEN("host_key_check", IMG_OPT_STRING, old_check, NULL, "How the server is known: no, yes, or TYPE:HASH"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "60", "Seconds that the server may be silent; 0: for ever"),
    AT_OPEN("connections", IMG_OPT_NUMBER, connections, "4", "Connections at most"),
    { .name = NULL }
};

static const char *const strong_options[] = {
    "server.", "host", "port", "path", "user", "host_key_check", "host-key-check.", NULL
};

const struct img_driver img_driver_ssh = {
    IMG_ROW(
        .name = "ssh", .kind = IMG_PROTOCOL, .prefix = "ssh"
    ),
    .state_size = sizeof(struct ssh),
    .options = ssh_options,
    .create_size = sizeof(struct ssh_create_options),
    .open_size = sizeof(struct ssh_open_options),
    .open = ssh_driver_open,
    .close = ssh_driver_close,
    .create = ssh_driver_create,
    .parse_name = ssh_parse_name,
    .plain_name = plain_name,
    .pread = ssh_driver_pread,
    .pwrite = ssh_driver_pwrite,
    .flush = ssh_driver_flush,
    .resize = ssh_driver_resize,
    .strong_options = strong_options,
};
