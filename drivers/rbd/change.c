/* SPDX-License-Identifier: MIT */
/*
 * What changes an image as a whole: librbd has no request for it that could be given up, and may wait for the right to
 * write without a limit.  So it is called in a thread of its own, which may be left behind.
 */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/patience.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/thread.h"
#include <stdlib.h>
#include <string.h>

/* (librbd puts little on the stack: it has threads of its own for the work) */
enum { STACK = 1 << 20 };
/* Each of so many bytes of the disk may take as long as a request. */
enum { SHARE = 64 << 20 };
/* Milliseconds when the one before took too long. */
enum { LITTLE_PATIENCE = 3000 };

uint64_t rbd_patience(const struct rbd_waiting *waiting, uint64_t bytes)
{
    uint64_t all;

    if (!waiting->patience)
        return 0;
    if (__atomic_load_n(&waiting->silent, __ATOMIC_RELAXED))
        return LITTLE_PATIENCE;
    return img_mul(waiting->patience, 1 + bytes / SHARE, &all) ? all : 0;
}

static int change(rbd_image_t image, const struct rbd_change *what)
{
    switch (what->kind) {
    case RBD_RESIZE: return rbd_resize(image, what->size);
    case RBD_ENCRYPT: return rbd_encryption_format_now(image, &what->encryption);
    case RBD_SNAP_CREATE: return rbd_snap_create(image, what->name);
    case RBD_SNAP_APPLY: return rbd_snap_rollback(image, what->name);
    case RBD_SNAP_REMOVE: return rbd_snap_remove(image, what->name);
    }
    return -EINVAL;
}

/* It belongs to the thread that waits, or, when that has left, to the other one. */
struct call {
    struct img_patience patience;
    rbd_image_t image;
    struct rbd_change what;
    char *name;
    int ret;
};

static void end_call(struct call *call)
{
    img_patience_end(&call->patience);
    free(call->name);
    free(call);
}

static void *work(void *context)
{
    struct call *call = context;

    call->ret = change(call->image, &call->what);
    if (img_patience_done(&call->patience))
        end_call(call);
    return NULL;
}

static struct call *new_call(rbd_image_t image, const struct rbd_change *what)
{
    struct call *call = img_calloc(1, sizeof *call);

    if (!call)
        return NULL;
    call->image = image;
    call->what = *what;
    call->what.name = call->name = what->name ? img_strdup(what->name) : NULL;
    img_patience_init(&call->patience);
    if (!call->name == !what->name)
        return call;
    end_call(call);
    return NULL;
}

int rbd_change(struct rbd_waiting *waiting, rbd_image_t image, const struct rbd_change *what, uint64_t bytes)
{
    struct call *call;
    int ret;

    if (!waiting->patience)
        return change(image, what);
    call = new_call(image, what);
    if (!call)
        return -ENOMEM;
    ret = img_thread_start(NULL, STACK, work, call);
    if (ret == 0 && !img_patience_wait(&call->patience, rbd_patience(waiting, bytes))) {
        __atomic_store_n(&waiting->left, true, __ATOMIC_RELAXED);
        return -ETIMEDOUT;
    }
    if (ret == 0)
        ret = call->ret;
    end_call(call);
    return ret;
}
