/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges; guest writes.
 *
 * reserve allocates a cluster and sets its entry in memory; the cluster reads as zeroes until its bytes are
 * written.  A flush writes the table.
 */
#include "parallels.h"

/* Limit of entries per answer, since the lock is held meanwhile. */
enum { MAX_RUN = 1 << 20 };

/* Number of the cluster at an offset; the table may be shorter than the disk. */
static uint32_t index_of(const struct parallels *p, uint64_t offset)
{
    return (uint32_t)img_min(offset / p->cluster, p->entries);
}

/* Length of a run of entries from `index` that are consecutive in the file; *count: how many are already allocated. */
static int count_run(struct parallels *p, uint32_t index, uint32_t limit, uint64_t place, uint64_t *count)
{
    int status = 0;

    limit = (uint32_t)img_min(limit, (uint64_t)index + MAX_RUN);
    for (; index + *count < limit; ++*count) {
        uint64_t next;
        if ((status = parallels_bat_get(p, (uint32_t)(index + *count), &next)) < 0)
            break;
        if (next != place + *count * p->cluster)
            break;
    }
    return status;
}

int parallels_map_disk(struct parallels *p, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    uint32_t index = index_of(p, offset), limit = index_of(p, offset + length - 1), next = index;
    uint64_t place = 0, count = 1, end = offset + length;
    int status;

    limit += limit < p->entries;
    while ((status = parallels_bat_next(p, next, limit, &next, &place)) == IMG_LOOK_AGAIN) { }
    if (status < 0)
        return status;
    *extent = (struct img_extent){ .offset = offset, .length = length, .kind = IMG_HOLE };
    if (status == 0 || next > index) {
        /* After the end of the table nothing follows. */
        if (next < limit)
            extent->length = img_min(end, next * p->cluster) - offset;
        return 0;
    }
    while ((status = count_run(p, index, limit, place, &count)) == IMG_LOOK_AGAIN) { }
    if (status < 0)
        return status;
    extent->kind = IMG_DATA;
    extent->host_valid = true;
    extent->file = p->file;
    extent->host = place + offset % p->cluster;
    extent->length = img_min(end, (index + count) * p->cluster) - offset;
    return 0;
}

int parallels_look_for_missing(struct img *image, struct parallels *p)
{
    uint32_t index;
    uint64_t place;
    int status;

    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1) {
        uint64_t start = index * p->cluster;
        img_has_bytes(image, p->file, place, start < p->size ? img_min(p->cluster, p->size - start) : 0);
    }
    return status;
}

/* ---- Writing --------------------------------------------------------------------- */

/* Allocate the clusters from `index` on that are unallocated. */
static int allocate(struct parallels *p, uint32_t index, uint32_t limit, uint64_t *place, uint64_t *count)
{
    uint32_t next;
    uint64_t other;
    int status = parallels_bat_next(p, index, limit, &next, &other);

    if (status < 0)
        return status;
    *count = next - index;
    status = parallels_allocate(p, count, place);
    for (uint64_t i = 0; i < *count && status == 0; i++)
        status = parallels_bat_put(p, (uint32_t)(index + i), *place + i * p->cluster);
    return status;
}

int parallels_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct parallels *p = parallels_disk(image);
    uint32_t index = index_of(p, offset), limit = index_of(p, offset + length - 1);
    uint64_t place, count = 1;
    int status;

    /* The table is shorter than the disk. */
    if (index >= p->entries)
        return -EIO;
    limit += limit < p->entries;
    if ((status = parallels_begin_change(p)) < 0 || (status = parallels_bat_get(p, index, &place)) < 0)
        return status;
    if (place == 0)
        status = allocate(p, index, limit, &place, &count);
    else if (parallels_inside(p, place))
        status = count_run(p, index, limit, place, &count);
    else
        status = -EIO;
    if (status < 0)
        return status;
    to->length = img_min(offset + length, (index + count) * p->cluster) - offset;
    to->file = p->file;
    to->host = place + offset % p->cluster;
    to->published = true;
    return 0;
}

int parallels_flush(struct img *image)
{
    return parallels_bat_write(parallels_disk(image), true);
}

/* ---- Zeroes ------------------------------------------------------------------------ */

/* Deallocate whole consecutive clusters. */
static int drop(struct parallels *p, uint32_t index, uint64_t place, uint64_t count)
{
    int status = 0;

    for (uint64_t i = 0; i < count && status == 0; i++)
        status = parallels_bat_put(p, (uint32_t)(index + i), 0);
    if (status < 0)
        return status;
    parallels_give_back(p, place, count);
    /* Advisory: the place is zeroed anyway before it is reused. */
    (void)img_discard(p->file, place, count * p->cluster);
    return 0;
}

/* Clear one run of allocated clusters; *length is cut to it. */
static int clear_run(struct img *image, uint64_t offset, uint64_t *length, bool pieces, unsigned flags)
{
    struct parallels *p = parallels_disk(image);
    uint64_t first = img_div_up(offset, p->cluster), end, place, count;
    struct img_extent extent;
    int status = parallels_map_disk(p, offset, *length, &extent);

    if (status < 0)
        return status;
    *length = extent.length;
    if (extent.kind == IMG_HOLE)
        return 0;
    if (!parallels_inside(p, extent.host - offset % p->cluster))
        return -EIO;
    if ((status = parallels_begin_change(p)) < 0)
        return status;
    end = offset + *length;
    count = end == image->size ? img_div_up(end, p->cluster) : end / p->cluster;
    if (first < count) {
        /* Handle the part before cluster `first` now, and the rest in the next call. */
        if (first * p->cluster > offset) {
            *length = first * p->cluster - offset;
            return pieces ? img_zero(p->file, extent.host, *length, flags) : 0;
        }
        *length = img_min(count * p->cluster, end) - offset;
        place = extent.host;
        return drop(p, (uint32_t)first, place, count - first);
    }
    /* The range contains at most one cluster boundary. */
    return pieces ? img_zero(p->file, extent.host, *length, flags) : 0;
}

static int clear(struct img *image, uint64_t offset, uint64_t length, bool pieces, unsigned flags)
{
    int status = 0;

    while (status == 0 && length > 0) {
        uint64_t part = length;
        status = clear_run(image, offset, &part, pieces, flags);
        offset += part;
        length -= part;
    }
    return status;
}

int parallels_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    return clear(image, offset, length, true, flags);
}

int parallels_discard(struct img *image, uint64_t offset, uint64_t length)
{
    return clear(image, offset, length, false, 0);
}
