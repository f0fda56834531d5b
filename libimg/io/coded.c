/* SPDX-License-Identifier: MIT */
/*
 * coded.c - writes compressed clusters in two steps: any thread encodes at any time; allocation and writing happen
 * later, in order.
 */
#include "io.h"
#include "waiting.h"
#include "node/trace.h"
#include "util/cleanup.h"
#include "util/scratch.h"
#include <string.h>

size_t img_coded_bound(const struct img *image)
{
    size_t unit = image->limits.cluster;

    /* Incompressible data grow by the headers of stored blocks. */
    return image->coded_only ? unit + unit / 256 + 256 : unit;
}

int64_t img_encode_cluster(struct img *image, const void *plain, size_t length, void *coded, size_t capacity)
{
    int64_t n;
    unsigned char *padded;

    if (!image->driver->encode)
        return -ENOTSUP;
    /* Output as long as the input is no gain. */
    if (!image->coded_only && capacity >= image->limits.cluster)
        capacity = image->limits.cluster - 1;
    if (length == image->limits.cluster)
        return image->driver->encode(image, plain, length, coded, capacity);
    /* The short cluster at the end of the disk is encoded as a full one. */
    padded = img_scratch_get_zeroed(image->limits.cluster);
    if (!padded)
        return -ENOMEM;
    memcpy(padded, plain, length);
    n = image->driver->encode(image, padded, image->limits.cluster, coded, capacity);
    img_scratch_put(padded);
    return n;
}

static int reserve_one(struct img *image, const struct coded_cluster *cluster, struct img_reservation *place)
{
    int ret;

    image->patience = IMG_RESERVE_PATIENCE;
    do {
        *place = (struct img_reservation){ .offset = cluster->offset };
        ret = image->driver->reserve_coded(image, cluster->offset, cluster->length, place);
    } while (ret == IMG_LOOK_AGAIN);
    image->patience = 0;
    return ret;
}

/* Allocate a run of clusters: all of them or none. */
static int reserve_run(struct img *image, const struct coded_cluster *clusters, size_t count,
                       struct img_reservation *places)
{
    LOCK_SCOPE(&image->lock);
    for (size_t i = 0; i < count; i++) {
        IMG_TRACE(reserve, image, clusters[i].offset, clusters[i].length);
        int ret = reserve_one(image, &clusters[i], &places[i]);
        if (ret < 0) {
            while (i-- > 0)
                img_settle(image, &places[i], ret);
            return ret;
        }
    }
    return 0;
}

/* Bytes that are adjacent in memory and on the host are written at once. */
static int write_run(const struct coded_cluster *clusters, size_t count, const struct img_reservation *places)
{
    for (size_t i = 0; i < count; ) {
        size_t bytes = clusters[i].length, next = i + 1;
        int ret;
        while (next < count && clusters[next].bytes == clusters[i].bytes + bytes &&
               places[next].host == places[i].host + bytes && places[next].file == places[i].file)
            bytes += clusters[next++].length;
        IMG_EVENT(places[i].file, write_compressed);
        ret = img_pwrite(places[i].file, clusters[i].bytes, places[i].host, bytes);
        if (ret < 0)
            return ret;
        i = next;
    }
    return 0;
}

static int publish_run(struct img *image, struct img_reservation *places, size_t count, int error)
{
    LOCK_SCOPE(&image->lock);
    for (size_t i = 0; i < count; i++)
        error = img_settle(image, &places[i], error);
    return error;
}

static int write_clusters(struct img *image, const struct coded_cluster *clusters, size_t count,
                          struct img_reservation *places)
{
    int ret = reserve_run(image, clusters, count, places);

    if (ret == 0)
        ret = publish_run(image, places, count, write_run(clusters, count, places));
    for (size_t i = 0; i < count; i++)
        img_decoded_forget(image, clusters[i].offset, image->limits.cluster);
    return ret;
}

int img_pwrite_coded(struct img *image, const struct coded_cluster *clusters, size_t count)
{
    struct img_reservation *places;
    struct img_range range;
    int ret;

    if (!image->driver->reserve_coded)
        return -ENOTSUP;
    places = img_scratch_get_zeroed(count * sizeof *places);
    if (!places)
        return -ENOMEM;
    /* The clusters are in ascending order. */
    img_hold_units(image, &range, clusters[0].offset, clusters[count - 1].offset + 1 - clusters[0].offset);
    ret = write_clusters(image, clusters, count, places);
    img_release_units(image, &range);
    img_scratch_put(places);
    return ret;
}
