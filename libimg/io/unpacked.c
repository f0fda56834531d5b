/* SPDX-License-Identifier: MIT */
/*
 * unpacked.c - reads a compressed storage (see unpacked.h).
 *
 * The content is read in chunks.  A slot holds a chunk, or marks it as being decoded.  A runner is a decoder and the
 * place that it has reached; while it runs, the place that it will have reached when it is done, so that others know
 * what to wait for.  All of this is under one lock, which is released while bytes are decoded or copied.
 */
#include "unpacked.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

enum { CHUNK = 512 << 10, SLOTS = 64, RUNNERS = 16 };
/* A decoder that must pass over chunks keeps the last of them: others may be about to read them. */
enum { KEPT_BEFORE = 8 };
/* How far ahead a waiting thread works, in chunks: what is decoded must find a slot. */
enum { AHEAD = SLOTS - KEPT_BEFORE };
/* Where content goes that nobody wants. */
enum { WASTE = 64 << 10 };

enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_READY };

struct slot {
    enum slot_state state;
    uint64_t chunk, stamp;
    unsigned readers, waiting;      /* threads that copy from it, and that will when it is ready */
    int error;                      /* READY: this instead of bytes.  Finding out again may take long */
    unsigned char *bytes;
};

struct runner {
    void *decoder;
    unsigned char *waste;
    uint64_t at, stamp;
    size_t opened;                  /* the segment that the decoder is in; of the thread that runs it */
    bool live, busy;
};

struct img_unpacked {
    struct img *image;
    struct img_unpacking how;
    struct img_segments segments;
    unsigned processors, runner_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t clock;
    struct slot slots[SLOTS];
    struct runner runners[RUNNERS];
};

struct img_unpacked *img_unpacked_new(struct img *image, const struct img_unpacking *how,
                                      struct img_segments *segments)
{
    struct img_unpacked *u = img_calloc(1, sizeof *u);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (!u) {
        img_segments_free(segments);
        return NULL;
    }
    image->limits.request_alignment = image->limits.memory_alignment = 1;
    image->limits.opt_transfer = image->limits.max_transfer = image->limits.max_hw_transfer = 0;
    image->limits.requests = 0;
    image->limits.round_trip = false;
    u->image = image;
    u->how = *how;
    u->segments = *segments;
    *segments = (struct img_segments){ 0 };
    u->processors = (unsigned)img_max(1, img_min(RUNNERS - 1, processors > 0 ? (uint64_t)processors : 1));
    u->runner_count = u->processors + 1;
    if (how->decoders)
        u->runner_count = (unsigned)img_min(u->runner_count, how->decoders);
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->changed, NULL);
    return u;
}

void img_unpacked_free(struct img_unpacked *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(u->slots[i].bytes);
    for (size_t i = 0; i < RUNNERS; i++) {
        u->how.end(u->runners[i].decoder);
        free(u->runners[i].waste);
    }
    img_segments_free(&u->segments);
    pthread_cond_destroy(&u->changed);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- Places --------------------------------------------------------------------- */

/* The segment that this byte of the content is in; of several that begin there, the last. */
static size_t segment_at(const struct img_unpacked *u, uint64_t at)
{
    size_t low = 0, high = u->segments.count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (u->segments.at[middle].plain <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t segment_end(const struct img_unpacked *u, size_t segment)
{
    return segment + 1 < u->segments.count ? u->segments.at[segment + 1].plain : u->image->size;
}

static uint64_t chunk_end(const struct img_unpacked *u, uint64_t chunk)
{
    return img_min((chunk + 1) * CHUNK, u->image->size);
}

/* ---- Slots ---------------------------------------------------------------------- */

static struct slot *find_slot(struct img_unpacked *u, uint64_t chunk)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (u->slots[i].state != SLOT_FREE && u->slots[i].chunk == chunk)
            return &u->slots[i];
    return NULL;
}

/* A slot for `chunk`: a free one, else that of a chunk before `limit` that was not used for the longest time. */
static struct slot *claim_slot(struct img_unpacked *u, uint64_t chunk, uint64_t limit)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &u->slots[i];
        if (slot->state == SLOT_BUSY || slot->readers || slot->waiting)
            continue;
        if (slot->state == SLOT_READY && slot->chunk >= limit)
            continue;
        if (!best || slot->state < best->state || (slot->state == best->state && slot->stamp < best->stamp))
            best = slot;
    }
    if (best) {
        best->state = SLOT_BUSY;
        best->chunk = chunk;
        best->error = 0;
    }
    return best;
}

