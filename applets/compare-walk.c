/* SPDX-License-Identifier: MIT */
/*
 * The walk of img-compare.  One cursor under a lock hands out chunks: the
 * next range that is one extent in both images.  Each worker reads and
 * compares its chunk on its own, in pieces small enough for the processor's cache.
 * Results are committed in order, so the first difference does not depend on the number of threads.
 */
#include "compare.h"

#include <errno.h>
#include <string.h>

enum {
    CHUNK = 2 << 20,        /* bytes of data that one worker takes at once */
    PIECE = 256 << 10,      /* bytes read at once */
    SECTOR = 512,           /* differences are reported by sector */
    RING = 64,              /* chunks that may be in progress, or done but not committed */
    WORKERS = 8,            /* maximum, for local files */
    FAR_WORKERS = 32,       /* maximum, for storages with round trips */
    STACK = 512 << 10,
    BUFFER_ALIGNMENT = 4096 /* for images opened without the page cache */
};

struct chunk {
    uint64_t offset, length;
    struct img_extent extent[2];
    bool data[2];           /* bytes must be read; otherwise they are zeroes */
};

struct walk {
    const struct compare *what;
    pthread_mutex_t lock;
    pthread_cond_t committed_more;
    uint64_t cursor;                    /* where the next chunk starts */
    struct img_extent extent[2];        /* the extents at the cursor */
    uint64_t issued, committed;         /* chunks */
    uint64_t ends[RING];                /* end offset of an issued chunk */
    bool finished[RING];
    struct compare_finding finding;     /* the first one so far */
    bool stop;                          /* hand out no more chunks */
};

/* ---- Mapping ------------------------------------------------------------------------- */

static bool reads_as_zero(const struct img_extent *extent)
{
    return extent->kind == IMG_HOLE || extent->kind == IMG_ZERO;
}

/* What strict mode compares: whether and how a range is allocated, and whether it ends the image. */
static unsigned status_of(const struct img_extent *extent, struct img *image)
{
    bool last = extent->offset + extent->length == img_size(image);

    return (unsigned)extent->kind | (extent->kind == IMG_ZERO && extent->recurse ? 8u : 0) | (last ? 16u : 0);
}

static int map_side(struct walk *w, unsigned side)
{
    const struct compare *what = w->what;
    struct img_extent *extent = &w->extent[side];

    if (extent->length && w->cursor < extent->offset + extent->length)
        return 0;
    if (!what->images[side]) {
        *extent = (struct img_extent){ .offset = w->cursor, .length = what->end - w->cursor, .kind = IMG_ZERO };
        return 0;
    }
    return img_map_chain(what->images[side], NULL, w->cursor, what->end - w->cursor, extent);
}

/* Keep the finding with the lowest offset.  Called with the lock held. */
static void found(struct walk *w, const struct compare_finding *finding)
{
    w->stop = true;
    if (w->finding.result == COMPARE_SAME || finding->offset < w->finding.offset)
        w->finding = *finding;
}

/* Map both images at the cursor; false at the end or after a finding. */
static bool map_both(struct walk *w)
{
    struct compare_finding finding = { .offset = w->cursor };
    struct img *const *images = w->what->images;

    for (unsigned side = 0; side < 2; side++) {
        int rc = map_side(w, side);

        if (rc == 0)
            continue;
        finding.result = COMPARE_MAP_FAILED;
        finding.side = side;
        finding.code = -rc;
        found(w, &finding);
        return false;
    }
    if (!w->what->strict || status_of(&w->extent[0], images[0]) == status_of(&w->extent[1], images[1]))
        return true;
    finding.result = COMPARE_STATUS;
    found(w, &finding);
    return false;
}

/* ---- Chunks ----------------------------------------------------------------------------- */

static uint64_t rest_of(const struct img_extent *extent, uint64_t at)
{
    return extent->offset + extent->length - at;
}

/* Report all finished chunks that follow the last committed one without a gap.  Lock held. */
static void commit(struct walk *w)
{
    while (w->committed < w->issued && w->finished[w->committed % RING]) {
        uint64_t end = w->ends[w->committed % RING];

        if (w->finding.result != COMPARE_SAME && w->finding.offset < end)
            break;
        w->what->progress(w->what->context, end);
        w->committed++;
    }
    pthread_cond_broadcast(&w->committed_more);
}

/* Take the next range to compare; false if there is none.  Zeroes in both images need no worker. Lock held. */
static bool take(struct walk *w, struct chunk *chunk, uint64_t *number)
{
    while (!w->stop && w->cursor < w->what->end) {
        uint64_t length;

        if (w->issued - w->committed >= RING) {
            pthread_cond_wait(&w->committed_more, &w->lock);
            continue;
        }
        if (!map_both(w))
            return false;
        length = img_min(rest_of(&w->extent[0], w->cursor), rest_of(&w->extent[1], w->cursor));
        *chunk = (struct chunk){ .offset = w->cursor };
        for (unsigned side = 0; side < 2; side++) {
            chunk->extent[side] = w->extent[side];
            chunk->data[side] = !reads_as_zero(&w->extent[side]);
        }
        if (chunk->data[0] || chunk->data[1])
            length = img_min(length, CHUNK);
        chunk->length = length;
        w->cursor += length;
        *number = w->issued++;
        w->ends[*number % RING] = w->cursor;
        w->finished[*number % RING] = !chunk->data[0] && !chunk->data[1];
        if (chunk->data[0] || chunk->data[1])
            return true;
        commit(w);
    }
    return false;
}

