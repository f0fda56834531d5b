/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "ssh.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <string.h>

IMG_MODULE("libssh >= 0.9");

/* A node has whole sectors; what the file lacks of the last reads as zeroes. */
enum { SECTOR = 512, MOST_TRANSFER = 2 << 20 };
/* Useful requests in flight to a server nearby; one more for each so many microseconds that an answer takes. */
enum { USEFUL_NEARBY = 16, USEFUL_AT_MOST = 64, MICROSECONDS_EACH = 500 };

struct ssh {
    struct ssh_target target;
    uint32_t flags;                 /* SFTP3_FOR_READING and so on */
    struct img_pool pool;
    bool regular;                   /* a file, not a device */
    bool told;                      /* that the server cannot flush */
};

/* ---- The pool ------------------------------------------------------------------------------- */

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    struct ssh *s = owner;
    struct ssh_connection *c = connection;
    int ret = ssh_connection_open(c, &s->target, stop, err);

    if (ret < 0)
        return ret;
    ret = ssh_file_open(c, &s->target, s->flags, stop, err);
    if (ret < 0)
        ssh_connection_close(c);
    return ret;
}

static void pool_close(void *owner, void *connection)
{
    (void)owner;
    ssh_file_close(connection);
    ssh_connection_close(connection);
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct ssh_connection), .open = pool_open, .close = pool_close,
};

/* ---- Opening ---------------------------------------------------------------------------------- */

/* A far server needs many, for one nearby more only wait for each other. */
static uint32_t useful_requests(uint64_t nanoseconds)
{
    return (uint32_t)img_min(USEFUL_NEARBY + nanoseconds / 1000 / MICROSECONDS_EACH, USEFUL_AT_MOST);
}

static int connect_to_server(struct img *image, struct img_error *err)
{
    struct ssh *s = image->state;
    struct ssh_look look;
    uint64_t start;
    int ret = img_pool_start(&s->pool, &pool_ops, s, -1, err);

    if (ret < 0)
        return ret;
    start = img_now_nanoseconds();
    ret = ssh_file_look(img_pool_first(&s->pool), &look, err);
    if (ret < 0) {
        img_pool_end(&s->pool);
        return ret;
    }
    image->limits.requests = useful_requests(img_now_nanoseconds() - start);
    s->regular = look.regular;
    image->size = img_align_up(look.size, SECTOR);
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
    s->flags = SFTP3_FOR_READING | (image->flags & IMG_RDWR ? SFTP3_FOR_WRITING : 0);
    ret = connect_to_server(image, err);
    if (ret < 0) {
        ssh_target_free(&s->target);
        return ret;
    }
    image->no_details = true;
    image->limits.round_trip = true;
    image->limits.max_transfer = MOST_TRANSFER;
    return 0;
}

static int ssh_driver_close(struct img *image)
{
    struct ssh *s = image->state;

    img_pool_end(&s->pool);
    ssh_target_free(&s->target);
    return 0;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static int run(struct img *image, struct ssh_request *request)
{
    struct ssh *s = image->state;

    request->stop = img_stop_descriptor(image);
    return img_pool_run(&s->pool, ssh_connection_run, request, request->stop);
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
    int stop = img_stop_descriptor(image), ret = img_pool_run(&s->pool, ssh_file_flush, &stop, stop);

    if (ret != -ENOTSUP)
        return ret;
    if (!s->told)
        img_notice(IMG_WARNING, "ssh server %s:%s does not support fsync", s->target.address.host,
                   s->target.address.port);
    s->told = true;
    return 0;
}

static int ssh_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    static const uint8_t zero[1];
    struct ssh_request last = { .kind = SSH_WRITE, .write = zero, .offset = size - 1, .length = 1 };
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

/* (a device keeps what it had) */
static bool zero_initialised(struct img *image)
{
    const struct ssh *s = image->state;

    return s->regular;
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
    .zero_initialised = zero_initialised,
    .strong_options = strong_options,
};
