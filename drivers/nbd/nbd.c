/* SPDX-License-Identifier: MIT */
/* The vtable; opening, requests, the map.  Specification: doc/proto.md of the NBD project. */
#include "nbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

IMG_MODULE("libnbd >= 1.14");

/* Lengths on the wire have 32 bits; answers about the map are asked for in pieces that are whole blocks of any size. */
enum { MOST_TRANSFER = 32 << 20, MOST_RANGE = 1 << 30 };

struct nbd {
    struct nbd_connection connections[NBD_CONNECTIONS];
    struct nbd_address address;
    unsigned count;
    bool can_map, can_zero, can_fast_zero, can_trim, can_flush, can_fua;
};

/* ---- Opening -------------------------------------------------------------------------- */

static void learn(struct nbd *s)
{
    struct nbd_handle *h = s->connections[0].handle;

    s->can_map = nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
    s->can_zero = nbd_can_zero(h) > 0;
    s->can_fast_zero = nbd_can_fast_zero(h) > 0;
    s->can_trim = nbd_can_trim(h) > 0;
    s->can_flush = nbd_can_flush(h) > 0;
    s->can_fua = nbd_can_fua(h) > 0;
}

static uint64_t block_size(const struct nbd *s, int which, uint64_t usual)
{
    int64_t size = nbd_get_block_size(s->connections[0].handle, which);

    return size > 0 ? (uint64_t)size : usual;
}

static int set_limits(struct img *image, struct img_error *err)
{
    const struct nbd *s = image->state;
    struct img_limits *limits = &image->limits;
    uint64_t least = block_size(s, LIBNBD_SIZE_MINIMUM, 1);

    if (!img_power_of_two(least) || least > 65536)
        return img_error_set(err, EINVAL, "server requires a block size of %llu, which is not supported",
                             (unsigned long long)least);
    limits->request_alignment = (uint32_t)least;
    limits->max_transfer = img_min(block_size(s, LIBNBD_SIZE_MAXIMUM, MOST_TRANSFER), MOST_TRANSFER);
    limits->max_write_zeroes = limits->max_discard = MOST_RANGE;
    limits->requests = NBD_CONNECTIONS * NBD_DEPTH;
    limits->round_trip = true;
    return 0;
}

static int learn_size(struct img *image, struct img_error *err)
{
    int64_t size = nbd_get_size(((struct nbd *)image->state)->connections[0].handle);

    if (size < 0)
        return img_error_set(err, EFBIG, "The export is too large");
    image->size = (uint64_t)size;
    return 0;
}

/* More connections, if what is flushed on one of them holds for all. */
static void connect_more(struct nbd *s)
{
    struct img_error ignored = IMG_ERROR_INIT;

    if (nbd_can_multi_conn(s->connections[0].handle) <= 0)
        return;
    while (s->count < NBD_CONNECTIONS) {
        if (nbd_connection_open(&s->connections[s->count], &s->address, &ignored) < 0) {
            /* The server may not want more; what stands is enough. */
            nbd_connection_close(&s->connections[s->count]);
            break;
        }
        s->count++;
    }
    img_error_clear(&ignored);
}

static int nbd_driver_close(struct img *image)
{
    struct nbd *s = image->state;

    for (unsigned i = 0; i < s->count; i++)
        nbd_connection_close(&s->connections[i]);
    s->count = 0;
    nbd_free_address(&s->address);
    return 0;
}

static int connect_all(struct img *image, struct img_error *err)
{
    struct nbd *s = image->state;
    int ret;

    s->count = 1;
    ret = nbd_connection_open(&s->connections[0], &s->address, err);
    if (ret < 0)
        return ret;
    learn(s);
    if (image->flags & IMG_RDWR && nbd_is_read_only(s->connections[0].handle) > 0)
        return img_error_errno(err, EACCES, "Could not open image");
    if ((ret = learn_size(image, err)) < 0 || (ret = set_limits(image, err)) < 0)
        return ret;
    image->no_details = true;
    if (!(image->flags & IMG_NO_IO))
        connect_more(s);
    return 0;
}

static int nbd_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct nbd *s = image->state;
    int ret = nbd_take_address(options, &s->address, err);

    (void)parsed;
    if (ret == 0)
        ret = connect_all(image, err);
    if (ret < 0)
        nbd_driver_close(image);
    return ret;
}

static int plain_name(const struct img *image, char **name)
{
    *name = nbd_address_text(&((const struct nbd *)image->state)->address);
    return *name ? 0 : -ENOMEM;
}

/* ---- Requests ------------------------------------------------------------------------------ */

/* The connection with the fewest requests in flight. */
static struct nbd_connection *choose(struct nbd *s)
{
    struct nbd_connection *best = &s->connections[0];

    for (unsigned i = 1; i < s->count; i++)
        if (__atomic_load_n(&s->connections[i].in_flight, __ATOMIC_RELAXED) <
            __atomic_load_n(&best->in_flight, __ATOMIC_RELAXED))
            best = &s->connections[i];
    return best;
}

static int run(struct img *image, struct nbd_request *request)
{
    struct nbd_connection *c = choose(image->state);
    int ret;

    __atomic_add_fetch(&c->in_flight, 1, __ATOMIC_RELAXED);
    ret = nbd_connection_run(c, request, img_stop_descriptor(image));
    __atomic_sub_fetch(&c->in_flight, 1, __ATOMIC_RELAXED);
    return ret;
}

