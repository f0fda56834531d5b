/* SPDX-License-Identifier: MIT */
/*
 * One request: it is begun, and its thread waits for the completion.  librados ends what it has sent within its limits
 * of time.  But librbd may wait for the right to write, without a limit; so a request is given up in the end.  Of what
 * is written librbd has its own copy then.  What is read goes through memory of its own where the image is writable: of
 * one that is not, librbd never waits for a right.
 */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/patience.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

struct request {
    /* (their numbers are those that qemu-img tells) */
    enum { RBD_READ, RBD_WRITE, RBD_DISCARD, RBD_FLUSH, RBD_ZERO, RBD_CLOSE } kind;
    char *reader, *read;            /* who wants the bytes, and where librbd puts them */
    const char *write;
    uint64_t offset, length;
    int flags;                      /* of ZERO */
};

static int begin(rbd_image_t image, const struct request *r, rbd_completion_t done)
{
    switch (r->kind) {
    case RBD_READ: return rbd_aio_read(image, r->offset, r->length, r->read, done);
    case RBD_WRITE: return rbd_aio_write(image, r->offset, r->length, r->write, done);
    case RBD_ZERO: return rbd_aio_write_zeroes(image, r->offset, r->length, done, r->flags, 0);
    case RBD_DISCARD: return rbd_aio_discard(image, r->offset, r->length, done);
    case RBD_FLUSH: return rbd_aio_flush(image, done);
    case RBD_CLOSE: return rbd_aio_close(image, done);
    }
    return -EINVAL;
}

/* ---- Waiting ------------------------------------------------------------------------------------------ */

/* Of a request.  It belongs to the thread that waits, or, when that has left, to the callback. */
struct waiter {
    struct img_patience patience;
    char bytes[];                   /* of a read that may be given up: librbd would write into them later */
};

static struct waiter *new_waiter(size_t room)
{
    struct waiter *w = img_malloc(sizeof *w + room);

    if (w)
        img_patience_init(&w->patience);
    return w;
}

static void free_waiter(struct waiter *w)
{
    img_patience_end(&w->patience);
    free(w);
}

static void on_done(rbd_completion_t done, void *context)
{
    struct waiter *w = context;

    if (img_patience_done(&w->patience)) {
        free_waiter(w);
        rbd_aio_release(done);
    }
}

/* In the words of qemu-img, but once: when a cluster is lost, all requests in flight fail. */
static void tell(struct rbd *s, const struct request *r, int error)
{
    if (!__atomic_exchange_n(&s->told, true, __ATOMIC_RELAXED))
        img_notice(IMG_FAULT, "rbd request failed: cmd %d offset %llu bytes %llu flags %d task.ret %d (%s)",
                   (int)r->kind, (unsigned long long)r->offset, (unsigned long long)r->length, r->flags, error,
                   img_strerror(error));
}

/* (-ETIMEDOUT with `left` set: it is given up, and what waited belongs to the callback) */
static ssize_t run_with(struct rbd_waiting *waiting, rbd_image_t image, const struct request *r, struct waiter *w)
{
    rbd_completion_t done;
    ssize_t ret = rbd_aio_create_completion(w, on_done, &done);

    if (ret == 0 && (ret = begin(image, r, done)) < 0)
        rbd_aio_release(done);
    if (ret < 0) {
        free_waiter(w);
        return ret;
    }
    if (!img_patience_wait(&w->patience, rbd_patience(waiting, r->kind == RBD_WRITE ? 0 : r->length))) {
        __atomic_store_n(&waiting->left, true, __ATOMIC_RELAXED);
        return -ETIMEDOUT;
    }
    /* (the callback has not returned yet, perhaps) */
    rbd_aio_wait_for_complete(done);
    ret = rbd_aio_get_return_value(done);
    rbd_aio_release(done);
    if (ret > 0 && r->read == w->bytes)
        memcpy(r->reader, w->bytes, img_min((size_t)ret, r->length));
    free_waiter(w);
    return ret;
}

/* A negative errno, or how much was read. */
static ssize_t run(struct rbd *s, struct request *r)
{
    struct waiter *w = new_waiter(r->kind == RBD_READ && s->writable ? r->length : 0);
    ssize_t ret = -ENOMEM;

    if (w && r->kind == RBD_READ)
        r->read = s->writable ? w->bytes : r->reader;
    if (w)
        ret = run_with(&s->waiting, s->image, r, w);
    rbd_image_note(s, ret < 0 ? (int)ret : 0);
    if (ret < 0)
        tell(s, r, (int)ret);
    return ret;
}

/* ---- Requests ------------------------------------------------------------------------------------------ */

/* Behind the end there is nothing. */
int rbd_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct rbd *s = image->state;
    uint64_t end = __atomic_load_n(&s->length, __ATOMIC_ACQUIRE);
    size_t there = offset >= end ? 0 : (size_t)img_min(length, end - offset), got = 0;
    struct request request = { .kind = RBD_READ, .reader = buffer, .offset = offset, .length = there };

    if (there) {
        ssize_t ret = run(s, &request);
        if (ret < 0)
            return (int)ret;
        got = img_min((size_t)ret, there);
    }
    memset((char *)buffer + got, 0, length - got);
    return 0;
}

int rbd_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    struct rbd *s = image->state;
    struct request request = { .kind = RBD_WRITE, .write = buffer, .offset = offset, .length = length };
    int ret = rbd_image_reach(s, offset + length);

    (void)flags;
    if (ret == 0)
        ret = (int)run(s, &request);
    if (ret == 0)
        img_grew_to(image, offset + length);
    return ret;
}

/* Zeroes take no space, unless they are to keep it. */
int rbd_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct rbd *s = image->state;
    struct request request = {
        .kind = RBD_ZERO, .offset = offset, .length = length,
        .flags = flags & IMG_ZERO_MAY_UNMAP ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION,
    };
    int ret = rbd_image_reach(s, offset + length);

    return ret < 0 ? ret : (int)run(s, &request);
}

int rbd_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    struct request request = { .kind = RBD_DISCARD, .offset = offset, .length = length };

    return (int)run(image->state, &request);
}

int rbd_driver_flush(struct img *image)
{
    struct request request = { .kind = RBD_FLUSH };

    return (int)run(image->state, &request);
}

bool rbd_request_close(struct rbd_waiting *waiting, rbd_image_t image)
{
    const struct request request = { .kind = RBD_CLOSE };
    struct waiter *w = __atomic_load_n(&waiting->left, __ATOMIC_RELAXED) ? NULL : new_waiter(0);

    if (w)
        run_with(waiting, image, &request, w);
    return w && !__atomic_load_n(&waiting->left, __ATOMIC_RELAXED);
}
