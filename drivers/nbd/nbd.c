/* SPDX-License-Identifier: MIT */
/* The vtable; opening, and requests.  Specification: doc/proto.md of the NBD project. */
#include "nbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <string.h>

IMG_MODULE("libnbd >= 1.14");

/* Lengths on the wire have 32 bits; answers about the map are asked for in pieces that are whole blocks of any size. */
enum { MOST_RANGE = 1 << 30 };
/* A node has whole sectors; what the export lacks of the last reads as zeroes. */
enum { SECTOR = 512 };
/* Useful requests in flight to a server without any delay; one more for each so many microseconds of delay. */
enum { NEARBY = 6, EACH = 50 };

/* ---- Opening -------------------------------------------------------------------------- */

/*
 * How many requests are useful in flight?  A far server needs many; for one nearby more than a few only push each
 * other's bytes out of the processor's caches.  So one small read is timed.
 */
static uint32_t useful_requests(struct img *image)
{
    struct nbd *s = image->state;
    unsigned char block[SECTOR];
    uint64_t begin = img_now_nanoseconds() / 1000, most = s->pool.most * NBD_DEPTH;
    struct nbd_request request = { .kind = NBD_READ, .read = block, .length = img_min(sizeof block, s->export.size) };

    if (image->flags & IMG_NO_IO || s->export.minimum > sizeof block || request.length == 0)
        return (uint32_t)most;
    nbd_run(image, &request);       /* (an error is found by those who need the bytes) */
    return (uint32_t)img_min(most, NEARBY + (img_now_nanoseconds() / 1000 - begin) / EACH);
}

static void set_limits(struct img *image)
{
    const struct nbd *s = image->state;
    struct img_limits *limits = &image->limits;
    uint64_t most = s->journal ? NBD_JOURNAL_LONGEST : NBD_MOST_TRANSFER;

    limits->request_alignment = (uint32_t)s->export.minimum;
    limits->opt_transfer = s->export.preferred;
    limits->max_transfer = img_min(s->export.most, most);
    limits->max_write_zeroes = limits->max_discard = MOST_RANGE;
    limits->requests = useful_requests(image);
    limits->round_trip = true;
}

static int set_up(struct img *image, const struct nbd_open_options *given, struct img_error *err)
{
    struct nbd *s = image->state;
    int ret;

    s->pool.most = given->connections > 0 ? (unsigned)img_min((uint64_t)given->connections, IMG_POOL_MOST)
                                          : NBD_CONNECTIONS;
    if (s->target.address.type == IMG_FD)
        s->pool.most = 1;
    s->pool.patience = given->reconnect_delay > 0 ? img_min((uint64_t)given->reconnect_delay, 365 * 86400) * 1000 : 0;
    ret = nbd_connect(s, given->open_timeout > 0 ? (uint64_t)given->open_timeout : 0, err);
    if (ret < 0)
        return ret;
    if (image->flags & IMG_RDWR && s->export.read_only)
        return img_error_errno(err, EACCES, "Could not open image");
    if (s->target.context && !s->export.can_map)
        return img_error_errno(err, EINVAL, "Could not open image");
    if (s->pool.patience && image->flags & IMG_RDWR && s->export.can_flush && !(s->journal = nbd_journal_new()))
        return img_error_memory(err);
    image->size = img_align_up(s->export.size, SECTOR);
    image->no_details = true;
    set_limits(image);
    return 0;
}

static int nbd_driver_close(struct img *image)
{
    nbd_disconnect(image->state);
    return 0;
}

static int nbd_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct nbd *s = image->state;
    int ret = nbd_target_take(options, parsed, &s->target, err);

    if (ret == 0)
        ret = set_up(image, parsed, err);
    if (ret < 0)
        nbd_driver_close(image);
    return ret;
}

static int plain_name(const struct img *image, char **name)
{
    return nbd_target_text(&((const struct nbd *)image->state)->target, name);
}

/* ---- Requests ------------------------------------------------------------------------------ */

/* How much of a range the export has, in whole blocks: of half a block nothing can be asked. */
static uint64_t known_range(const struct nbd *s, uint64_t offset, uint64_t length)
{
    uint64_t end = img_align_down(s->export.size, s->export.minimum);

    return offset >= end ? 0 : img_min(length, end - offset);
}

/* How much of a range the export has. */
static uint64_t there_is(const struct nbd *s, uint64_t offset, uint64_t length)
{
    return offset >= s->export.size ? 0 : img_min(length, s->export.size - offset);
}

static int nbd_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    size_t there = (size_t)there_is(image->state, offset, length);
    struct nbd_request request = { .kind = NBD_READ, .read = buffer, .offset = offset, .length = there };

    memset((char *)buffer + there, 0, length - there);
    return there ? nbd_run(image, &request) : 0;
}

static int nbd_driver_flush(struct img *image)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_FLUSH };

    return s->export.can_flush ? nbd_run(image, &request) : 0;
}

