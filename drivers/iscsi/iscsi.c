/* SPDX-License-Identifier: MIT */
/* The vtable; opening, and requests. */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/random.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

IMG_MODULE("libiscsi >= 1.18");

/* Useful commands in flight on a session; the longest transfer; what WRITE SAME and UNMAP take if no limit is told. */
enum { USEFUL_EACH = 2, MOST_TRANSFER = 1 << 20, MOST_SAME = 0xffff, MOST_UNMAP = 1 << 30 };
enum { TIMES_LOST = 4 };

/* ---- The pool ------------------------------------------------------------------------------- */

/* Behind a new session there must be the disk that was there before; it may have grown. */
static int recognise(struct iscsi *s, struct iscsi_connection *c, int stop, struct img_error *err)
{
    struct iscsi_unit unit;
    int ret = iscsi_unit_ask(c, &unit, stop, err);

    if (ret < 0)
        return ret;
    if (!s->asked) {
        s->unit = unit;
        s->asked = true;
        return 0;
    }
    if (unit.is_disk != s->unit.is_disk || unit.block_size != s->unit.block_size || unit.blocks < s->unit.blocks)
        return img_error_set(err, EIO, "iSCSI: the LUN is another one than before");
    return 0;
}

/*
 * The lowest number that no session has.  A session that takes the place of a lost one has its number: the target then
 * ends the old one, if it does not know yet that it is lost, with all that it had still to do (RFC 7143, 6.3.5).  The
 * pool opens and closes one connection at a time.
 */
static unsigned free_number(struct iscsi *s)
{
    unsigned number = 0;

    while (number < IMG_POOL_MOST && s->numbers & 1u << number)
        number++;
    s->numbers |= 1u << number;
    return number;
}

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    struct iscsi *s = owner;
    unsigned number = free_number(s);
    int ret = iscsi_connection_open(connection, &s->target, number, stop, err);

    if (ret == 0 && (ret = recognise(s, connection, stop, err)) < 0)
        iscsi_connection_close(connection);
    if (ret < 0)
        s->numbers &= ~(1u << number);
    return ret;
}

static void pool_close(void *owner, void *connection)
{
    const struct iscsi_connection *c = connection;
    struct iscsi *s = owner;

    s->numbers &= ~(1u << c->number);
    iscsi_connection_close(connection);
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct iscsi_connection), .open = pool_open, .close = pool_close,
};

/* ---- Opening ---------------------------------------------------------------------------------- */

static int take_options(struct iscsi *s, const struct iscsi_open_options *given, struct img_error *err)
{
    if (given->timeout > 86400)
        return img_error_set(err, EINVAL, "timeout must be at most 86400");
    if (img_pool_take_most(&s->pool, given->connections, err) < 0 ||
        img_check_seconds("reconnect-delay", given->reconnect_delay, err) < 0)
        return -err->code;
    s->pool.patience = (uint64_t)given->reconnect_delay * 1000;
    /* When a target goes away, all sessions are lost, and a request may meet one after the other. */
    s->may_be_lost = s->pool.most + TIMES_LOST;
    return 0;
}

int iscsi_connect(struct iscsi *s, const struct iscsi_open_options *given, struct img_error *err)
{
    int ret = take_options(s, given, err);

    if (ret == 0)
        ret = iscsi_target_take(given, &s->target, err);
    if (ret < 0)
        return ret;
    ret = img_random(&s->mark, sizeof s->mark);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not get random bytes");
    ret = img_pool_start(&s->pool, &pool_ops, s, -1, err);
    s->connected = ret == 0;
    if (ret == 0) {
        pthread_mutex_init(&s->offload.lock, NULL);
        pthread_cond_init(&s->offload.change, NULL);
    }
    if (ret == 0 && !(s->zeroes = img_calloc(1, s->unit.block_size)))
        ret = img_error_memory(err);
    return ret;
}

void iscsi_disconnect_all(struct iscsi *s)
{
    if (s->connected) {
        img_pool_end(&s->pool);
        pthread_mutex_destroy(&s->offload.lock);
        pthread_cond_destroy(&s->offload.change);
    }
    s->connected = false;
    free(s->zeroes);
    s->zeroes = NULL;
    iscsi_target_free(&s->target);
}