static int nbd_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct nbd_request request = { .kind = NBD_READ, .read = buffer, .offset = offset, .length = length };
    uint64_t size = img_size(image);

    if (offset >= size || length > size - offset) {
        size_t there = offset < size ? (size_t)(size - offset) : 0;
        memset((char *)buffer + there, 0, length - there);
        request.length = there;
    }
    return request.length ? run(image, &request) : 0;
}

static int nbd_driver_flush(struct img *image)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_FLUSH };

    return s->can_flush ? run(image, &request) : 0;
}

static int nbd_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    const struct nbd *s = image->state;
    bool durable = flags & IMG_WRITE_FUA;
    struct nbd_request request = { .kind = NBD_WRITE, .write = buffer, .offset = offset, .length = length,
                                   .flags = durable && s->can_fua ? LIBNBD_CMD_FLAG_FUA : 0 };
    int ret = img_within(offset, length, img_size(image)) ? run(image, &request) : -ENOSPC;

    return ret == 0 && durable && !s->can_fua ? nbd_driver_flush(image) : ret;
}

static int nbd_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_ZERO, .offset = offset, .length = length,
                                   .flags = flags & IMG_ZERO_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE };

    if (!s->can_zero || (flags & IMG_ZERO_NO_FALLBACK && !s->can_fast_zero))
        return -ENOTSUP;
    if (!img_within(offset, length, img_size(image)))
        return -ENOSPC;
    if (flags & IMG_ZERO_NO_FALLBACK)
        request.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
    return run(image, &request);
}

static int nbd_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_TRIM, .offset = offset, .length = length };

    return s->can_trim && img_within(offset, length, img_size(image)) ? run(image, &request) : -ENOTSUP;
}

/* A server may answer more than was asked for, or what makes no sense. */
static int judge_map(struct img *image, uint64_t offset, struct nbd_request *request)
{
    uint64_t size = img_size(image);

    for (size_t i = 0; i < request->count; i++) {
        struct img_extent *extent = &request->extents[i];
        if (extent->length == 0 || extent->offset >= size)
            return i ? (int)i : -EIO;
        extent->length = img_min(extent->length, size - extent->offset);
        extent->file = image;
    }
    return request->count && request->extents[0].offset == offset ? (int)request->count : -EIO;
}

static int nbd_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count)
{
    const struct nbd *s = image->state;
    struct nbd_request request = { .kind = NBD_STATUS, .offset = offset, .length = img_min(length, MOST_RANGE),
                                   .extents = extents, .room = count };
    int ret;

    if (!s->can_map) {
        extents[0] = (struct img_extent){ .offset = offset, .length = length, .kind = IMG_DATA, .host_valid = true,
                                          .file = image, .host = offset };
        return 1;
    }
    ret = run(image, &request);
    return ret < 0 ? ret : judge_map(image, offset, &request);
}

static int nbd_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    (void)preallocation;
    return size != img_size(image) ? img_error_set(err, ENOTSUP, "Cannot resize NBD nodes") : 0;
}

/* ---- A "new" image: an export that is there ------------------------------------------------ */

struct create_options {
    int64_t size;
};

static const struct img_option options_table[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct create_options, size) },
    { .name = NULL }
};

/* No old header may be found. */
static int clear_first_sector(struct nbd_connection *c, uint64_t size, struct img_error *err)
{
    static const char zeroes[512];
    struct nbd_request request = { .kind = NBD_WRITE, .write = zeroes, .length = img_min(size, sizeof zeroes) };
    int ret = request.length ? nbd_connection_run(c, &request, -1) : 0;

    if (ret == 0 && nbd_can_flush(c->handle) > 0) {
        request = (struct nbd_request){ .kind = NBD_FLUSH };
        ret = nbd_connection_run(c, &request, -1);
    }
    return ret < 0 ? img_error_errno(err, -ret, "Failed to clear the new image's first sector") : 0;
}

static int take_over(struct nbd_connection *c, uint64_t wanted, struct img_error *err)
{
    int64_t size = nbd_get_size(c->handle);

    if (size < 0 || wanted > (uint64_t)size)
        return img_error_set(err, EINVAL, "Cannot grow NBD nodes");
    return clear_first_sector(c, (uint64_t)size, err);
}

static int open_for_writing(struct nbd_connection *c, const struct nbd_address *address, struct img_error *err)
{
    int ret = nbd_connection_open(c, address, err);

    if (ret == 0 && nbd_is_read_only(c->handle) > 0)
        ret = img_error_errno(err, EACCES, "Could not open image");
    if (ret < 0)
        return img_error_prefix(err, "Protocol driver 'nbd' does not support creating new images, so an existing image "
                                "must be selected as the target; however, opening the given target as an existing "
                                "image failed: ");
    return 0;
}

static int nbd_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct create_options *given = request->options;
    struct nbd_connection c = { .handle = NULL };
    struct nbd_address address;
    struct img_doc *options = img_doc_object();
    int ret = nbd_parse_name(request->name, options, err);

    if (ret == 0)
        ret = nbd_take_address(options, &address, err);
    img_doc_free(options);
    if (ret < 0)
        return ret;
    ret = open_for_writing(&c, &address, err);
    if (ret == 0)
        ret = take_over(&c, given->size < 0 ? 0 : (uint64_t)given->size, err);
    nbd_connection_close(&c);
    nbd_free_address(&address);
    return ret;
}

const struct img_driver img_driver_nbd = {
    IMG_ROW(
        .name = "nbd", .kind = IMG_PROTOCOL, .prefix = "nbd nbd+tcp nbd+unix"
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct nbd),
    .options = options_table,
    .create_size = sizeof(struct create_options),
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
};