static void settle_slot(struct img_unpacked *u, struct slot *slot, enum slot_state state)
{
    slot->state = state;
    slot->stamp = ++u->clock;
    pthread_cond_broadcast(&u->changed);
}

static void copy_out(struct img_unpacked *u, struct slot *slot, size_t from, void *buffer, size_t length)
{
    slot->readers++;
    slot->stamp = ++u->clock;
    pthread_mutex_unlock(&u->lock);
    memcpy(buffer, slot->bytes + from, length);
    pthread_mutex_lock(&u->lock);
    if (--slot->readers == 0)
        pthread_cond_broadcast(&u->changed);
}

/* ---- Runners ---------------------------------------------------------------------- */

/* The runner that is, or will be, the least distance before `at`, with no start of a segment between. */
static struct runner *runner_before(struct img_unpacked *u, uint64_t at)
{
    size_t segment = segment_at(u, at);
    struct runner *best = NULL;

    for (size_t i = 0; i < u->runner_count; i++) {
        struct runner *runner = &u->runners[i];
        if (runner->live && runner->at <= at && runner->at >= u->segments.at[segment].plain &&
            (!best || runner->at > best->at || (runner->at == best->at && best->busy)))
            best = runner;
    }
    return best;
}

/* Will somebody soon need it, where reading has come to the byte `from`, and works ahead up to `to`? */
static bool is_needed(struct img_unpacked *u, const struct runner *runner, uint64_t from, uint64_t to)
{
    return runner->live && runner->at >= from && runner->at < to && !find_slot(u, runner->at / CHUNK);
}

/* A runner to start anew: one that was never used, else the one that was not used for the longest time.  NULL: none. */
static struct runner *spare_runner(struct img_unpacked *u, uint64_t from, uint64_t to)
{
    struct runner *best = NULL;

    for (size_t i = 0; i < u->runner_count; i++) {
        struct runner *runner = &u->runners[i];
        if (runner->busy || is_needed(u, runner, from, to))
            continue;
        if (!best || runner->live < best->live || (runner->live == best->live && runner->stamp < best->stamp))
            best = runner;
    }
    return best;
}

static unsigned busy_runners(const struct img_unpacked *u)
{
    unsigned busy = 0;

    for (size_t i = 0; i < u->runner_count; i++)
        busy += u->runners[i].busy;
    return busy;
}

/* Decode [at, at + length) with a runner that is there; from segment to segment. */
static int run(struct img_unpacked *u, struct runner *runner, uint64_t at, unsigned char *to, uint64_t length)
{
    while (length > 0) {
        size_t segment = segment_at(u, at);
        const struct img_segment *start = &u->segments.at[segment];
        uint64_t end = segment_end(u, segment);
        size_t part = (size_t)img_min(length, end - at);
        int ret = 0;
        if (runner->opened != segment)
            ret = u->how.start(u->image, &runner->decoder, start, end - start->plain);
        runner->opened = segment;
        if (ret == 0)
            ret = u->how.run(u->image, runner->decoder, to, part);
        if (ret < 0)
            return ret;
        at += part;
        to += part;
        length -= part;
    }
    return 0;
}

/* Go forward without keeping what is decoded. */
static int pass_over(struct img_unpacked *u, struct runner *runner, uint64_t at, uint64_t to)
{
    int ret = 0;

    if (!runner->waste && !(runner->waste = img_malloc(WASTE)))
        return -ENOMEM;
    for (; ret == 0 && at < to; at += img_min(WASTE, to - at))
        ret = run(u, runner, at, runner->waste, img_min(WASTE, to - at));
    return ret;
}