/* A limit in blocks, of which 0 means that none is told, as bytes. */
static uint64_t in_bytes(const struct iscsi_unit *unit, uint64_t blocks, uint64_t usual, uint64_t most)
{
    uint64_t bytes;

    if (!img_mul(blocks ? blocks : usual, unit->block_size, &bytes))
        bytes = most;
    return img_max(img_align_down(img_min(bytes, most), unit->block_size), unit->block_size);
}

static void set_limits(struct img *image)
{
    const struct iscsi *s = image->state;
    const struct iscsi_unit *unit = &s->unit;
    struct img_limits *limits = &image->limits;

    limits->request_alignment = unit->block_size;
    limits->max_transfer = in_bytes(unit, unit->most_transfer, MOST_SAME, MOST_TRANSFER);
    if (img_power_of_two(unit->best_transfer))
        limits->opt_transfer = in_bytes(unit, unit->best_transfer, 1, MOST_TRANSFER);
    limits->max_write_zeroes = in_bytes(unit, img_min(unit->most_same, UINT32_MAX), MOST_SAME, MOST_UNMAP);
    limits->max_discard = in_bytes(unit, unit->most_unmap, MOST_UNMAP, MOST_UNMAP);
    if (unit->can_unmap && img_power_of_two(unit->unmap_unit))
        limits->discard_alignment = in_bytes(unit, unit->unmap_unit, 1, MOST_UNMAP);
    if (unit->can_unmap_same && img_power_of_two(unit->unmap_unit))
        limits->write_zeroes_alignment = in_bytes(unit, unit->unmap_unit, 1, MOST_UNMAP);
    limits->requests = USEFUL_EACH * s->pool.most;
    limits->round_trip = true;
}

static int iscsi_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct iscsi *s = image->state;
    int ret = iscsi_connect(s, parsed, err);

    (void)options;
    if (ret == 0 && image->flags & IMG_RDWR && s->unit.read_only)
        ret = img_error_set(err, EACCES, "LUN is write protected");
    if (ret < 0) {
        iscsi_disconnect_all(s);
        return ret;
    }
    image->size = s->unit.is_disk ? s->unit.blocks * s->unit.block_size : 0;
    set_limits(image);
    return 0;
}

static int iscsi_driver_close(struct img *image)
{
    iscsi_disconnect_all(image->state);
    return 0;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static void tell(const struct iscsi_request *r, const char *what)
{
    CLEANUP_FREE char *reason = iscsi_reason(r);

    if (r->kind == ISCSI_FLUSH)
        img_notice(IMG_FAULT, "iSCSI %s failed: %s", what, reason ? reason : "");
    else
        img_notice(IMG_FAULT, "iSCSI %s failed at lba %llu: %s", what, (unsigned long long)r->lba,
                   reason ? reason : "");
}

static int lost(struct iscsi *s, int ret)
{
    if (ret == -EIO && !__atomic_exchange_n(&s->told, true, __ATOMIC_RELAXED))
        img_notice(IMG_FAULT, "iSCSI: lost the target %s at %s", s->target.name, s->target.portal);
    return ret;
}

static int run_lost(void *connection, void *context)
{
    struct iscsi_request *r = context;
    int ret = iscsi_connection_run(connection, r);

    /* A command that ends every session is not sent for ever. */
    return ret == IMG_POOL_LOST && ++r->times_lost >= r->may_be_lost ? -EIO : ret;
}

int iscsi_run(struct img *image, struct iscsi *s, struct iscsi_request *r, const char *what)
{
    struct iscsi_delays delays = { .pause = 0 };
    int ret;

    r->block_size = s->unit.block_size;
    r->wide = s->unit.blocks > UINT32_MAX;
    r->mark = s->mark;
    r->may_be_lost = s->may_be_lost;
    r->stop = image ? img_stop_descriptor(image) : -1;
    for (;;) {
        int again;
        ret = img_pool_run(&s->pool, run_lost, r, r->stop);
        if (ret < 0)
            return lost(s, ret);
        ret = iscsi_judge(r);
        if (ret != -EAGAIN && ret != -EBUSY)
            break;
        again = iscsi_put_off(&delays, ret, r->stop);
        if (again == -ECANCELED)
            return again;
        if (again < 0) {
            ret = again;
            break;
        }
    }
    if (ret < 0 && what)
        tell(r, what);
    return ret;
}

/* A request for a range, which libimg has aligned. */
static struct iscsi_request request_for(const struct iscsi *s, int kind, uint64_t offset, uint64_t length)
{
    return (struct iscsi_request){ .kind = kind, .lba = offset / s->unit.block_size,
                                   .blocks = (uint32_t)(length / s->unit.block_size) };
}

static bool is_aligned(const struct iscsi *s, uint64_t offset, uint64_t length)
{
    return img_aligned(offset | length, s->unit.block_size) && length;
}

/* (behind the end there is nothing) */
static int iscsi_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct iscsi *s = image->state;
    size_t there = offset >= img_size(image) ? 0 : (size_t)img_min(length, img_size(image) - offset);
    struct iscsi_request request = request_for(s, ISCSI_READ, offset, there);

    memset((char *)buffer + there, 0, length - there);
    request.read = buffer;
    return there ? iscsi_run(image, s, &request, "READ10/16") : 0;
}

