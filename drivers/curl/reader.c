/* SPDX-License-Identifier: MIT */
/*
 * Pieces of the file in memory.  A reader that finds no piece with its byte queues one, and fetching threads fill the
 * pieces.  While the reads are in sequence, pieces are asked for ahead: as much as was read in sequence before, so a
 * reader that jumps about fetches little more than it needs, and one that goes forward keeps all connections busy.
 */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The least that is fetched, the most that is asked for ahead of a reader; what is read when the file is opened. */
enum { LEAST = 64 << 10, MOST_AHEAD = 48 << 20, FIRST_BYTES = 32 << 10 };
/* How often a reader that waits looks whether the job is ending, in nanoseconds. */
enum { LOOK_EVERY = 50 * 1000 * 1000 };

/* ---- Pieces.  The caller holds the lock ---------------------------------------------------- */

static bool covers(const struct curl_piece *piece, uint64_t position)
{
    return piece->state != CURL_EMPTY && piece->state != CURL_BROKEN && position >= piece->start &&
           position - piece->start < piece->length;
}

static struct curl_piece *piece_at(struct curl_reader *reader, uint64_t position)
{
    for (unsigned i = 0; i < CURL_PIECES; i++)
        if (covers(&reader->pieces[i], position))
            return &reader->pieces[i];
    return NULL;
}

/* A broken piece that somebody waits for, so that it learns of the error. */
static struct curl_piece *ending_at(struct curl_reader *reader, uint64_t position)
{
    for (unsigned i = 0; i < CURL_PIECES; i++) {
        struct curl_piece *piece = &reader->pieces[i];
        if (piece->state != CURL_EMPTY && piece->state != CURL_BROKEN && piece->start + piece->length == position)
            return piece;
    }
    return NULL;
}

/* The piece that may be dropped first; NULL: all are in use. */
static struct curl_piece *spare_piece(struct curl_reader *reader)
{
    struct curl_piece *best = NULL;

    for (unsigned i = 0; i < CURL_PIECES; i++) {
        struct curl_piece *piece = &reader->pieces[i];
        if (piece->users || piece->state == CURL_QUEUED || piece->state == CURL_RUNNING)
            continue;
        if (piece->state == CURL_EMPTY || piece->state == CURL_BROKEN)
            return piece;
        if (!best || piece->used < best->used)
            best = piece;
    }
    return best;
}

/* Up to where from `start` there is no piece, `length` at most. */
static uint64_t free_length(struct curl_reader *reader, uint64_t start, uint64_t length)
{
    length = img_min(length, reader->version.size - start);
    for (unsigned i = 0; i < CURL_PIECES; i++) {
        const struct curl_piece *piece = &reader->pieces[i];
        if (piece->state != CURL_EMPTY && piece->state != CURL_BROKEN && piece->start > start)
            length = img_min(length, piece->start - start);
    }
    return length;
}

/* Queue a piece at `start`, of `length` bytes or up to the next one. */
static void queue(struct curl_reader *reader, struct curl_piece *piece, uint64_t start, uint64_t length, uint64_t run,
                  bool ahead)
{
    piece->state = CURL_QUEUED;
    piece->start = start;
    piece->length = free_length(reader, start, img_min(length, CURL_PIECE));
    piece->have = 0;
    piece->needed = UINT64_MAX;
    piece->run = run;
    piece->used = ++reader->clock;
    piece->ahead = ahead;
    piece->error = 0;
    curl_fetchers_grow(reader);
    pthread_cond_signal(&reader->wanted);
}

/* How long a piece behind so much that was read in sequence should be. */
static uint64_t usual_length(const struct curl_reader *reader, uint64_t run)
{
    return run == 0 ? img_min(LEAST, reader->source->read_ahead)
                    : img_max(img_min(run, CURL_PIECE), reader->source->read_ahead);
}

/* What the reader needs next. */
static struct curl_piece *queue_wanted(struct curl_reader *reader, uint64_t position, size_t length)
{
    struct curl_piece *piece = spare_piece(reader), *before = ending_at(reader, position);
    uint64_t run = before ? before->run + before->length : 0;

    if (piece)
        queue(reader, piece, position, img_max(length, usual_length(reader, run)), run, false);
    return piece;
}

/* Keep as much on its way as was read in sequence before `position`, which is in `piece`. */
static void queue_ahead(struct curl_reader *reader, struct curl_piece *piece, uint64_t position)
{
    uint64_t run = piece->run, end = piece->start + piece->length, most = img_min(run, MOST_AHEAD);

    if (reader->source->read_ahead == 0)
        return;
    while (end < reader->version.size && end - position < most) {
        struct curl_piece *next = piece_at(reader, end);
        if (!next) {
            next = spare_piece(reader);
            /* (a piece that was fetched ahead and not read yet is not dropped for another one) */
            if (!next || (next->state == CURL_COMPLETE && next->ahead))
                return;
            queue(reader, next, end, usual_length(reader, run), run + piece->length, true);
        }
        piece = next;
        run = piece->run;
        end = piece->start + piece->length;
    }
}

/* ---- Reading ------------------------------------------------------------------------------------- */

static bool is_ending(int stop)
{
    struct pollfd fd = { .fd = stop, .events = POLLIN };

    return stop >= 0 && poll(&fd, 1, 0) > 0;
}

/* Release the lock until `change` is signalled, or for a short time. */
static int wait_for(struct curl_reader *reader, pthread_cond_t *change, int stop)
{
    struct timespec until;

    if (is_ending(stop))
        return -ECANCELED;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_EVERY;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(change, &reader->lock, &until);
    return 0;
}