/* What one call of decode() has to do. */
struct task {
    struct runner *runner;
    bool anew;                      /* the runner begins at the start of a segment */
    uint64_t at, target;            /* from this byte on, up to the end of this chunk */
    unsigned char *whole;           /* where the target is wanted; NULL: in its slot */
    struct slot *claimed[KEPT_BEFORE + 1];
    size_t count;
};

static struct slot *claimed_for(const struct task *task, uint64_t chunk)
{
    for (size_t i = 0; i < task->count; i++)
        if (task->claimed[i] && task->claimed[i]->chunk == chunk)
            return task->claimed[i];
    return NULL;
}

/* Claim slots for the chunks before the target that the runner passes, as far as there are any.  The target's is
 * claimed. */
static void claim_passed(struct img_unpacked *u, struct task *task)
{
    uint64_t first = img_div_up(task->at, CHUNK), chunk = task->target;
    uint64_t limit = chunk > KEPT_BEFORE ? chunk - KEPT_BEFORE : 0;

    while (task->count <= KEPT_BEFORE && chunk-- > first) {
        struct slot *slot = find_slot(u, chunk) ? NULL : claim_slot(u, chunk, limit);
        if (slot)
            task->claimed[task->count++] = slot;
        else
            break;
    }
}

/* Decode one chunk, all of which is wanted. */
static int decode_chunk(struct img_unpacked *u, const struct task *task, struct slot *slot, uint64_t at)
{
    bool direct = task->whole && slot->chunk == task->target;
    uint64_t length = chunk_end(u, slot->chunk) - at;
    unsigned waiting;
    int ret;

    if (!direct && !slot->bytes && !(slot->bytes = img_malloc(CHUNK)))
        return -ENOMEM;
    ret = run(u, task->runner, at, direct ? task->whole : slot->bytes, length);
    if (ret < 0)
        return ret;
    LOCK_SCOPE(&u->lock);
    waiting = slot->waiting;
    /* Others that wait for it could not get it again without decoding from the start. */
    if (direct && waiting && (slot->bytes || (slot->bytes = img_malloc(CHUNK))))
        memcpy(slot->bytes, task->whole, length);
    settle_slot(u, slot, direct && !(waiting && slot->bytes) ? SLOT_FREE : SLOT_READY);
    return 0;
}

/* Holds the lock, and releases it while decoding. */
static int decode(struct img_unpacked *u, struct task *task)
{
    struct runner *runner = task->runner;
    uint64_t end = chunk_end(u, task->target), at;
    int ret = 0;

    claim_passed(u, task);
    if (task->anew)
        runner->opened = SIZE_MAX;
    runner->live = runner->busy = true;
    runner->at = end;
    pthread_mutex_unlock(&u->lock);
    for (at = task->at; ret == 0 && at < end; at = chunk_end(u, at / CHUNK)) {
        struct slot *slot = at % CHUNK ? NULL : claimed_for(task, at / CHUNK);
        ret = slot ? decode_chunk(u, task, slot, at) : pass_over(u, runner, at, chunk_end(u, at / CHUNK));
        for (size_t i = 0; slot && ret == 0 && i < task->count; i++)
            if (task->claimed[i] == slot)
                task->claimed[i] = NULL;
    }
    pthread_mutex_lock(&u->lock);
    runner->busy = false;
    runner->live = ret == 0;
    runner->stamp = ++u->clock;
    for (size_t i = 0; i < task->count; i++) {
        struct slot *slot = task->claimed[i];
        if (!slot)
            continue;
        slot->error = ret == -EIO && slot->chunk == task->target ? ret : 0;
        settle_slot(u, slot, slot->error ? SLOT_READY : SLOT_FREE);
    }
    pthread_cond_broadcast(&u->changed);
    return ret;
}

/* ---- Working ahead --------------------------------------------------------------------- */

