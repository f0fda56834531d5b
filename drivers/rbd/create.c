/* SPDX-License-Identifier: MIT */
/* A new image. */
#include "rbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"

enum { LEAST_OBJECT = 4096 };

/* 0: as the cluster likes it. */
static int find_order(int64_t size, int *order, struct img_error *err)
{
    *order = 0;
    if (size <= 0)
        return 0;
    if (!img_power_of_two((uint64_t)size))
        return img_error_set(err, EINVAL, "obj size needs to be power of 2");
    if (size < LEAST_OBJECT)
        return img_error_set(err, EINVAL, "obj size too small");
    *order = __builtin_ctzll((unsigned long long)size);
    return 0;
}

/* waiting->left: the cluster cannot be closed. */
static int encrypt(const struct rbd_cluster *cluster, const char *name, const struct rbd_new_encryption *wanted,
                   struct rbd_waiting *waiting, struct img_error *err)
{
    rbd_image_t image;
    int ret;

    if (wanted->layer.format == RBD_PLAIN)
        return 0;
    waiting->patience = rbd_cluster_patience(cluster);
    ret = rbd_open(cluster->io, name, &image, NULL);
    if (ret < 0)
        return img_error_errno(err, -ret, "error opening image '%s' for encryption format", name);
    ret = rbd_encryption_make(image, wanted, waiting, err);
    waiting->silent = ret == -ETIMEDOUT;
    rbd_request_close(waiting, image);
    return ret;
}

/* What could not be finished is removed. */
static int make(const struct rbd_target *target, uint64_t size, int order, const struct rbd_new_encryption *wanted,
                struct img_error *err)
{
    struct rbd_waiting waiting = { 0 };
    struct rbd_cluster cluster;
    int ret = rbd_cluster_open(&cluster, target, err);

    if (ret < 0)
        return ret;
    ret = rbd_create(cluster.io, target->image, size, &order);
    if (ret < 0)
        ret = img_error_errno(err, -ret, "error rbd create");
    else if ((ret = encrypt(&cluster, target->image, wanted, &waiting, err)) < 0 && ret != -ETIMEDOUT)
        rbd_remove(cluster.io, target->image);
    if (ret == -ETIMEDOUT)
        rbd_cluster_hurry(&cluster, true);
    if (!waiting.left)
        rbd_cluster_close(&cluster);
    return ret;
}

static int take_target(const struct img_create *request, struct rbd_target *target, struct img_error *err)
{
    const struct rbd_create_options *create = request->options;
    struct img_named named;
    int ret = img_named_options(&img_driver_rbd, request->name, &named, err);

    if (ret == 0) {
        struct rbd_open_options *options = named.options;
        if (img_replace_text(&options->password_secret, create->password_secret) < 0)
            ret = img_error_memory(err);
        else
            ret = rbd_target_take(named.rest, options, target, err);
    }
    img_named_free(&img_driver_rbd, &named);
    return ret;
}

int rbd_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct rbd_create_options *create = request->options;
    struct rbd_new_encryption wanted;
    struct rbd_target target;
    int order, ret = take_target(request, &target, err);

    if (ret < 0)
        return ret;
    ret = rbd_encryption_choose(create, &wanted, err);
    if (ret == 0)
        ret = find_order(create->cluster_size, &order, err);
    if (ret == 0)
        ret = make(&target, create->size > 0 ? (uint64_t)create->size : 0, order, &wanted, err);
    rbd_target_free(&target);
    return ret;
}