static int iscsi_driver_flush(struct img *image)
{
    struct iscsi *s = image->state;
    struct iscsi_request request = { .kind = ISCSI_FLUSH };
    int ret = iscsi_run(image, s, &request, NULL);

    if (ret == -EINVAL && iscsi_is_unknown(&request))
        return 0;                   /* there is no cache */
    if (ret < 0)
        tell(&request, "SYNCHRONIZECACHE10");
    return ret;
}

static int iscsi_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct iscsi *s = image->state;
    struct iscsi_request request = request_for(s, ISCSI_WRITE, offset, length);
    bool durable = flags & IMG_WRITE_FUA;
    int ret;

    if (!img_within(offset, length, img_size(image)))
        return -ENOSPC;
    if (!is_aligned(s, offset, length))
        return -EINVAL;
    request.write = buffer;
    request.fua = durable && s->unit.fua;
    ret = iscsi_run(image, s, &request, "WRITE10/16");
    return ret == 0 && durable && !s->unit.fua ? iscsi_driver_flush(image) : ret;
}

/* WRITE SAME with a block of zeroes; or, where the target's blocks are then zeroes, by unmapping them. */
static int iscsi_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct iscsi *s = image->state;
    struct iscsi_request request = request_for(s, ISCSI_WRITE_SAME, offset, length);
    int ret;

    request.unmap = flags & IMG_ZERO_MAY_UNMAP && s->unit.can_unmap_same && s->unit.zeroes;
    if (!is_aligned(s, offset, length) || __atomic_load_n(&s->no_same, __ATOMIC_RELAXED) ||
        (flags & IMG_ZERO_NO_FALLBACK && !request.unmap))
        return -ENOTSUP;
    if (!img_within(offset, length, img_size(image)))
        return -ENOSPC;
    request.write = s->zeroes;
    ret = iscsi_run(image, s, &request, NULL);
    if (ret == -EINVAL && iscsi_is_unknown(&request)) {
        __atomic_store_n(&s->no_same, true, __ATOMIC_RELAXED);
        return -ENOTSUP;
    }
    if (ret < 0)
        tell(&request, "WRITESAME10/16");
    return ret;
}

/* A target may decline: the blocks then stay as they are, which is no harm. */
static int iscsi_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    struct iscsi *s = image->state;
    struct iscsi_request request = request_for(s, ISCSI_UNMAP, offset, length);
    int ret;

    if (!s->unit.can_unmap || !is_aligned(s, offset, length))
        return -ENOTSUP;
    ret = iscsi_run(image, s, &request, NULL);
    if (ret == -EINVAL && request.status == SCSI_STATUS_CHECK_CONDITION)
        return -ENOTSUP;
    if (ret < 0)
        tell(&request, "UNMAP");
    return ret;
}

