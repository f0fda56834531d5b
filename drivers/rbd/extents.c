/* SPDX-License-Identifier: MIT */
/* Which objects there are, as the object map tells it (fast-diff).  An object that is not there is zeroes. */
#include "rbd.h"
#include "../../libimg/util/checked.h"

/* What the callback returns when there is no room for more.  (librbd has no error of this number) */
enum { ENOUGH = -9000 };

struct list {
    struct img *image;
    struct img_extent *extents;
    size_t room, count;
    uint64_t begin, end, at;        /* what was asked for; how far the list goes */
};

/* Up to `end` it is of this kind. */
static int add(struct list *list, uint64_t end, enum img_extent_kind kind)
{
    struct img_extent *last = list->count ? &list->extents[list->count - 1] : NULL;

    end = img_min(end, list->end);
    if (end <= list->at)
        return 0;
    if (last && last->kind == kind) {
        last->length = end - last->offset;
        list->at = end;
        return 0;
    }
    if (list->count == list->room)
        return ENOUGH;
    list->extents[list->count++] = (struct img_extent){
        .offset = list->at, .length = end - list->at, .kind = kind, .host_valid = true, .file = list->image,
        .host = list->at,
    };
    list->at = end;
    return 0;
}

/* Of librbd, in ascending order: objects that are there, and such that are known to be zeroes. */
static int on_extent(uint64_t offset, size_t length, int exists, void *context)
{
    struct list *list = context;
    uint64_t end;
    int ret;

    if (!img_add(offset, length, &end))
        return -EFBIG;
    ret = add(list, offset, IMG_ZERO);
    return ret < 0 ? ret : add(list, end, exists ? IMG_DATA : IMG_ZERO);
}

/* Stripes other than whole objects. */
static bool is_striped(const struct rbd *s, uint64_t features)
{
    uint64_t unit;

    return features & RBD_FEATURE_STRIPINGV2 &&
           (rbd_get_stripe_unit(s->image, &unit) < 0 || unit != s->object_size);
}

static bool is_clone(const struct rbd *s)
{
    uint64_t overlap;

    return rbd_get_overlap(s->image, &overlap) < 0 || overlap;
}

/*
 * Does the object map tell the truth?  In versions of librbd before 2022 the offsets are wrong for clones and stripes,
 * and where the question does not begin with an object (https://tracker.ceph.com/issues/53784).  That there is a header
 * before an encrypted disk it does not know.
 */
static bool has_map(const struct rbd *s)
{
    uint64_t features, flags;

    return !s->target.encryption.count && rbd_get_features(s->image, &features) == 0 &&
           features & RBD_FEATURE_FAST_DIFF && !is_striped(s, features) && !is_clone(s) &&
           rbd_get_flags(s->image, &flags) == 0 && !(flags & RBD_FLAG_FAST_DIFF_INVALID);
}

/* Parts of objects are not told apart; so whole ones are asked for. */
static int ask(struct rbd *s, struct list *list)
{
    uint64_t start = img_align_down(list->begin, s->object_size), end = img_min(list->end, s->length);

    return start >= end ? 0 : rbd_image_note(s, rbd_diff_iterate2(s->image, NULL, start, end - start, true, true,
                                                                  on_extent, list));
}

/* If nothing can be told, all of it is data. */
int rbd_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count)
{
    struct rbd *s = image->state;
    struct list list = { .image = image, .extents = extents, .room = count, .begin = offset, .end = offset + length,
                         .at = offset };
    int ret = -ENOTSUP;

    if (has_map(s))
        ret = ask(s, &list);
    if (ret == -ETIMEDOUT)
        return ret;
    if (ret < 0 && ret != ENOUGH) {
        list.count = 0;
        list.at = offset;
        add(&list, list.end, IMG_DATA);
    } else if (ret == 0) {
        add(&list, list.end, IMG_ZERO);
    }
    return (int)list.count;
}
