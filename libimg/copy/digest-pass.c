/* SPDX-License-Identifier: MIT */
/*
 * digest-pass.c - the digest of the copied content, computed from the data that the copy
 * has read anyway.
 *
 * Windows are hashed in guest order, in a separate turn before the turn to write: while one
 * worker hashes, others read, encode and write.  The segments of a tree are hashed by the workers
 * in parallel; only their digests wait for the turn.
 */
#include "internal.h"
#include "digest.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

int copy_digest_prepare(struct copy_worker *worker)
{
    const struct copy_job *job = worker->job;

    if (!job->what->digest || !img_digest_is_tree(job->what->digest))
        return 0;
    worker->segment = img_segment_new(job->what->digest);
    worker->segment_digests = calloc(job->window_size / IMG_DIGEST_SEGMENT, IMG_HASH_MAX);
    return worker->segment && worker->segment_digests ? 0 : -ENOMEM;
}

void copy_digest_release(struct copy_worker *worker)
{
    img_segment_free(worker->segment);
    free(worker->segment_digests);
}

static int take_turn(struct copy_job *job, const struct copy_window *window)
{
    LOCK_SCOPE(&job->turn_lock);
    while (!copy_cancelled(job, window) && job->digest_turn != window->sequence)
        pthread_cond_wait(&job->turn_changed, &job->turn_lock);
    return copy_cancelled(job, window) ? -ECANCELED : 0;
}

static void give_turn(struct copy_job *job)
{
    LOCK_SCOPE(&job->turn_lock);
    job->digest_turn++;
    pthread_cond_broadcast(&job->turn_changed);
}

/* ---- Holes of the target ------------------------------------------------------------ */

/* With top_layer_only there is one source, and its chain has the data that is not copied. */
static int read_below(struct copy_job *job, void *buffer, uint64_t offset, uint64_t length)
{
    int ret = img_pread(job->what->sources[0], buffer, offset, length);

    return ret < 0 ? copy_fail(job, IMG_COPY_READING, offset, ret) : 0;
}

static int fill_holes(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    int ret = 0;

    for (size_t i = 0; i < spans->count && ret == 0; i++) {
        const struct span *span = &spans->at[i];
        if (span->kind == IMG_HOLE && worker->job->what->top_layer_only)
            ret = read_below(worker->job, worker->buffer + (span->offset - window->offset), span->offset, span->length);
    }
    return ret;
}

/* A long hole, in its turn: find the ranges that the chain below does not allocate either. */
static int digest_hole(struct copy_worker *worker, uint64_t offset, uint64_t length)
{
    struct copy_job *job = worker->job;
    struct img_digest *digest = job->what->digest;
    uint64_t end = offset + length;

    while (offset < end) {
        struct img_extent extent;
        int ret = img_map_chain(job->what->sources[0], NULL, offset, end - offset, &extent);
        uint64_t n = extent.length;
        if (ret < 0)
            return copy_fail(job, IMG_COPY_MAPPING, offset, ret);
        if (extent.kind == IMG_HOLE || extent.kind == IMG_ZERO) {
            img_digest_add_zeroes(digest, n);
        } else {
            n = img_min(n, job->window_size);
            ret = read_below(job, worker->buffer, offset, n);
            if (ret < 0)
                return ret;
            img_digest_add(digest, worker->buffer, n);
        }
        offset += n;
    }
    return 0;
}

/* ---- Windows ---------------------------------------------------------------------------- */

/* The bytes of a span, or NULL for zeroes. */
static const unsigned char *span_bytes(const struct copy_worker *worker, const struct copy_window *window,
                                       const struct span *span)
{
    bool there = span->kind == IMG_DATA || (span->kind == IMG_HOLE && worker->job->what->top_layer_only);

    return there ? worker->buffer + (span->offset - window->offset) : NULL;
}

static void hash_segment(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                         uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < spans->count; i++) {
        const struct span *span = &spans->at[i];
        const unsigned char *bytes = span_bytes(worker, window, span);
        uint64_t start = img_max(span->offset, from), end = img_min(span->offset + span->length, to);
        if (start >= end)
            continue;
        if (bytes)
            img_segment_add(worker->segment, bytes + (start - span->offset), end - start);
        else
            img_segment_add_zeroes(worker->segment, end - start);
    }
}

/* `padding`: zeroes after the window, up to a whole sector. */
static int digest_tree(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                       uint64_t padding)
{
    struct copy_job *job = worker->job;
    uint64_t end = window->offset + window->length;
    uint8_t *result = worker->segment_digests;

    for (uint64_t at = window->offset; at < end; at += IMG_DIGEST_SEGMENT, result += IMG_HASH_MAX) {
        hash_segment(worker, window, spans, at, at + IMG_DIGEST_SEGMENT);
        if (end - at <= IMG_DIGEST_SEGMENT)
            img_segment_add_zeroes(worker->segment, padding);
        img_segment_finish(worker->segment, result);
    }
    if (take_turn(job, window) < 0)
        return -ECANCELED;
    result = worker->segment_digests;
    for (uint64_t at = window->offset; at < end; at += IMG_DIGEST_SEGMENT, result += IMG_HASH_MAX)
        img_digest_add_segment(job->what->digest, result, img_min(end + padding - at, IMG_DIGEST_SEGMENT));
    give_turn(job);
    return 0;
}

static int digest_plain(struct copy_worker *worker, const struct copy_window *window, const struct spans *spans,
                        uint64_t padding)
{
    struct copy_job *job = worker->job;

    if (take_turn(job, window) < 0)
        return -ECANCELED;
    for (size_t i = 0; i < spans->count; i++) {
        const unsigned char *bytes = span_bytes(worker, window, &spans->at[i]);
        if (bytes)
            img_digest_add(job->what->digest, bytes, spans->at[i].length);
        else
            img_digest_add_zeroes(job->what->digest, spans->at[i].length);
    }
    img_digest_add_zeroes(job->what->digest, padding);
    give_turn(job);
    return 0;
}

static int digest_uniform(struct copy_worker *worker, const struct copy_window *window)
{
    struct copy_job *job = worker->job;
    int ret = take_turn(job, window);

    if (ret < 0)
        return ret;
    if (window->first.kind == IMG_HOLE && job->what->top_layer_only)
        ret = digest_hole(worker, window->offset, window->length);
    else
        img_digest_add_zeroes(job->what->digest, window->length);
    if (ret == 0)
        give_turn(job);
    return ret;
}

int copy_digest_window(struct copy_worker *worker, const struct copy_window *window, struct spans *spans)
{
    struct img_digest *digest = worker->job->what->digest;
    uint64_t padding;
    int ret;

    if (!digest)
        return 0;
    if (window->uniform)
        return digest_uniform(worker, window);
    /* A stream is padded to whole sectors, like the size of an image. */
    padding = window->streamed ? img_align_up(window->length, SECTOR) - window->length : 0;
    ret = fill_holes(worker, window, spans);
    if (ret < 0)
        return ret;
    if (img_digest_is_tree(digest))
        return digest_tree(worker, window, spans, padding);
    return digest_plain(worker, window, spans, padding);
}
