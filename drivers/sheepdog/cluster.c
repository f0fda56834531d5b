/* SPDX-License-Identifier: MIT */
/*
 * Requests over the connections of a node.
 *
 * When a server ends a connection, it is taken to have done what it will do of what came on it, and all that has no
 * answer is sent again.  A request that is done twice does the same as once: nothing else was done to its bytes in
 * between, since whoever sent it still waits.  But a server that is silent may do a request at any time.  So a change
 * without an answer is an error, and nothing is changed after it.
 */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include "../../libimg/util/strbuf.h"
#include <stdarg.h>
#include <stdlib.h>

/* What a cluster that is busy is granted, in milliseconds: pauses that are doubled, and together no more than this. */
enum { FIRST_PAUSE = 8, LONGEST_PAUSE = 2000, MOST_PAUSES = 60000 };
enum { TIMES_LOST = 4 };

/* ---- The pool ------------------------------------------------------------------------------- */

static int pool_open(void *owner, void *connection, int stop, struct img_error *err)
{
    const struct sheepdog *s = owner;

    return sheepdog_connection_open(connection, &s->target, s->timeout, stop, err);
}

static void pool_close(void *owner, void *connection)
{
    (void)owner;
    sheepdog_connection_close(connection);
}

static int pool_recover(void *owner, void *connection, int stop)
{
    return sheepdog_recognise(owner, connection, stop);
}

static const struct img_pool_ops pool_ops = {
    .size = sizeof(struct sheepdog_connection), .open = pool_open, .close = pool_close, .recover = pool_recover,
};

static int take_options(struct sheepdog *s, const struct sheepdog_open_options *given, struct img_error *err)
{
    if (img_check_seconds("timeout", given->timeout, err) < 0 ||
        img_check_seconds("reconnect-delay", given->reconnect_delay, err) < 0 ||
        img_pool_take_most(&s->pool, given->connections, err) < 0)
        return -err->code;
    s->timeout = (uint64_t)given->timeout * 1000;
    s->pool.patience = (uint64_t)given->reconnect_delay * 1000;
    return 0;
}

static int start(struct sheepdog *s, struct img_error *err)
{
    int ret;

    if (s->target.address.type == IMG_FD)
        s->pool.most = 1;
    ret = img_pool_start(&s->pool, &pool_ops, s, -1, err);
    if (ret < 0)
        return ret;
    pthread_mutex_init(&s->growing, NULL);
    img_range_lock_init(&s->objects);
    s->connected = true;
    return 0;
}

int sheepdog_connect(struct sheepdog *s, const struct sheepdog_open_options *given, struct img_doc *options,
                     struct img_error *err)
{
    int ret = take_options(s, given, err);

    if (ret == 0)
        ret = sheepdog_target_take(options, given, &s->target, err);
    if (ret < 0)
        return ret;
    ret = start(s, err);
    if (ret < 0)
        sheepdog_target_free(&s->target);
    return ret;
}

void sheepdog_disconnect(struct sheepdog *s)
{
    if (!s->connected)
        return;
    img_pool_end(&s->pool);
    img_range_lock_destroy(&s->objects);
    pthread_mutex_destroy(&s->growing);
    free(s->owners);
    sheepdog_target_free(&s->target);
    s->connected = false;
}

/* ---- Requests --------------------------------------------------------------------------------- */

static int run_counted(void *connection, void *context)
{
    struct sheepdog_request *r = context;
    int ret = sheepdog_connection_run(connection, r);

    /* A request that ends every connection is not sent for ever. */
    return ret == IMG_POOL_LOST && ++r->times_lost >= r->may_be_lost ? -EIO : ret;
}

static int run_once(struct sheepdog *s, struct sheepdog_request *r)
{
    int ret;

    if (r->changes && __atomic_load_n(&s->uncertain, __ATOMIC_RELAXED))
        return -ESHUTDOWN;
    ret = img_pool_run(&s->pool, run_counted, r, r->stop);
    if (r->changes && ret < 0)
        __atomic_store_n(&s->uncertain, true, __ATOMIC_RELAXED);
    return ret;
}