/* ---- One chunk ------------------------------------------------------------------------------ */

/* Offset of the first sector that differs in the two pieces. */
static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t length)
{
    size_t at = 0;

    while (length - at > SECTOR && img_is_equal(a + at, b + at, SECTOR))
        at += SECTOR;
    return at;
}

static size_t first_content(const uint8_t *a, size_t length)
{
    size_t at = 0;

    while (length - at > SECTOR && img_is_zero(a + at, SECTOR))
        at += SECTOR;
    return at;
}

/* Compare [offset, offset+length) of the chunk; true if equal. */
static bool compare_piece(const struct chunk *chunk, uint64_t offset, size_t length, uint8_t *const buffers[2],
                          struct compare_finding *finding)
{
    for (unsigned side = 0; side < 2; side++) {
        int rc = chunk->data[side] ? img_read_extent(&chunk->extent[side], buffers[side], offset, length) : 0;

        if (rc < 0) {
            *finding = (struct compare_finding){ COMPARE_READ_FAILED, chunk->offset, side, -rc };
            return false;
        }
    }
    *finding = (struct compare_finding){ .result = COMPARE_CONTENT };
    if (chunk->data[0] && chunk->data[1]) {
        if (img_is_equal(buffers[0], buffers[1], length))
            return true;
        finding->offset = offset + first_difference(buffers[0], buffers[1], length);
    } else {
        const uint8_t *buffer = buffers[chunk->data[0] ? 0 : 1];

        if (img_is_zero(buffer, length))
            return true;
        finding->offset = offset + first_content(buffer, length);
    }
    return false;
}

static bool compare_chunk(const struct chunk *chunk, uint8_t *const buffers[2], struct compare_finding *finding)
{
    uint64_t end = chunk->offset + chunk->length;

    for (uint64_t at = chunk->offset; at < end; at += PIECE)
        if (!compare_piece(chunk, at, (size_t)img_min(PIECE, end - at), buffers, finding))
            return false;
    return true;
}

/* ---- Workers ---------------------------------------------------------------------------------- */

struct worker {
    struct walk *walk;
    uint8_t *buffers[2];
};

static int prepare(void *argument)
{
    struct worker *worker = argument;

    for (unsigned side = 0; side < 2; side++) {
        void *buffer;

        if (posix_memalign(&buffer, BUFFER_ALIGNMENT, PIECE))
            return -ENOMEM;
        worker->buffers[side] = buffer;
    }
    return 0;
}

static void *work(void *argument)
{
    const struct worker *worker = argument;
    struct walk *w = worker->walk;
    struct chunk chunk;
    uint64_t number;

    pthread_mutex_lock(&w->lock);
    while (take(w, &chunk, &number)) {
        struct compare_finding finding;
        bool equal;

        pthread_mutex_unlock(&w->lock);
        equal = compare_chunk(&chunk, worker->buffers, &finding);
        pthread_mutex_lock(&w->lock);
        if (!equal)
            found(w, &finding);
        w->finished[number % RING] = true;
        commit(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static unsigned worker_count(const struct compare *what)
{
    uint64_t useful = (what->end - what->start) / (2 * CHUNK) + 1;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t near = img_min(processors > 0 ? (uint64_t)processors : 1, WORKERS);
    struct img_reach reach = { 0 };

    img_reach_add(&reach, what->images[0]);
    img_reach_add(&reach, what->images[1]);
    /* What is read forward is not read by several that are not in step. */
    if (reach.forward)
        return 1;
    return (unsigned)img_min(img_max(near, img_min(reach.requests, FAR_WORKERS)), useful);
}

struct compare_finding compare_images(const struct compare *what)
{
    struct walk w = { .what = what, .lock = PTHREAD_MUTEX_INITIALIZER,
                      .committed_more = PTHREAD_COND_INITIALIZER, .cursor = what->start };
    struct worker workers[FAR_WORKERS] = { 0 };
    const struct img_team team = { .workers = workers, .count = worker_count(what),
                                   .size = sizeof *workers, .stack = STACK, .prepare = prepare, .work = work };
    int ret;

    for (unsigned i = 0; i < team.count; i++)
        workers[i].walk = &w;
    ret = img_team_run(&team);
    if (ret < 0)
        w.finding = (struct compare_finding){ COMPARE_READ_FAILED, what->start, 0, -ret };
    for (unsigned i = 0; i < team.count; i++) {
        free(workers[i].buffers[0]);
        free(workers[i].buffers[1]);
    }
    pthread_cond_destroy(&w.committed_more);
    pthread_mutex_destroy(&w.lock);
    return w.finding;
}
