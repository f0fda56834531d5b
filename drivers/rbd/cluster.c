/* SPDX-License-Identifier: MIT */
/*
 * The connection to a cluster.  By itself librados waits for ever for a cluster that does not answer; so its limits of
 * time are set, unless the user has set them.
 */
#include "rbd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* librbd is given up after this many times the limit of librados, which should end its requests before. */
enum { PATIENCE = 2 };
/* Seconds for each of the last words to a cluster that is silent. */
static const char last_words[] = "1";

/* What librados is told to wait for an answer: of an osd, of a monitor, and of all of them when it connects. */
static const char *const limits[RBD_TIMES] = {
    "rados_osd_op_timeout", "rados_mon_op_timeout", "client_mount_timeout"
};

static void get_times(rados_t rados, struct rbd_times *times)
{
    for (size_t i = 0; i < RBD_TIMES; i++)
        if (rados_conf_get(rados, limits[i], times->text[i], sizeof times->text[i]) < 0)
            *times->text[i] = 0;
}

/* `usual`: before the configuration was read.  *times: what holds from now on. */
static void set_times(rados_t rados, const struct rbd_times *usual, unsigned timeout, struct rbd_times *times)
{
    char text[24];

    get_times(rados, times);
    snprintf(text, sizeof text, "%u", timeout);
    for (size_t i = 0; timeout && i < RBD_TIMES; i++)
        if (strcmp(times->text[i], usual->text[i]) == 0)
            rados_conf_set(rados, limits[i], text);
    get_times(rados, times);
}

/* ---- Settings ------------------------------------------------------------------------------------ */

static int read_file(rados_t rados, const char *name, struct img_error *err)
{
    int ret = rados_conf_read_file(rados, name);

    /* Nobody has asked for the usual file. */
    if (ret < 0 && name)
        return img_error_errno(err, -ret, "error reading conf file %s", name);
    return 0;
}

static int set(rados_t rados, const char *key, const char *value, struct img_error *err)
{
    int ret = value ? rados_conf_set(rados, key, value) : 0;

    return ret < 0 ? img_error_errno(err, -ret, "invalid conf option %s", key) : 0;
}

static int set_pairs(rados_t rados, const struct img_doc *pairs, struct img_error *err)
{
    size_t count = pairs ? img_doc_count(pairs) : 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i + 1 < count; i += 2)
        ret = set(rados, img_doc_get_string(img_doc_at(pairs, i)), img_doc_get_string(img_doc_at(pairs, i + 1)), err);
    return ret;
}

/* (An answer to a write without librbd's cache means that the bytes are safe.) */
static int configure(struct rbd_cluster *cluster, const struct rbd_target *target, struct img_error *err)
{
    rados_t rados = cluster->rados;
    struct rbd_times usual;
    int ret;

    get_times(rados, &usual);
    ret = read_file(rados, target->conf, err);
    if (ret == 0)
        ret = set(rados, "rbd_cache", "false", err);
    if (ret == 0)
        ret = set_pairs(rados, target->pairs, err);
    if (ret == 0)
        ret = set(rados, "mon_host", target->monitors, err);
    if (ret == 0)
        ret = set(rados, "key", target->key, err);
    if (ret == 0)
        ret = set(rados, "auth_client_required", target->methods, err);
    if (ret == 0)
        set_times(rados, &usual, target->timeout, &cluster->times);
    return ret;
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

static int enter_space(rados_ioctx_t io, const char *space, struct img_error *err)
{
    bool exists;
    int ret;

    if (!space || !*space)
        return 0;
    ret = rbd_namespace_exists(io, space, &exists);
    if (ret < 0)
        return img_error_errno(err, -ret, "error checking namespace");
    if (!exists)
        return img_error_set(err, ENOENT, "namespace '%s' does not exist", space);
    rados_ioctx_set_namespace(io, space);
    return 0;
}

static int enter_pool(struct rbd_cluster *cluster, const struct rbd_target *target, struct img_error *err)
{
    int ret = rados_ioctx_create(cluster->rados, target->pool, &cluster->io);

    if (ret < 0)
        return img_error_errno(err, -ret, "error opening pool %s", target->pool);
    ret = enter_space(cluster->io, target->space, err);
    if (ret < 0)
        rados_ioctx_destroy(cluster->io);
    return ret;
}

int rbd_cluster_open(struct rbd_cluster *cluster, const struct rbd_target *target, struct img_error *err)
{
    int ret = rados_create(&cluster->rados, target->user);

    if (ret < 0) {
        cluster->rados = NULL;
        return img_error_errno(err, -ret, "error initializing");
    }
    ret = configure(cluster, target, err);
    if (ret == 0 && (ret = rados_connect(cluster->rados)) < 0)
        ret = img_error_errno(err, -ret, "error connecting");
    if (ret == 0)
        ret = enter_pool(cluster, target, err);
    if (ret < 0) {
        rados_shutdown(cluster->rados);
        cluster->rados = NULL;
    }
    return ret;
}

void rbd_cluster_close(struct rbd_cluster *cluster)
{
    if (!cluster->rados)
        return;
    rados_ioctx_destroy(cluster->io);
    rados_shutdown(cluster->rados);
    cluster->rados = NULL;
}

void rbd_cluster_hurry(struct rbd_cluster *cluster, bool hurry)
{
    for (size_t i = 0; i < RBD_TIMES; i++)
        if (*cluster->times.text[i])
            rados_conf_set(cluster->rados, limits[i], hurry ? last_words : cluster->times.text[i]);
}

uint64_t rbd_cluster_patience(const struct rbd_cluster *cluster)
{
    double seconds = strtod(cluster->times.text[0], NULL);

    return seconds > 0 && seconds < 86400 ? (uint64_t)(seconds * 1000 * PATIENCE) : 0;
}