int sheepdog_run(struct sheepdog *s, struct sheepdog_request *r)
{
    uint64_t pause = FIRST_PAUSE, paused = 0;

    r->stop = s->image ? img_stop_descriptor(s->image) : -1;
    r->times_lost = 0;
    /* When a server goes away, all connections are lost, and a request may meet one after the other. */
    r->may_be_lost = r->once ? 1 : s->pool.most + TIMES_LOST;
    for (;;) {
        int ret = run_once(s, r);
        if (ret < 0 || !sheepdog_result_is_busy(r->result) || paused >= MOST_PAUSES)
            return ret;
        ret = img_fd_wait(-1, 0, img_now_milliseconds() + pause, r->stop);
        if (ret == -ECANCELED)
            return ret;
        paused += pause;
        pause = img_min(pause * 2, LONGEST_PAUSE);
    }
}

/* ---- Words -------------------------------------------------------------------------------------- */

/* What became of a request that was not a success. */
static const char *words_for(const struct sheepdog_request *r, int ret)
{
    switch (ret) {
    case 0:
        return sheepdog_result_words(r->result);
    case -EIO:
        return "the server was lost";
    case -ETIMEDOUT:
        return "the server does not answer";
    case -EPROTO:
        return "the server does not keep to the protocol";
    case -ESHUTDOWN:
        return "an earlier change was not answered";
    default:
        return img_strerror(ret);
    }
}

/* Only once in a row: many requests fail in the same way. */
static void tell(struct sheepdog *s, const struct sheepdog_request *r, int ret, const char *what, uint64_t object)
{
    uint32_t kind = ret < 0 ? (uint32_t)ret : r->result;

    /* (why there is no other change, was told before) */
    if (ret != -ECANCELED && ret != -ESHUTDOWN && __atomic_exchange_n(&s->told, kind, __ATOMIC_RELAXED) != kind)
        img_notice(IMG_FAULT, "Sheepdog: could not %s object %016llx at %s: %s", what, (unsigned long long)object,
                   sheepdog_place(&s->target), words_for(r, ret));
}

/* What those who read and write know: ENOENT would be the lack of a file to them. */
static int plain_error(int ret)
{
    switch (ret) {
    case 0: case -ENOSPC: case -EROFS: case -ENOMEM: case -ECANCELED: case -EINVAL:
        return ret;
    default:
        return -EIO;
    }
}

int sheepdog_tell(struct sheepdog *s, const struct sheepdog_request *r, int ret, const char *what, uint64_t object)
{
    if (ret == 0 && r->result == SHEEPDOG_SUCCESS)
        return 0;
    tell(s, r, ret, what, object);
    return plain_error(ret < 0 ? ret : sheepdog_result_errno(r->result));
}

int sheepdog_do(struct sheepdog *s, struct sheepdog_request *r, const char *what, uint64_t object)
{
    return sheepdog_tell(s, r, sheepdog_run(s, r), what, object);
}

int sheepdog_judge(const struct sheepdog *s, const struct sheepdog_request *r, int ret, struct img_error *err,
                   const char *format, ...)
{
    CLEANUP_FREE char *what = NULL;
    struct img_strbuf text = { 0 };
    va_list arguments;

    if (ret == 0 && r->result == SHEEPDOG_SUCCESS)
        return 0;
    va_start(arguments, format);
    img_strbuf_vprintf(&text, format, arguments);
    va_end(arguments);
    what = img_strbuf_take(&text);
    if (!what || ret == -ENOMEM)
        return img_error_memory(err);
    img_error_set(err, ret < 0 ? -ret : -sheepdog_result_errno(r->result), "%s: %s", what, words_for(r, ret));
    if (ret == -EIO || ret == -ETIMEDOUT)
        img_error_advise(err, "is there a sheep at %s?", sheepdog_place(&s->target));
    return -err->code;
}
