/* SPDX-License-Identifier: MIT */
/*
 * Controls when written data leave the page cache.
 *
 * If a flush will follow, the kernel is asked to start writing at once, so that the disk works during the copy.  If
 * none will (cache mode unsafe), nothing is written early, but only a part of the memory may be dirty: a container
 * with a small limit would stall or be killed.
 */
#include "file.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__) && defined(SYNC_FILE_RANGE_WRITE)

#define STEP (16u << 20)
#define LEAST_WAITING (64ull << 20)
enum { PART_OF_MEMORY = 8 };

static uint64_t waiting_limit;
static pthread_once_t waiting_once = PTHREAD_ONCE_INIT;

/* Read a file that contains one number; UINT64_MAX: none ("max"). */
static uint64_t read_number(const char *path)
{
    FILE *stream = fopen(path, "re");
    unsigned long long value = UINT64_MAX;

    if (!stream)
        return UINT64_MAX;
    if (fscanf(stream, "%llu", &value) != 1 || value == 0)
        value = UINT64_MAX;
    fclose(stream);
    return value;
}

/* The smallest limit of a control group and its parents; `path` is truncated on the way. */
static uint64_t least_limit(const char *root, char *path, const char *name)
{
    uint64_t least = UINT64_MAX;

    for (;;) {
        CLEANUP_FREE char *file = img_asprintf("%s%s/%s", root, path, name);
        char *slash = strrchr(path, '/');

        if (file)
            least = img_min(least, read_number(file));
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup: "0::/path" of version 2, "5:memory:/path" of version 1. */
static uint64_t limit_of_line(char *line)
{
    char *kinds = strchr(line, ':'), *path = kinds ? strchr(kinds + 1, ':') : NULL;

    if (!path)
        return UINT64_MAX;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (strcmp(kinds, ":") == 0)
        return least_limit("/sys/fs/cgroup", path, "memory.max");
    if (strcmp(kinds, ":memory") == 0)
        return least_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
    return UINT64_MAX;
}

static void find_limit(void)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), memory = UINT64_MAX;
    FILE *groups = fopen("/proc/self/cgroup", "re");
    char line[1024];

    while (groups && fgets(line, sizeof line, groups))
        memory = img_min(memory, limit_of_line(line));
    if (groups)
        fclose(groups);
    /* Without a limit the group may use as much as the kernel allows everybody, and the kernel bounds that. */
    waiting_limit = memory < all ? img_max(memory / PART_OF_MEMORY, LEAST_WAITING) : UINT64_MAX;
}

/* Ranges in the order in which they were written: append one, take the first. */
static void queue(struct file_waiting *waiting, const struct file_range *range)
{
    unsigned last = (waiting->first + waiting->count) % FILE_RANGES;

    waiting->bytes += range->bytes;
    if (waiting->count < FILE_RANGES) {
        waiting->ranges[last] = *range;
        waiting->count++;
        return;
    }
    /* The ring is full: extend the newest range. */
    struct file_range *newest = &waiting->ranges[(last + FILE_RANGES - 1) % FILE_RANGES];
    newest->start = img_min(newest->start, range->start);
    newest->end = img_max(newest->end, range->end);
    newest->bytes += range->bytes;
}

static struct file_range unqueue(struct file_waiting *waiting)
{
    struct file_range range = waiting->ranges[waiting->first];

    waiting->first = (waiting->first + 1) % FILE_RANGES;
    waiting->count--;
    waiting->bytes -= range.bytes;
    return range;
}

/* Keep an error: it is reported only once, and the next flush would not see it. */
static void push_out(struct file_state *file, const struct file_range *range, unsigned how)
{
    if (range->bytes == 0 ||
        sync_file_range(file->fd, (off_t)range->start, (off_t)(range->end - range->start), how) == 0)
        return;
    if (errno == EIO || errno == ENOSPC || errno == EDQUOT)
        atomic_store(&file->writeback_error, -errno);
}

void file_written(struct img *image, uint64_t offset, size_t length)
{
    struct file_state *file = image->state;
    struct file_waiting *waiting = &file->waiting;
    struct file_range *now = &waiting->now, begin, wait = { .bytes = 0 };

    if (file->write_through)
        return;
    pthread_mutex_lock(&waiting->lock);
    now->start = now->bytes ? img_min(now->start, offset) : offset;
    now->end = now->bytes ? img_max(now->end, offset + length) : offset + length;
    now->bytes += length;
    if (now->bytes < STEP) {
        pthread_mutex_unlock(&waiting->lock);
        return;
    }
    pthread_once(&waiting_once, find_limit);
    begin = *now;
    now->bytes = 0;
    queue(waiting, &begin);
    if (waiting->bytes > waiting_limit)
        wait = unqueue(waiting);
    pthread_mutex_unlock(&waiting->lock);
    if (!img_cache_unsafe(image->cache))
        push_out(file, &begin, SYNC_FILE_RANGE_WRITE);
    push_out(file, &wait, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

#else

void file_written(struct img *image, uint64_t offset, size_t length)
{
    (void)image, (void)offset, (void)length;
}

#endif