/* Can this chunk be decoded now, at little cost?  Then *task has a runner and where it begins. */
static bool is_near(struct img_unpacked *u, uint64_t chunk, uint64_t from, struct task *task)
{
    uint64_t at = chunk * CHUNK, start = u->segments.at[segment_at(u, at)].plain;
    struct runner *runner = runner_before(u, at);

    if (runner && (runner->busy || at - runner->at >= CHUNK))
        return false;
    if (!runner && at - start >= CHUNK)
        return false;
    task->at = runner ? runner->at : start;
    task->anew = !runner;
    task->runner = runner ? runner : spare_runner(u, from, at + CHUNK);
    return task->runner != NULL;
}

/* While another thread decodes what this one needs from `chunk` on, decode something later.  False: nothing was done,
 * and the lock was held all the time. */
static bool work_ahead(struct img_unpacked *u, uint64_t chunk)
{
    uint64_t chunks = img_div_up(u->image->size, CHUNK), last = img_min(chunk + AHEAD, chunks);
    uint64_t from = u->segments.at[segment_at(u, chunk * CHUNK)].plain;
    struct task task = { 0 };

    if (busy_runners(u) >= u->processors)
        return false;
    for (uint64_t next = chunk + 1; next < last; next++) {
        if (find_slot(u, next) || !is_near(u, next, from, &task))
            continue;
        task.target = next;
        task.claimed[0] = claim_slot(u, next, chunk);
        task.count = 1;
        if (!task.claimed[0])
            return false;
        decode(u, &task);
        return true;
    }
    return false;
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* Wait until something changes, or do something useful. */
static void wait_for(struct img_unpacked *u, uint64_t chunk, struct slot *slot)
{
    if (slot)
        slot->waiting++;
    if (!work_ahead(u, chunk) && (!slot || slot->state == SLOT_BUSY))
        pthread_cond_wait(&u->changed, &u->lock);
    if (slot)
        slot->waiting--;
}

/* Find who decodes the chunk.  False: that must wait. */
static bool plan(struct img_unpacked *u, uint64_t chunk, struct task *task)
{
    uint64_t at = chunk * CHUNK;
    struct runner *runner = runner_before(u, at);

    if (runner && runner->busy)
        return false;
    *task = (struct task){ .target = chunk, .at = runner ? runner->at : u->segments.at[segment_at(u, at)].plain };
    task->anew = !runner;
    task->runner = runner ? runner : spare_runner(u, 0, 0);
    if (!task->runner)
        return false;
    /* What was read already goes first, then what was decoded ahead. */
    task->claimed[0] = claim_slot(u, chunk, chunk);
    if (!task->claimed[0])
        task->claimed[0] = claim_slot(u, chunk, UINT64_MAX);
    task->count = 1;
    return task->claimed[0] != NULL;
}

static int read_chunk(struct img_unpacked *u, uint64_t chunk, size_t from, unsigned char *buffer, size_t length)
{
    bool whole = chunk * CHUNK + length == chunk_end(u, chunk);
    struct task task;
    int ret;

    LOCK_SCOPE(&u->lock);
    for (;;) {
        struct slot *slot = find_slot(u, chunk);
        if (slot && slot->state == SLOT_READY && slot->error)
            return slot->error;
        if (slot && slot->state == SLOT_READY) {
            copy_out(u, slot, from, buffer, length);
            return 0;
        }
        if (slot || !plan(u, chunk, &task)) {
            wait_for(u, chunk, slot);
            continue;
        }
        slot = task.claimed[0];
        task.whole = whole ? buffer : NULL;
        slot->waiting += !whole;    /* then nobody takes it before its content was copied */
        ret = decode(u, &task);
        if (ret == 0 && !whole)
            copy_out(u, slot, from, buffer, length);
        slot->waiting -= !whole;
        return ret;
    }
}

int img_unpacked_read(struct img_unpacked *u, void *buffer, uint64_t offset, size_t length)
{
    unsigned char *to = buffer;
    int ret = 0;

    while (ret == 0 && length > 0) {
        size_t from = (size_t)(offset % CHUNK), part = (size_t)img_min(length, CHUNK - from);
        ret = read_chunk(u, offset / CHUNK, from, to, part);
        to += part;
        offset += part;
        length -= part;
    }
    return ret;
}
