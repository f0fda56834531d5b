/* SPDX-License-Identifier: MIT */
/*
 * An open image, and its length.
 *
 * An image has a length that only a resize changes, which takes several round trips.  A format that grows would need
 * one for nearly each write behind the end.  So there is made room for more than is needed, and what was not used is
 * cut off when the image is closed.
 */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"

/* Room is made for an eighth more than there is, within these bounds. */
enum { SHARE = 8 };
#define LEAST_ROOM (UINT64_C(16) << 20)
#define MOST_ROOM (UINT64_C(1) << 30)

static bool is_silent(struct rbd *s)
{
    return __atomic_load_n(&s->waiting.silent, __ATOMIC_RELAXED);
}

int rbd_image_note(struct rbd *s, int ret)
{
    bool silent = ret == -ETIMEDOUT;

    if (silent != is_silent(s) && __atomic_exchange_n(&s->waiting.silent, silent, __ATOMIC_RELAXED) != silent)
        rbd_cluster_hurry(&s->cluster, silent);
    return ret;
}

/* ---- The length ------------------------------------------------------------------------------- */

/* Some versions of librbd take the header of an encryption for a part of the size, others do not. */
int rbd_set_size(struct rbd_waiting *waiting, rbd_image_t image, uint64_t size, uint64_t overhead)
{
    struct rbd_change change = { .kind = RBD_RESIZE };
    uint64_t got = 0;
    int ret;

    if (!img_add(size, overhead, &change.size))
        return -EFBIG;
    ret = rbd_get_size(image, &got);
    if (ret == 0)
        ret = rbd_change(waiting, image, &change, got > size ? got - size : 0);
    if (ret < 0 || !overhead)
        return ret;
    ret = rbd_get_size(image, &got);
    change.size = size;
    return ret == 0 && got > size ? rbd_change(waiting, image, &change, overhead) : ret;
}

static uint64_t read_length(const uint64_t *length)
{
    return __atomic_load_n(length, __ATOMIC_ACQUIRE);
}

/* Another thread may have written further on. */
static void note_end(struct rbd *s, uint64_t end)
{
    uint64_t length = read_length(&s->length);

    while (length < end && !__atomic_compare_exchange_n(&s->length, &length, end, true, __ATOMIC_RELEASE,
                                                        __ATOMIC_ACQUIRE))
        ;
}

/* The caller holds the lock. */
static int set_room(struct rbd *s, uint64_t room)
{
    int ret = rbd_image_note(s, rbd_set_size(&s->waiting, s->image, room, s->overhead));

    if (ret == 0)
        __atomic_store_n(&s->room, room, __ATOMIC_RELEASE);
    return ret;
}

static int make_room(struct rbd *s, uint64_t end)
{
    uint64_t more = img_min(img_max(end / SHARE, LEAST_ROOM), MOST_ROOM), room;

    LOCK_SCOPE(&s->lock);
    if (end <= read_length(&s->room))
        return 0;
    room = img_align_up(end, s->object_size);
    if (img_add(room, more, &room) && set_room(s, room) == 0)
        return 0;
    return is_silent(s) ? -ETIMEDOUT : set_room(s, end);
}

int rbd_image_reach(struct rbd *s, uint64_t end)
{
    int ret = end <= read_length(&s->room) ? 0 : make_room(s, end);

    if (ret == 0)
        note_end(s, end);
    return ret;
}

int rbd_image_set_length(struct rbd *s, uint64_t length)
{
    int ret;

    LOCK_SCOPE(&s->lock);
    ret = set_room(s, length);
    if (ret == 0)
        __atomic_store_n(&s->length, length, __ATOMIC_RELEASE);
    return ret;
}

int rbd_image_trim(struct rbd *s)
{
    LOCK_SCOPE(&s->lock);
    return read_length(&s->room) > read_length(&s->length) ? set_room(s, read_length(&s->length)) : 0;
}

/* Room that was made here is no change. */
int rbd_image_look(struct rbd *s)
{
    uint64_t size;
    int ret;

    LOCK_SCOPE(&s->lock);
    ret = rbd_image_note(s, rbd_get_size(s->image, &size));
    if (ret == 0 && size != read_length(&s->room)) {
        __atomic_store_n(&s->room, size, __ATOMIC_RELEASE);
        __atomic_store_n(&s->length, size, __ATOMIC_RELEASE);
    }
    return ret;
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

static int look_at_image(struct rbd *s, struct img_error *err)
{
    rbd_image_info_t info;
    uint64_t size = 0;
    int ret = rbd_stat(s->image, &info, sizeof info);

    if (ret == 0)
        ret = rbd_encryption_apply(s->image, &s->target.encryption, err);
    if (ret < 0 && err->text)
        return ret;
    if (ret == 0)
        ret = rbd_get_size(s->image, &size);
    if (ret < 0)
        return img_error_errno(err, -ret, "error getting image info from %s", s->target.image);
    if (!img_power_of_two(info.obj_size) || size > info.size)
        return img_error_set(err, EIO, "%s is an image with impossible numbers", s->target.image);
    s->object_size = info.obj_size;
    s->overhead = info.size - size;
    s->length = s->room = size;
    return 0;
}

/* (If librbd would be waited for, for ever, it keeps all that it has until the program ends.) */
static void close_image(struct rbd *s)
{
    if (rbd_request_close(&s->waiting, s->image))
        rbd_cluster_close(&s->cluster);
}

/* After an error all is closed.  (An image that is opened for reading alone has no watcher, which takes a round trip less
 * to open and to close.) */
static int open_image(struct rbd *s, bool writable, struct img_error *err)
{
    const struct rbd_target *target = &s->target;
    int ret = writable ? rbd_open(s->cluster.io, target->image, &s->image, target->snapshot)
                       : rbd_open_read_only(s->cluster.io, target->image, &s->image, target->snapshot);

    if (ret < 0) {
        img_error_errno(err, -ret, "error reading header from %s", target->image);
        rbd_cluster_hurry(&s->cluster, ret == -ETIMEDOUT);
        rbd_cluster_close(&s->cluster);
        return ret;
    }
    if (writable && target->snapshot)
        ret = img_error_set(err, EROFS, "rbd snapshots are read-only");
    else
        ret = look_at_image(s, err);
    if (ret == -ETIMEDOUT)
        rbd_image_note(s, ret);
    if (ret < 0)
        close_image(s);
    return ret;
}

int rbd_image_open(struct rbd *s, bool writable, struct img_error *err)
{
    int ret = rbd_cluster_open(&s->cluster, &s->target, err);

    if (ret < 0)
        return ret;
    s->writable = writable;
    s->waiting.patience = rbd_cluster_patience(&s->cluster);
    ret = open_image(s, writable, err);
    if (ret == 0)
        pthread_mutex_init(&s->lock, NULL);
    return ret;
}

int rbd_image_close(struct rbd *s)
{
    int ret = is_silent(s) ? 0 : rbd_image_trim(s);

    close_image(s);
    pthread_mutex_destroy(&s->lock);
    return ret;
}
