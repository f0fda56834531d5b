/* SPDX-License-Identifier: MIT */
/*
 * Data and holes.
 *
 * The answer of glfs_lseek is kept in the handle, where other threads that read through it keep theirs.  So the map has
 * a handle of its own, and a lock.  Some volumes do not tell at all (shards), and versions of Gluster are known that
 * name places before the one asked about.  What makes no sense means "data", which is always safe to read.
 */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"

enum { SECTOR = 512 };

static off_t seek(struct gluster_map *map, uint64_t offset, int whence)
{
    off_t at;

    errno = 0;
    at = glfs_lseek(map->fd, (off_t)offset, whence);
    return at < 0 && errno ? -(off_t)errno : at;
}

/* The volume is gone: that is no answer.  Anything else may be said by one that has no such call. */
static bool is_lost(off_t answer)
{
    return answer == -ENOTCONN || answer == -ETIMEDOUT || answer == -EIO || answer == -EBADFD || answer == -ESTALE;
}

/* Whole sectors: one that has a byte of data is data. */
static int ask(struct gluster_map *map, uint64_t offset, uint64_t size, bool *data, uint64_t *end)
{
    off_t at = seek(map, offset, SEEK_DATA);

    *end = size;
    *data = at != -ENXIO;
    if (at == -ENXIO || is_lost(at))
        return is_lost(at) ? (int)at : 0;
    if (at < (off_t)offset) {
        map->unable = true;
        return 0;
    }
    if ((uint64_t)at / SECTOR > offset / SECTOR) {
        *data = false;
        *end = img_min((uint64_t)at / SECTOR * SECTOR, size);
        return 0;
    }
    at = seek(map, (uint64_t)at, SEEK_HOLE);
    if (at > (off_t)offset)
        *end = img_min(img_align_up((uint64_t)at, SECTOR), size);
    return is_lost(at) ? (int)at : 0;
}

int gluster_map_ask(struct gluster_map *map, glfs_fd_t *fd, uint64_t offset, uint64_t size, bool keep, bool *data,
                    uint64_t *end)
{
    LOCK_SCOPE(&map->lock);
    int ret = 0;

    *data = true;
    *end = size;
    if (map->unable)
        return 0;
    if (offset >= map->start && offset < map->end) {
        *data = map->data;
        *end = map->end;
        return 0;
    }
    if (!map->fd && !(map->fd = glfs_dup(fd)))
        return errno ? -errno : -EIO;
    ret = ask(map, offset, size, data, end);
    if (ret == 0 && keep) {
        map->data = *data;
        map->start = offset;
        map->end = *end;
    }
    return ret;
}

void gluster_map_end(struct gluster_map *map)
{
    if (map->fd)
        glfs_close(map->fd);
    pthread_mutex_destroy(&map->lock);
}