static int wait_for_piece(struct curl_reader *reader, int stop)
{
    int ret;

    reader->waiting++;
    ret = wait_for(reader, &reader->freed, stop);
    reader->waiting--;
    return ret;
}

/*
 * Wait until the piece, which has this reader as a user, has `need` bytes.  `needed` is written before `have` is read,
 * here, and the other way round in curl_piece_arrived: one of the two sees the other.
 */
static int wait_for_bytes(struct curl_reader *reader, struct curl_piece *piece, uint64_t need, int stop)
{
    int ret = 0;

    for (;;) {
        if (piece->needed > need)
            __atomic_store_n(&piece->needed, need, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&piece->have, __ATOMIC_SEQ_CST) >= need)
            return 0;
        if (piece->state == CURL_BROKEN)
            return piece->error;
        ret = wait_for(reader, &piece->arrived, stop);
        if (ret < 0)
            return ret;
    }
}

void curl_piece_arrived(struct curl_reader *reader, struct curl_piece *piece, size_t length)
{
    uint64_t have = piece->have + length;

    __atomic_store_n(&piece->have, have, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&piece->needed, __ATOMIC_SEQ_CST) > have)
        return;
    pthread_mutex_lock(&reader->lock);
    __atomic_store_n(&piece->needed, UINT64_MAX, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&piece->arrived);
    pthread_mutex_unlock(&reader->lock);
}

void curl_piece_ended(struct curl_reader *reader, struct curl_piece *piece, int error)
{
    piece->error = error;
    piece->state = error ? CURL_BROKEN : CURL_COMPLETE;
    pthread_cond_broadcast(&piece->arrived);
    if (reader->waiting)
        pthread_cond_broadcast(&reader->freed);
}

static void leave(struct curl_reader *reader, struct curl_piece *piece)
{
    if (--piece->users == 0 && reader->waiting)
        pthread_cond_broadcast(&reader->freed);
}

/* Copy some bytes at `position`; returns their number, 0 (try again), or a negative errno.  The caller holds the lock,
 * which is released while bytes are copied. */
static int64_t read_some(struct curl_reader *reader, char *buffer, uint64_t position, size_t length, int stop)
{
    struct curl_piece *piece = piece_at(reader, position);
    uint64_t start;
    size_t part;
    int ret;

    if (!piece)
        piece = queue_wanted(reader, position, length);
    if (!piece)
        return wait_for_piece(reader, stop);
    piece->users++;
    piece->used = ++reader->clock;
    piece->ahead = false;
    queue_ahead(reader, piece, position);
    start = position - piece->start;
    part = (size_t)img_min(length, piece->length - start);
    ret = wait_for_bytes(reader, piece, start + part, stop);
    if (ret == 0) {
        pthread_mutex_unlock(&reader->lock);
        memcpy(buffer, piece->bytes + start, part);
        pthread_mutex_lock(&reader->lock);
    }
    leave(reader, piece);
    return ret < 0 ? ret : (int64_t)part;
}

int curl_reader_read(struct curl_reader *reader, char *buffer, uint64_t offset, size_t length, int stop)
{
    int64_t ret = 0;

    pthread_mutex_lock(&reader->lock);
    while (ret >= 0 && length > 0) {
        ret = read_some(reader, buffer, offset, length, stop);
        if (ret > 0) {
            buffer += ret;
            offset += (uint64_t)ret;
            length -= (size_t)ret;
        }
    }
    pthread_mutex_unlock(&reader->lock);
    return ret < 0 ? (int)ret : 0;
}

/* ---- Beginning and end --------------------------------------------------------------------------- */

/* The first piece is what was read to find out about the file. */
static int look(struct curl_reader *reader, struct img_error *err)
{
    struct curl_piece *first = &reader->pieces[0];
    struct curl_connection connection;
    size_t have;
    int ret = curl_connection_open(&connection, reader->source);

    if (ret < 0)
        return img_error_memory(err);
    ret = curl_look(&connection, reader->source, &reader->place, &reader->version, first->bytes, FIRST_BYTES, &have,
                    err);
    curl_connection_close(&connection);
    if (ret == 0 && have) {
        first->state = CURL_COMPLETE;
        first->length = first->have = have;
    }
    return ret;
}

int curl_reader_start(struct curl_reader *reader, const struct curl_source *source, struct img_error *err)
{
    int ret;

    *reader = (struct curl_reader){ .source = source, .memory = img_malloc((size_t)CURL_PIECE * CURL_PIECES) };
    if (!reader->memory)
        return img_error_memory(err);
    for (size_t i = 0; i < CURL_PIECES; i++)
        reader->pieces[i].bytes = reader->memory + i * CURL_PIECE;
    curl_place_init(&reader->place, source->address);
    ret = look(reader, err);
    if (ret < 0) {
        curl_place_end(&reader->place);
        free(reader->memory);
        return ret;
    }
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->freed, NULL);
    for (size_t i = 0; i < CURL_PIECES; i++)
        pthread_cond_init(&reader->pieces[i].arrived, NULL);
    pthread_cond_init(&reader->wanted, NULL);
    return 0;
}

void curl_reader_end(struct curl_reader *reader)
{
    curl_fetchers_end(reader);
    pthread_cond_destroy(&reader->wanted);
    for (size_t i = 0; i < CURL_PIECES; i++)
        pthread_cond_destroy(&reader->pieces[i].arrived);
    pthread_cond_destroy(&reader->freed);
    pthread_mutex_destroy(&reader->lock);
    curl_place_end(&reader->place);
    free(reader->memory);
}