static int nbd_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    const struct nbd *s = image->state;
    bool durable = flags & IMG_WRITE_FUA;
    size_t there = (size_t)there_is(s, offset, length);
    struct nbd_request request = { .kind = NBD_WRITE, .write = buffer, .offset = offset, .length = there,
                                   .flags = durable && s->export.can_fua ? LIBNBD_CMD_FLAG_FUA : 0 };
    int ret;

    if (!img_within(offset, length, img_size(image)) || !img_is_zero((const char *)buffer + there, length - there))
        return -ENOSPC;
    ret = there ? nbd_run(image, &request) : 0;
    return ret == 0 && durable && !s->export.can_fua ? nbd_driver_flush(image) : ret;
}

static int nbd_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_ZERO, .offset = offset, .length = there_is(s, offset, length),
                                   .flags = flags & IMG_ZERO_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE };

    if (!s->export.can_zero || (flags & IMG_ZERO_NO_FALLBACK && !s->export.can_fast_zero))
        return -ENOTSUP;
    if (!img_within(offset, length, img_size(image)))
        return -ENOSPC;
    if (flags & IMG_ZERO_NO_FALLBACK)
        request.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
    return request.length ? nbd_run(image, &request) : 0;
}

static int nbd_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_TRIM, .offset = offset, .length = there_is(s, offset, length) };

    return s->export.can_trim && request.length ? nbd_run(image, &request) : -ENOTSUP;
}

static int nbd_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_STATUS, .offset = offset, .extents = extents, .room = count,
                                   .length = known_range(s, offset, img_min(length, MOST_RANGE)) };
    uint64_t there = s->export.can_map ? there_is(s, offset, length) : length;
    int ret;

    if (!s->export.can_map || request.length == 0) {
        /* (there is nothing of the last sector behind the end of the export) */
        extents[0] = (struct img_extent){ .offset = offset, .length = there ? there : length, .host_valid = there > 0,
                                          .kind = there ? IMG_DATA : IMG_ZERO, .file = image, .host = offset };
        return 1;
    }
    request.context = nbd_context(&s->target);
    ret = nbd_run(image, &request);
    return ret < 0 ? ret : nbd_judge_extents(image, offset, &request);
}

static int nbd_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    (void)preallocation;
    return size != img_size(image) ? img_error_set(err, ENOTSUP, "Cannot resize NBD nodes") : 0;
}

/* ---- The table -------------------------------------------------------------------------------- */

#define AT_OPEN(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, \
      .offset = offsetof(struct nbd_open_options, member) }

static const struct img_option nbd_options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct nbd_create_options, size) },
    { .name = "preallocation", .help = "Preallocation mode (allowed values: off)", .type = IMG_OPT_STRING,
      .when = IMG_AT_CREATE, .offset = offsetof(struct nbd_create_options, preallocation) },
    AT_OPEN("tls-creds", IMG_OPT_STRING, tls_creds, "ID of the TLS credentials to use"),
    AT_OPEN("tls-hostname", IMG_OPT_STRING, tls_hostname, "Name that the certificate of the server must have"),
    AT_OPEN("x-dirty-bitmap", IMG_OPT_STRING, context, "Metadata context to show instead of base:allocation"),
    AT_OPEN("reconnect-delay", IMG_OPT_NUMBER, reconnect_delay, "Seconds to wait for a server that was lost"),
    AT_OPEN("open-timeout", IMG_OPT_NUMBER, open_timeout, "Seconds to keep trying to connect"),
    AT_OPEN("connections", IMG_OPT_NUMBER, connections, "Connections at most"),
    AT_OPEN("tls", IMG_OPT_BOOL, tls, "Use TLS"),
    AT_OPEN("tls-psk-file", IMG_OPT_STRING, psk_file, "File of TLS keys"),
    AT_OPEN("tls-certificates", IMG_OPT_STRING, certificates, "Folder of TLS certificates"),
    AT_OPEN("tls-username", IMG_OPT_STRING, tls_username, "User name of the TLS key"),
    { .name = NULL }
};

static const char *const strong_options[] = {
    "server.", "path", "host", "port", "export", "tls-creds", "tls-hostname", "tls", "tls-psk-file", "tls-certificates",
    "tls-username", NULL
};

const struct img_driver img_driver_nbd = {
    IMG_ROW(
        .name = "nbd", .kind = IMG_PROTOCOL, .prefix = "nbd nbd+tcp nbd+unix nbds nbds+tcp nbds+unix"
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct nbd),
    .options = nbd_options,
    .create_size = sizeof(struct nbd_create_options),
    .open_size = sizeof(struct nbd_open_options),
    .open = nbd_driver_open,
    .close = nbd_driver_close,
    .create = nbd_driver_create,
    .parse_name = nbd_parse_name,
    .plain_name = plain_name,
    .pread = nbd_driver_pread,
    .pwrite = nbd_driver_pwrite,
    .zero = nbd_driver_zero,
    .discard = nbd_driver_discard,
    .flush = nbd_driver_flush,
    .map_list = nbd_driver_map,
    .resize = nbd_driver_resize,
    .strong_options = strong_options,
    .cannot_grow = "Cannot grow NBD nodes",
};
