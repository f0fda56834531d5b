/* SPDX-License-Identifier: MIT */
/* One request: it is begun, and its thread waits for the completion.  librbd ends it within its limits of time. */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include <string.h>

struct request {
    /* (their numbers are those that qemu-img tells) */
    enum { RBD_READ, RBD_WRITE, RBD_DISCARD, RBD_FLUSH, RBD_ZERO } kind;
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
    }
    return -EINVAL;
}

/* In the words of qemu-img, but once: when a cluster is lost, all requests in flight fail. */
static void tell(struct rbd *s, const struct request *r, int error)
{
    if (!__atomic_exchange_n(&s->told, true, __ATOMIC_RELAXED))
        img_notice(IMG_FAULT, "rbd request failed: cmd %d offset %llu bytes %llu flags %d task.ret %d (%s)",
                   (int)r->kind, (unsigned long long)r->offset, (unsigned long long)r->length, r->flags, error,
                   img_strerror(error));
}

/* A negative errno, or how much was read. */
static ssize_t run(struct rbd *s, const struct request *r)
{
    rbd_completion_t done;
    ssize_t ret = rbd_aio_create_completion(NULL, NULL, &done);

    if (ret < 0)
        return ret;
    ret = begin(s->image, r, done);
    if (ret == 0) {
        rbd_aio_wait_for_complete(done);
        ret = rbd_aio_get_return_value(done);
    }
    rbd_aio_release(done);
    rbd_image_note(s, ret < 0 ? (int)ret : 0);
    if (ret < 0)
        tell(s, r, (int)ret);
    return ret;
}

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
