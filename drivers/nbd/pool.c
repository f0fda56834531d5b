/* SPDX-License-Identifier: MIT */
/* Requests over the connections of a node, which must all show the same export. */
#include "nbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <string.h>
#include <time.h>

/* Between two attempts to open, in nanoseconds. */
enum { OPEN_PAUSE = 100 * 1000 * 1000 };

/* ---- What the server says ---------------------------------------------------------- */

static uint64_t block_size(struct nbd_handle *h, int which, uint64_t usual)
{
    int64_t size = nbd_get_block_size(h, which);

    return size > 0 ? (uint64_t)size : usual;
}

static int learn(struct nbd_handle *h, const struct nbd_target *target, struct nbd_export *export,
                 struct img_error *err)
{
    int64_t size = nbd_get_size(h);

    if (size < 0)
        return img_error_set(err, EFBIG, "The export is too large");
    *export = (struct nbd_export){
        .size = (uint64_t)size, .minimum = block_size(h, LIBNBD_SIZE_MINIMUM, 1),
        .most = block_size(h, LIBNBD_SIZE_MAXIMUM, NBD_MOST_TRANSFER),
        .preferred = block_size(h, LIBNBD_SIZE_PREFERRED, 0), .read_only = nbd_is_read_only(h) > 0,
        .can_map = nbd_can_meta_context(h, nbd_context(target)) > 0,
        .can_zero = nbd_can_zero(h) > 0, .can_fast_zero = nbd_can_fast_zero(h) > 0, .can_trim = nbd_can_trim(h) > 0,
        .can_flush = nbd_can_flush(h) > 0, .can_fua = nbd_can_fua(h) > 0, .can_multi_conn = nbd_can_multi_conn(h) > 0,
    };
    if (!img_power_of_two(export->minimum) || export->minimum > 65536)
        return img_error_set(err, EINVAL, "server requires a block size of %llu, which is not supported",
                             (unsigned long long)export->minimum);
    return 0;
}

static bool same_export(const struct nbd_export *a, const struct nbd_export *b)
{
    return a->size == b->size && a->minimum == b->minimum && a->most == b->most && a->read_only == b->read_only &&
           a->can_map == b->can_map && a->can_zero == b->can_zero && a->can_fast_zero == b->can_fast_zero &&
           a->can_trim == b->can_trim && a->can_flush == b->can_flush && a->can_fua == b->can_fua;
}

/* ---- Connections -------------------------------------------------------------------- */

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    struct nbd *s = owner;
    struct nbd_connection *c = connection;
    struct nbd_export export;
    int ret = nbd_connection_open(c, &s->target, stop, err);

    if (ret < 0)
        return ret;
    ret = learn(c->handle, &s->target, &export, err);
    if (ret == 0 && s->connected && !same_export(&export, &s->export))
        ret = img_error_set(err, EIO, "The export has changed");
    if (ret < 0) {
        nbd_connection_close(c);
        return ret;
    }
    if (!s->connected)
        s->export = export;
    return 0;
}

static void pool_close(void *owner, void *connection)
{
    (void)owner;
    nbd_connection_close(connection);
}

static int pool_recover(void *owner, void *connection, int stop)
{
    struct nbd *s = owner;

    return s->journal ? nbd_journal_replay(s->journal, connection, stop) : 0;
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct nbd_connection), .open = pool_open, .close = pool_close, .recover = pool_recover,
};

int nbd_connect(struct nbd *s, uint64_t timeout, struct img_error *err)
{
    uint64_t end = img_now_milliseconds() / 1000 + img_min(timeout, 365 * 86400);
    const struct timespec pause = { .tv_nsec = OPEN_PAUSE };
    int ret;

    while ((ret = img_pool_start(&s->pool, &pool_ops, s, -1, err)) < 0) {
        /* (what the server says is its answer; a server that is not there may come) */
        if (err->code == EINVAL || img_now_milliseconds() / 1000 >= end)
            return ret;
        img_error_clear(err);
        nanosleep(&pause, NULL);
    }
    s->connected = true;
    if (!s->export.can_multi_conn)
        s->pool.most = 1;
    return 0;
}

void nbd_disconnect(struct nbd *s)
{
    if (s->connected)
        img_pool_end(&s->pool);
    s->connected = false;
    nbd_journal_free(s->journal);
    s->journal = NULL;
    nbd_target_free(&s->target);
}

/* ---- Requests --------------------------------------------------------------------------- */

static int run_flush(struct nbd *s, struct nbd_request *request)
{
    uint64_t mark = s->journal ? nbd_journal_mark(s->journal) : 0;
    int ret = img_pool_run(&s->pool, nbd_connection_run, request, request->stop);

    if (ret == 0 && s->journal)
        nbd_journal_flushed(s->journal, mark);
    return ret;
}

/* A request of which the journal has a copy. */
struct kept {
    struct nbd_journal *journal;
    struct nbd_request *request;
    uint64_t ticket;
    bool answered;
};

/* The answer is noted while the request still counts as running: a replay must not begin in between, and miss it. */
static int run_and_note(void *connection, void *context)
{
    struct kept *kept = context;
    int ret = nbd_connection_run(connection, kept->request);

    kept->answered = ret != IMG_POOL_LOST;
    if (kept->answered)
        nbd_journal_answered(kept->journal, kept->ticket, ret == 0);
    return ret;
}

/* Keep a copy; a full journal is emptied by a flush. */
static int run_kept(struct nbd *s, struct nbd_request *request)
{
    struct kept kept = { .journal = s->journal, .request = request };
    int ret;

    while ((ret = nbd_journal_add(s->journal, request, &kept.ticket)) == -ENOSPC) {
        struct nbd_request flush = { .kind = NBD_FLUSH, .stop = request->stop };
        ret = run_flush(s, &flush);
        if (ret < 0)
            return ret;
    }
    ret = img_pool_run(&s->pool, run_and_note, &kept, request->stop);
    if (!kept.answered)
        nbd_journal_answered(s->journal, kept.ticket, false);
    return ret;
}

static bool changes(const struct nbd_request *request)
{
    return request->kind == NBD_WRITE || request->kind == NBD_ZERO || request->kind == NBD_TRIM;
}

int nbd_run(struct img *image, struct nbd_request *request)
{
    struct nbd *s = image->state;

    request->stop = img_stop_descriptor(image);
    if (request->kind == NBD_FLUSH)
        return run_flush(s, request);
    if (s->journal && changes(request))
        return run_kept(s, request);
    return img_pool_run(&s->pool, nbd_connection_run, request, request->stop);
}
