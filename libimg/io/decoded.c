/* SPDX-License-Identifier: MIT */
/*
 * decoded.c - reads compressed clusters.  A cluster can only be decoded whole.  A read of a whole cluster decodes it
 * directly into the caller's buffer; smaller reads use a small cache.  Decoding holds no lock.
 */
#include "io.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/scratch.h"
#include "util/strbuf.h"
#include <string.h>

/* About the number of sequential readers that one image is likely to have. */
enum { SLOTS = 4 };

struct slot {
    bool valid;
    uint64_t cluster, host, stamp;      /* guest and host offset identify the cluster in `plain` */
    unsigned char *plain;
};

struct img_decoded {
    pthread_mutex_t lock;
    uint64_t clock, generation;         /* generation: counts invalidations */
    struct slot slots[SLOTS];
    unsigned char *spare[SLOTS];        /* unused buffers, for the next clusters to be decoded */
};

struct img_decoded *img_decoded_new(void)
{
    struct img_decoded *cache = img_calloc(1, sizeof *cache);

    if (cache)
        pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

void img_decoded_free(struct img_decoded *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < SLOTS; i++) {
        free(cache->slots[i].plain);
        free(cache->spare[i]);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

void img_decoded_forget(struct img *image, uint64_t offset, uint64_t length)
{
    struct img_decoded *cache = img_node_of(image)->decoded;
    uint64_t unit = image->limits.cluster;

    if (!cache)
        return;
    LOCK_SCOPE(&cache->lock);
    cache->generation++;
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->valid && slot->cluster < offset + length && offset < slot->cluster + unit)
            slot->valid = false;
    }
}

/* ---- Spare clusters ---------------------------------------------------------------- */

static unsigned char *take_spare(struct img_decoded *cache, size_t unit)
{
    unsigned char *plain = NULL;

    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < SLOTS && !plain; i++) {
        plain = cache->spare[i];
        cache->spare[i] = NULL;
    }
    pthread_mutex_unlock(&cache->lock);
    return plain ? plain : malloc(unit);
}

static void give_spare(struct img_decoded *cache, unsigned char *plain)
{
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < SLOTS && plain; i++) {
        if (!cache->spare[i]) {
            cache->spare[i] = plain;
            plain = NULL;
        }
    }
    pthread_mutex_unlock(&cache->lock);
    free(plain);
}

/* ---- Clusters ------------------------------------------------------------------------ */

static bool find(struct img *image, const struct img_extent *extent, uint64_t cluster, void *buffer,
                 uint64_t offset, size_t length, uint64_t *generation)
{
    struct img_decoded *cache = img_node_of(image)->decoded;

    LOCK_SCOPE(&cache->lock);
    *generation = cache->generation;
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->valid && slot->cluster == cluster && slot->host == extent->host) {
            slot->stamp = ++cache->clock;
            memcpy(buffer, slot->plain + (offset - cluster), length);
            return true;
        }
    }
    return false;
}

/* Keep `plain` in the least recently used slot.  Returns the buffer that it replaces. */
static unsigned char *keep(struct img *image, const struct img_extent *extent, uint64_t cluster,
                           unsigned char *plain, uint64_t generation)
{
    struct img_decoded *cache = img_node_of(image)->decoded;
    struct slot *oldest = &cache->slots[0];
    unsigned char *old;

    LOCK_SCOPE(&cache->lock);
    if (cache->generation != generation)
        return plain;
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &cache->slots[i];
        if (!slot->valid || slot->stamp < oldest->stamp)
            oldest = slot;
        if (!slot->valid)
            break;
    }
    old = oldest->plain;
    *oldest = (struct slot){ .valid = true, .cluster = cluster, .host = extent->host, .stamp = ++cache->clock,
                             .plain = plain };
    return old;
}

static int decode(struct img *image, const struct img_extent *extent, void *plain)
{
    uint64_t limit = 2 * (uint64_t)image->limits.cluster + 4096;
    CLEANUP_SCRATCH void *coded = NULL;
    size_t there;
    int ret;

    if (!image->driver->decode || extent->host_length == 0 || extent->host_length > limit)
        return -EIO;
    there = (size_t)img_min(extent->host_length, img_coded_there(extent));
    if (there == 0)
        return img_extent_lacks(extent);
    coded = img_scratch_get(there);
    if (!coded)
        return -ENOMEM;
    IMG_EVENT(extent->file, read_compressed);
    ret = img_pread(extent->file, coded, extent->host, there);
    if (ret == 0)
        ret = image->driver->decode(image, coded, there, plain, image->limits.cluster);
    /* The length may be that of whole sectors, and the last of them need not be whole. */
    return ret < 0 && there < extent->host_length ? img_extent_lacks(extent) : ret;
}

int img_decoded_read(struct img *image, const struct img_extent *extent, void *buffer, uint64_t offset, size_t length)
{
    uint32_t unit = image->limits.cluster;
    uint64_t cluster, generation;
    unsigned char *plain;
    int ret;

    if (unit == 0)
        return -EIO;
    cluster = img_align_down(offset, unit);
    if (length > unit - (offset - cluster))
        return -EINVAL;
    if (length == unit)
        return decode(image, extent, buffer);
    if (find(image, extent, cluster, buffer, offset, length, &generation))
        return 0;
    plain = take_spare(img_node_of(image)->decoded, unit);
    if (!plain)
        return -ENOMEM;
    ret = decode(image, extent, plain);
    if (ret == 0) {
        memcpy(buffer, plain + (offset - cluster), length);
        plain = keep(image, extent, cluster, plain, generation);
    }
    give_spare(img_node_of(image)->decoded, plain);
    return ret;
}
