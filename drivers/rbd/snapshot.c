/* SPDX-License-Identifier: MIT */
/* Snapshots of an image.  Their names are their ids, and they have no state of a machine. */
#include "rbd.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* Of a name; and of a list, whatever a cluster says. */
enum { LONGEST = 127, FIRST_ROOM = 16, MOST = 1 << 20 };

/* *count and *snaps, to be freed with forget(). */
static int ask(rbd_image_t image, rbd_snap_info_t **snaps, int *count)
{
    int room = FIRST_ROOM, ret;

    do {
        *snaps = img_calloc((size_t)room, sizeof **snaps);
        if (!*snaps)
            return -ENOMEM;
        ret = rbd_snap_list(image, *snaps, &room);
        if (ret < 0)
            free(*snaps);
    } while (ret == -ERANGE && room <= MOST);
    *count = ret;
    return ret < 0 ? ret : 0;
}

static void forget(rbd_snap_info_t *snaps, int count)
{
    if (count)
        rbd_snap_list_end(snaps);
    free(snaps);
}

static int describe(const rbd_snap_info_t *snap, struct img_snapshot *to)
{
    to->id = img_strdup(snap->name);
    to->name = img_strdup(snap->name);
    to->vm_state_size = to->disk_size = snap->size;     /* (so does qemu-img) */
    to->has_icount = true;
    return to->id && to->name ? 0 : -ENOMEM;
}

int rbd_driver_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err)
{
    struct rbd *s = image->state;
    rbd_snap_info_t *snaps;
    int count = 0, ret = rbd_image_note(s, ask(s->image, &snaps, &count));

    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to list the snapshots");
    *list = count ? img_calloc((size_t)count, sizeof **list) : NULL;
    if (count && !*list)
        ret = -ENOMEM;
    for (int i = 0; ret == 0 && i < count; i++)
        ret = describe(&snaps[i], &(*list)[i]);
    forget(snaps, count);
    if (ret == 0)
        return count;
    if (*list)
        img_snapshots_free(*list, (size_t)count);
    *list = NULL;
    return img_error_memory(err);
}

/* (All of the disk may be copied, when a snapshot is applied.) */
static int change(struct rbd *s, int kind, const char *name)
{
    const struct rbd_change what = { .kind = kind, .name = name };

    return rbd_image_note(s, rbd_change(&s->waiting, s->image, &what, kind == RBD_SNAP_CREATE ? 0 : s->length));
}

int rbd_driver_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err)
{
    struct rbd *s = image->state;
    size_t length = strlen(what->name);
    int ret;

    if (!length)
        return img_error_errno(err, EINVAL, "a snapshot needs a name");
    if (length > LONGEST)
        return img_error_errno(err, ERANGE, "the name of the snapshot is too long");
    what->id = img_strdup(what->name);
    if (!what->id)
        return img_error_memory(err);
    ret = rbd_image_trim(s);
    if (ret == 0)
        ret = change(s, RBD_SNAP_CREATE, what->name);
    if (ret == 0)
        return 0;
    img_notice(IMG_FAULT, "failed to create snap: %s", img_strerror(ret));
    return img_error_errno(err, -ret, "failed to create snap");
}

int rbd_driver_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err)
{
    struct rbd *s = image->state;
    int ret = change(s, RBD_SNAP_APPLY, id_or_name);

    if (ret == 0)
        ret = rbd_image_look(s);
    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to load snapshot");
    image->size = s->length;
    return 0;
}

int rbd_driver_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err)
{
    struct rbd *s = image->state;
    int ret;

    if (!name)
        return img_error_set(err, EINVAL, "rbd need a valid snapshot name");
    if (id && strcmp(id, name) != 0)
        return img_error_set(err, EINVAL, "rbd do not support snapshot id, it should be NULL or equal to snapshot "
                             "name");
    ret = change(s, RBD_SNAP_REMOVE, name);
    return ret < 0 ? img_error_errno(err, -ret, "Failed to remove the snapshot") : 0;
}
