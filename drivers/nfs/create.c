/* SPDX-License-Identifier: MIT */
/* A new file on the server. */
#include "nfs.h"
#include <fcntl.h>

static int set_length(struct nfs_connection *c, uint64_t length)
{
    struct nfs_request request = { .kind = NFS_SET_LENGTH, .offset = length, .stop = -1 };

    return nfs_connection_run(c, &request);
}

/* (an old file may keep what it had when it is made again) */
static int make(const struct nfs_target *target, uint64_t size, struct img_error *err)
{
    const struct nfs_mode mode = { .flags = O_RDWR, .create = true };
    struct nfs_file file = { .lock = PTHREAD_MUTEX_INITIALIZER };
    struct nfs_connection c;
    int ret = nfs_connection_open(&c, target, &mode, &file, -1, err);

    if (ret < 0)
        return ret;
    ret = set_length(&c, 0);
    if (ret == 0 && size)
        ret = set_length(&c, size);
    nfs_connection_close(&c);
    return ret < 0 ? img_error_errno(err, ret == IMG_POOL_LOST ? EIO : -ret, "Failed to truncate file") : 0;
}

int nfs_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct nfs_create_options *create = request->options;
    struct nfs_target target;
    struct img_named named;
    int ret = img_named_options(&img_driver_nfs, request->name, &named, err);

    if (ret == 0)
        ret = nfs_target_take(named.rest, named.options, false, &target, err);
    if (ret == 0) {
        ret = make(&target, create->size > 0 ? (uint64_t)create->size : 0, err);
        nfs_target_free(&target);
    }
    img_named_free(&img_driver_nfs, &named);
    return ret;
}
