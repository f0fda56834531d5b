/* SPDX-License-Identifier: MIT */
/*
 * lock.c - permissions of open nodes.  A storage is opened once, for probing, without locks.  When the format is known,
 * the permissions that it needs are taken here, down to the storage, which holds the locks.
 */
#include "chain.h"

static enum img_role role_of(const struct img *image, const struct img *child)
{
    if (child == image->backing)
        return IMG_ROLE_BACKING;
    return child == image->data_file ? IMG_ROLE_DATA : IMG_ROLE_FILE;
}

int chain_lock_children(struct img *image, bool *refused_user, struct img_error *err)
{
    struct img *child;
    const char *name;
    int ret = 0;

    for (size_t i = 0; ret == 0 && (child = img_child_at(image, i, &name)); i++) {
        enum img_role role = role_of(image, child);
        unsigned perm, shared;

        img_node_permissions(image, role, &perm, &shared);
        if (perm == child->perm && shared == child->shared)
            continue;
        ret = img_node_lock(child, perm, shared, err);
        if (ret == 0)
            ret = chain_lock_children(child, refused_user, err);
        else
            *refused_user = ret == -EAGAIN && role == IMG_ROLE_FILE && img_shows_below(image);
    }
    return ret;
}