static int iscsi_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents,
                            size_t count)
{
    struct iscsi *s = image->state;
    unsigned char answer[ISCSI_STATUS_ROOM];
    struct iscsi_request request = request_for(s, ISCSI_STATUS, offset, 0);
    int ret = -ENOTSUP;

    request.answer = answer;
    request.room = img_min(sizeof answer, 8 + 16 * img_max(count, 1));
    if (s->unit.thin && !__atomic_load_n(&s->no_status, __ATOMIC_RELAXED)) {
        ret = iscsi_run(image, s, &request, NULL);
        if (ret == 0)
            return iscsi_judge_extents(image, &request, s->unit.zeroes, offset + length, extents, count);
        if (!iscsi_is_unknown(&request)) {
            tell(&request, "GET_LBA_STATUS");
            return ret;
        }
        __atomic_store_n(&s->no_status, true, __ATOMIC_RELAXED);
    }
    extents[0] = (struct img_extent){ .offset = offset, .length = length, .kind = IMG_DATA, .host_valid = true,
                                      .file = image, .host = offset };
    return 1;
}

/* The size is the target's. */
static int iscsi_driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    const struct iscsi *s = image->state;

    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (!s->unit.is_disk)
        return img_error_set(err, ENOTSUP, "Cannot resize non-disk iSCSI devices");
    return size != img_size(image) ? img_error_set(err, ENOTSUP, "Cannot resize iSCSI devices") : 0;
}

/* The json: name, which has no password. */
static int plain_name(const struct img *image, char **name)
{
    (void)image;
    *name = NULL;
    return 0;
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_OPEN(option, kind, member, usual, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, .standard = usual, \
      .offset = offsetof(struct iscsi_open_options, member) }

static const struct img_option iscsi_options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct iscsi_create_options, size) },
    { .name = "preallocation", .help = "Preallocation mode (allowed values: off)", .type = IMG_OPT_STRING,
      .when = IMG_AT_CREATE, .offset = offsetof(struct iscsi_create_options, preallocation) },
    AT_OPEN("transport", IMG_OPT_STRING, transport, NULL, "How the target is reached: tcp or iser"),
    AT_OPEN("portal", IMG_OPT_STRING, portal, NULL, "Host and port of the target"),
    AT_OPEN("target", IMG_OPT_STRING, target, NULL, "Name of the target"),
    AT_OPEN("lun", IMG_OPT_NUMBER, lun, "0", "Number of the disk"),
    AT_OPEN("user", IMG_OPT_STRING, user, NULL, "User name (CHAP)"),
    AT_OPEN("password", IMG_OPT_STRING, password, NULL, "Password (CHAP); better is password-secret"),
    AT_OPEN("password-secret", IMG_OPT_STRING, password_secret, NULL, "ID of a secret with the password"),
    AT_OPEN("initiator-name", IMG_OPT_STRING, initiator_name, NULL, "Name to log in with"),
    AT_OPEN("header-digest", IMG_OPT_STRING, header_digest, NULL, "crc32c, none, crc32c-none or none-crc32c"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "60", "Seconds that a command may take; 0: for ever"),
    AT_OPEN("reconnect-delay", IMG_OPT_NUMBER, reconnect_delay, "30", "Seconds to wait for a target that was lost"),
    AT_OPEN("connections", IMG_OPT_NUMBER, connections, "4", "Sessions at most"),
    { .name = NULL }
};

static const char *const strong_options[] = {
    "transport", "portal", "target", "lun", "user", "password-secret", "initiator-name", "header-digest", NULL
};

const struct img_driver img_driver_iscsi = {
    IMG_ROW(
        .name = "iscsi", .kind = IMG_PROTOCOL, .prefix = "iscsi iser", .password_in_name = true
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct iscsi),
    .options = iscsi_options,
    .create_size = sizeof(struct iscsi_create_options),
    .open_size = sizeof(struct iscsi_open_options),
    .open = iscsi_driver_open,
    .close = iscsi_driver_close,
    .create = iscsi_driver_create,
    .parse_name = iscsi_parse_name,
    .plain_name = plain_name,
    .pread = iscsi_driver_pread,
    .pwrite = iscsi_driver_pwrite,
    .zero = iscsi_driver_zero,
    .discard = iscsi_driver_discard,
    .flush = iscsi_driver_flush,
    .copy_range = iscsi_copy_range,
    .map_list = iscsi_driver_map,
    .resize = iscsi_driver_resize,
    .strong_options = strong_options,
    .cannot_grow = "Cannot resize iSCSI devices",
};
