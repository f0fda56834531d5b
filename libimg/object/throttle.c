/* SPDX-License-Identifier: MIT */
/*
 * throttle.c - groups of limits that several nodes share.  Each limit is a leaky bucket (see docs/throttle.txt of the
 * QEMU documentation): it leaks at the average rate, and a request waits until the bucket has room.  A bucket holds a
 * tenth of a second, or `max` for `length` seconds; then a second bucket limits the burst itself.
 */
#include "throttle.h"
#include "object.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define HIGHEST 1000000000000000ull
enum { LONGEST_WAIT = 3600 };           /* seconds at a time */

struct bucket {
    double average, max, length;
    double level, burst;
};

struct img_throttle_group {
    struct img_object object;
    pthread_mutex_t lock;
    struct bucket buckets[IMG_THROTTLE_LIMITS];
    double iops_size, leaked_at;
};

#define KIND "throttle-group"

/* ---- Definition ----------------------------------------------------------------- */

static bool mixes(const struct img_throttle *limits, unsigned total, bool max)
{
    const struct img_throttle_limit *of = limits->limits;

    return max ? of[total].max && (of[total + 1].max || of[total + 2].max)
               : of[total].average && (of[total + 1].average || of[total + 2].average);
}

static int check_limit(const struct img_throttle_limit *of, struct img_error *err)
{
    if (of->average > HIGHEST || of->max > HIGHEST)
        return img_error_set(err, EINVAL, "bps/iops/max values must be within [0, %llu]", HIGHEST);
    if (of->length == 0)
        return img_error_set(err, EINVAL, "the burst length cannot be 0");
    if (of->length > 1 && !of->max)
        return img_error_set(err, EINVAL, "burst length set without burst rate");
    if (of->max && of->length > HIGHEST / of->max)
        return img_error_set(err, EINVAL, "burst length too high for this burst rate");
    if (of->max && !of->average)
        return img_error_set(err, EINVAL, "bps_max/iops_max require corresponding bps/iops values");
    if (of->max && of->max < of->average)
        return img_error_set(err, EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
    return 0;
}

static int check(const struct img_throttle *limits, struct img_error *err)
{
    const struct img_throttle_limit *of = limits->limits;
    int ret = 0;

    if (mixes(limits, IMG_THROTTLE_BPS_TOTAL, false) || mixes(limits, IMG_THROTTLE_IOPS_TOTAL, false) ||
        mixes(limits, IMG_THROTTLE_BPS_TOTAL, true) || mixes(limits, IMG_THROTTLE_IOPS_TOTAL, true))
        return img_error_set(err, EINVAL, "bps/iops/max total values and read/write values cannot be used at the same "
                             "time");
    if (limits->iops_size && !of[IMG_THROTTLE_IOPS_TOTAL].average && !of[IMG_THROTTLE_IOPS_READ].average &&
        !of[IMG_THROTTLE_IOPS_WRITE].average)
        return img_error_set(err, EINVAL, "iops size requires an iops value to be set");
    for (unsigned i = 0; i < IMG_THROTTLE_LIMITS && ret == 0; i++)
        ret = check_limit(&of[i], err);
    return ret;
}

static void release(struct img_object *object)
{
    pthread_mutex_destroy(&((struct img_throttle_group *)object)->lock);
}

int img_throttle_add(const char *id, const struct img_throttle *limits, struct img_error *err)
{
    struct img_throttle_group *group;
    int ret;

    if (check(limits, err) < 0)
        return -EINVAL;
    group = img_calloc(1, sizeof *group);
    if (!group)
        return img_error_memory(err);
    group->object.release = release;
    group->iops_size = (double)limits->iops_size;
    pthread_mutex_init(&group->lock, NULL);
    for (unsigned i = 0; i < IMG_THROTTLE_LIMITS; i++) {
        const struct img_throttle_limit *of = &limits->limits[i];
        group->buckets[i] = (struct bucket){ .average = (double)of->average, .max = (double)of->max,
                                             .length = (double)of->length };
    }
    ret = img_object_put(&group->object, KIND, id, err);
    if (ret < 0) {
        release(&group->object);
        free(group);
    }
    return ret;
}

struct img_throttle_group *img_throttle_find(const char *id)
{
    return (struct img_throttle_group *)img_object_find(KIND, id, NULL);
}

/* ---- Waiting ---------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double less(double level, double leak)
{
    return level > leak ? level - leak : 0;
}

static void leak(struct img_throttle_group *group)
{
    double time = now(), passed = group->leaked_at > 0 ? time - group->leaked_at : 0;

    group->leaked_at = time;
    for (unsigned i = 0; i < IMG_THROTTLE_LIMITS; i++) {
        struct bucket *bucket = &group->buckets[i];
        bucket->level = less(bucket->level, bucket->average * passed);
        bucket->burst = less(bucket->burst, bucket->max * passed);
    }
}

/* Seconds until the bucket has room. */
static double wait_of(const struct bucket *bucket)
{
    double room = bucket->max > 0 ? bucket->max * bucket->length : bucket->average / 10;
    double wait, burst_wait;

    if (bucket->average <= 0)
        return 0;
    wait = less(bucket->level, room) / bucket->average;
    if (bucket->length <= 1)
        return wait;
    burst_wait = less(bucket->burst, bucket->max / 10) / bucket->max;
    return wait > burst_wait ? wait : burst_wait;
}

static void count(struct bucket *bucket, double amount)
{
    bucket->level += amount;
    if (bucket->length > 1)
        bucket->burst += amount;
}

/* Let the request pass (0), or return how long it must wait. */
static double try_to_pass(struct img_throttle_group *group, bool write, double length)
{
    const unsigned which[] = { IMG_THROTTLE_BPS_TOTAL, write ? IMG_THROTTLE_BPS_WRITE : IMG_THROTTLE_BPS_READ,
                               IMG_THROTTLE_IOPS_TOTAL, write ? IMG_THROTTLE_IOPS_WRITE : IMG_THROTTLE_IOPS_READ };
    double requests = group->iops_size > 0 && length > group->iops_size ? length / group->iops_size : 1, wait = 0;

    LOCK_SCOPE(&group->lock);
    leak(group);
    for (unsigned i = 0; i < 4; i++) {
        double of = wait_of(&group->buckets[which[i]]);
        wait = of > wait ? of : wait;
    }
    for (unsigned i = 0; i < 4 && wait <= 0; i++)
        count(&group->buckets[which[i]], i < 2 ? length : requests);
    return wait;
}

uint64_t img_throttle_pass(struct img_throttle_group *group, bool write, uint64_t length)
{
    double wait = try_to_pass(group, write, (double)length);

    /* Rounded up, so that the next try is not too early.  Who waits longer tries more than once. */
    return wait > 0 ? (uint64_t)((wait < LONGEST_WAIT ? wait : LONGEST_WAIT) * 1e9) + 1000 : 0;
}
