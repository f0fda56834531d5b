/* SPDX-License-Identifier: MIT */
/*
 * compress.c - a window that is written compressed, cluster by cluster.  It is encoded before its turn, so that
 * workers encode in parallel.
 */
#include "internal.h"
#include "util/checked.h"
#include "util/scratch.h"
#include <errno.h>

/* Read the holes of a cluster that is not all hole, and set its kind. */
static int complete_cluster(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                            struct copy_cluster *cluster)
{
    uint64_t end = cluster->offset + cluster->length;
    bool any = false;
    int ret;

    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        any |= span->kind != IMG_HOLE && span->offset < end && span->offset + span->length > cluster->offset;
    }
    if (!any) {
        cluster->kind = IMG_HOLE;
        return 0;
    }
    ret = copy_complete(worker, window, spans, cluster->offset, end);
    if (ret < 0)
        return ret;
    cluster->kind = worker->job->what->sparse &&
                    img_is_zero(worker->buffer + (cluster->offset - window->offset), cluster->length)
                        ? IMG_ZERO : IMG_DATA;
    return 0;
}

static int encode_cluster(struct copy_worker *worker, const struct copy_window *window, size_t *used,
                          struct copy_cluster *cluster)
{
    const unsigned char *plain = worker->buffer + (cluster->offset - window->offset);
    int64_t n = img_encode_cluster(worker->job->image, plain, cluster->length, worker->coded + *used,
                                   worker->job->coded_size - *used);

    if (n == -ENOSPC)
        return 0;
    if (n < 0)
        return copy_fail_writing(worker->job, cluster->offset, (int)n);
    cluster->kind = IMG_CODED;
    cluster->coded = worker->coded + *used;
    cluster->coded_length = (size_t)n;
    *used += (size_t)n;
    return 0;
}

/* Consecutive coded clusters are written with one request. */
static int write_coded(struct copy_job *job, const struct copy_cluster *clusters, size_t count)
{
    CLEANUP_SCRATCH struct coded_cluster *list = img_scratch_get(count * sizeof *list);
    int ret;

    if (!list)
        return copy_fail_writing(job, clusters[0].offset, -ENOMEM);
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct coded_cluster){ clusters[i].offset, clusters[i].coded, clusters[i].coded_length };
        copy_account(job, clusters[i].coded_length);
    }
    ret = img_pwrite_coded(job->what->target, list, count);
    return ret < 0 ? copy_fail_writing(job, clusters[0].offset, ret) : 0;
}

static int write_clusters(struct copy_worker *worker, const struct copy_window *window,
                          const struct copy_cluster *clusters, size_t count)
{
    struct copy_job *job = worker->job;
    int ret = 0;

    for (size_t i = 0; i < count && ret == 0; i++) {
        const struct copy_cluster *cluster = &clusters[i];
        size_t run = 1;
        if (cluster->kind == IMG_CODED) {
            while (i + run < count && clusters[i + run].kind == IMG_CODED)
                run++;
            ret = write_coded(job, cluster, run);
            i += run - 1;
        } else if (cluster->kind == IMG_ZERO) {
            ret = copy_write_zero(job, cluster->offset, cluster->length);
        } else if (cluster->kind == IMG_DATA) {
            ret = copy_write_data(job, worker->buffer + (cluster->offset - window->offset), cluster->offset,
                                  cluster->length);
        }
    }
    return ret;
}

int copy_encode_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    uint64_t unit = img_cluster_size(worker->job->image), end = window->offset + window->length;
    size_t used = 0;
    int ret = 0;

    worker->lists.clusters.count = 0;
    for (uint64_t offset = window->offset; offset < end && ret == 0; offset = img_align_down(offset, unit) + unit) {
        struct copy_cluster cluster = { .offset = offset, .length = img_min(unit - offset % unit, end - offset) };
        ret = complete_cluster(worker, window, spans, &cluster);
        if (ret == 0 && cluster.kind == IMG_DATA)
            ret = encode_cluster(worker, window, &used, &cluster);
        if (ret == 0 && !IMG_VECTOR_PUSH(&worker->lists.clusters, cluster))
            ret = copy_fail(worker->job, IMG_COPY_WRITING, offset, -ENOMEM);
    }
    return ret;
}

int copy_compress_window(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans)
{
    int ret = copy_encode_window(worker, window, spans);

    if (ret == 0)
        ret = copy_take_turn(worker, window);
    if (ret == 0)
        ret = copy_grow_target(worker->job, window);
    if (ret == 0)
        ret = write_clusters(worker, window, worker->lists.clusters.at, worker->lists.clusters.count);
    return ret;
}
