/* SPDX-License-Identifier: MIT */
/*
 * One request: it is begun, and its thread waits for the completion.  librados ends what it has sent within its limits
 * of time.  But librbd may wait for the right to write, without a limit; so what changes the image is given up in the
 * end.  librbd has its own copy of the bytes then.
 */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

struct request {
    /* (their numbers are those that qemu-img tells) */
    enum { RBD_READ, RBD_WRITE, RBD_DISCARD, RBD_FLUSH, RBD_ZERO, RBD_CLOSE } kind;
    char *read;
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

/* Each of so many bytes of zeroes and discards may take as long as a request. */
enum { SHARE = 64 << 20 };
/* Milliseconds for a request when the one before took too long. */
enum { LITTLE_PATIENCE = 3000 };

/* Of a request.  It belongs to the thread that waits, or, when that has left, to the callback. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    bool done, left;
};

static struct waiter *new_waiter(void)
{
    struct waiter *w = img_calloc(1, sizeof *w);
    pthread_condattr_t clock;

    if (!w)
        return NULL;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->arrived, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

static void free_waiter(struct waiter *w)
{
    pthread_cond_destroy(&w->arrived);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void on_done(rbd_completion_t done, void *context)
{
    struct waiter *w = context;
    bool left;

    pthread_mutex_lock(&w->lock);
    left = w->left;
    w->done = true;
    pthread_cond_signal(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    if (left) {
        free_waiter(w);
        rbd_aio_release(done);
    }
}

/* When to give up; false: never. */
static bool find_deadline(struct rbd *s, const struct request *r, struct timespec *deadline)
{
    uint64_t patience = s->patience + s->patience * (r->kind == RBD_WRITE ? 0 : r->length / SHARE);

    if (r->kind == RBD_READ || !s->patience)
        return false;
    if (__atomic_load_n(&s->silent, __ATOMIC_RELAXED))
        patience = LITTLE_PATIENCE;
    clock_gettime(CLOCK_MONOTONIC, deadline);
    deadline->tv_sec += (time_t)(patience / 1000);
    return true;
}

/* false: it is given up, and what waited belongs to the callback. */
static bool wait_for(struct rbd *s, const struct request *r, struct waiter *w)
{
    struct timespec deadline;
    bool bounded = find_deadline(s, r, &deadline), done;
    int ret = 0;

    pthread_mutex_lock(&w->lock);
    while (!w->done && ret != ETIMEDOUT)
        ret = bounded ? pthread_cond_timedwait(&w->arrived, &w->lock, &deadline)
                      : pthread_cond_wait(&w->arrived, &w->lock);
    done = w->done;
    w->left = !done;
    pthread_mutex_unlock(&w->lock);
    return done;
}

/* In the words of qemu-img, but once: when a cluster is lost, all requests in flight fail. */
static void tell(struct rbd *s, const struct request *r, int error)
{
    if (!__atomic_exchange_n(&s->told, true, __ATOMIC_RELAXED))
        img_notice(IMG_FAULT, "rbd request failed: cmd %d offset %llu bytes %llu flags %d task.ret %d (%s)",
                   (int)r->kind, (unsigned long long)r->offset, (unsigned long long)r->length, r->flags, error,
                   img_strerror(error));
}

static ssize_t run_with(struct rbd *s, const struct request *r, struct waiter *w)
{
    rbd_completion_t done;
    ssize_t ret = rbd_aio_create_completion(w, on_done, &done);

    if (ret == 0 && (ret = begin(s->image, r, done)) < 0)
        rbd_aio_release(done);
    if (ret < 0) {
        free_waiter(w);
        return ret;
    }
    if (!wait_for(s, r, w)) {
        __atomic_store_n(&s->left, true, __ATOMIC_RELAXED);
        return -ETIMEDOUT;
    }
    /* (the callback has not returned yet, perhaps) */
    rbd_aio_wait_for_complete(done);
    ret = rbd_aio_get_return_value(done);
    rbd_aio_release(done);
    free_waiter(w);
    return ret;
}

/* A negative errno, or how much was read. */
static ssize_t run(struct rbd *s, const struct request *r)
{
    struct waiter *w = new_waiter();
    ssize_t ret = w ? run_with(s, r, w) : -ENOMEM;

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
    const struct request request = { .kind = RBD_READ, .read = buffer, .offset = offset, .length = there };

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
    const struct request request = { .kind = RBD_WRITE, .write = buffer, .offset = offset, .length = length };
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
    const struct request request = {
        .kind = RBD_ZERO, .offset = offset, .length = length,
        .flags = flags & IMG_ZERO_MAY_UNMAP ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION,
    };
    int ret = rbd_image_reach(s, offset + length);

    return ret < 0 ? ret : (int)run(s, &request);
}

int rbd_driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    const struct request request = { .kind = RBD_DISCARD, .offset = offset, .length = length };

    return (int)run(image->state, &request);
}

int rbd_driver_flush(struct img *image)
{
    const struct request request = { .kind = RBD_FLUSH };

    return (int)run(image->state, &request);
}

bool rbd_request_close(struct rbd *s)
{
    const struct request request = { .kind = RBD_CLOSE };
    struct waiter *w = __atomic_load_n(&s->left, __ATOMIC_RELAXED) ? NULL : new_waiter();

    if (w)
        run_with(s, &request, w);
    return w && !__atomic_load_n(&s->left, __ATOMIC_RELAXED);
}
