/* SPDX-License-Identifier: MIT */
/* snapshot.c - lists, shows, creates, applies and deletes internal snapshots. */
#include "graph.h"
#include "util/cleanup.h"

#include <string.h>

/* Raw or a filter over a format with snapshots: use that format's. */
static struct img *owner(struct img *image)
{
    while (!image->driver->snapshots && img_shows_below(image))
        image = image->file;
    return image;
}

int img_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err)
{
    *list = NULL;
    image = owner(image);
    return image->driver->snapshots ? image->driver->snapshots(image, list, err) : 0;
}

void img_snapshots_free(struct img_snapshot *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
}

int img_snapshot_load(struct img *image, const char *id, const char *name, struct img_error *err)
{
    int ret;

    if (!image->driver->snapshot_load)
        return img_error_set(err, ENOTSUP, "Block format '%s' used by device '' does not support temporarily loading "
                             "internal snapshots", image->driver->name);
    ret = image->driver->snapshot_load(image, id, name, err);
    if (ret == 0)
        img_decoded_forget(image, 0, UINT64_MAX);
    if (ret == -ENOENT)
        img_snapshots_advise(image, err);
    return ret;
}

int img_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err)
{
    image = owner(image);
    if (!image->driver->snapshot_create)
        return img_error_set(err, ENOTSUP, "Block driver does not support snapshots");
    if (img_read_only(image))
        return img_error_set(err, EPERM, "Image is read-only");
    return image->driver->snapshot_create(image, what, err);
}

int img_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err)
{
    struct img *top = image;

    /* qemu-img opens the image once more to reach the node below, so it repeats the warning. */
    if (!image->driver->snapshot_apply && image->probed)
        img_probe_warn(image);
    image = owner(image);
    if (!image->driver->snapshot_apply)
        return img_error_set(err, ENOTSUP, "Block driver does not support snapshots");
    if (img_read_only(image))
        return img_error_set(err, EPERM, "Image is read-only");
    uint64_t size = image->size;
    int ret = image->driver->snapshot_apply(image, id_or_name, err);
    if (ret == -ENOENT)
        img_snapshots_advise(image, err);
    if (ret < 0)
        return ret;
    for (struct img *node = top; ; node = node->file) {
        img_decoded_forget(node, 0, UINT64_MAX);
        if (node == image)
            return 0;
        if (node->size == size)
            node->size = image->size;
    }
}

int img_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err)
{
    image = owner(image);
    if (!image->driver->snapshot_delete)
        return img_error_set(err, ENOTSUP, "Block format '%s' used by device '' does not support internal snapshot "
                             "deletion", image->driver->name);
    if (img_read_only(image))
        return img_error_set(err, EPERM, "Image is read-only");
    return image->driver->snapshot_delete(image, id, name, err);
}
