/* SPDX-License-Identifier: MIT */
/* The threads that fetch pieces, each over a connection of its own. */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/thread.h"
#include <stdlib.h>
#include <string.h>

/* libcurl and its TLS library use the stack. */
enum { STACK = 512 << 10 };

struct curl_fetcher {
    struct curl_reader *reader;
    struct curl_connection connection;
    struct curl_piece *piece;
    pthread_t thread;
};

/* ---- A piece ------------------------------------------------------------------------------- */

static bool take(void *context, uint64_t position, const void *bytes, size_t length)
{
    struct curl_fetcher *fetcher = context;
    struct curl_piece *piece = fetcher->piece;

    memcpy(piece->bytes + (position - piece->start), bytes, length);
    curl_piece_arrived(fetcher->reader, piece, length);
    return true;
}

static bool abandoned(void *context)
{
    return __atomic_load_n(&((struct curl_fetcher *)context)->reader->closing, __ATOMIC_RELAXED);
}

/* Readers get an errno; why, is told once. */
static int explain(struct curl_fetcher *fetcher, enum curl_outcome outcome)
{
    if (outcome == CURL_ENDED)
        return -ECANCELED;
    if (!__atomic_exchange_n(&fetcher->reader->told, true, __ATOMIC_RELAXED))
        curl_explain(fetcher->reader->source, &fetcher->connection, outcome);
    return -EIO;
}

static void fetch(struct curl_fetcher *fetcher)
{
    struct curl_reader *reader = fetcher->reader;
    struct curl_piece *piece = fetcher->piece;
    struct curl_request request = { .source = reader->source, .offset = piece->start, .length = piece->length,
                                    .expected = &reader->version, .take = take, .abandoned = abandoned,
                                    .context = fetcher };
    enum curl_outcome outcome = curl_request_retry(&fetcher->connection, &reader->place, &request);
    int error = outcome == CURL_DONE ? 0 : explain(fetcher, outcome);

    pthread_mutex_lock(&reader->lock);
    curl_piece_ended(reader, piece, error);
    pthread_mutex_unlock(&reader->lock);
}

/* ---- Threads ---------------------------------------------------------------------------------- */

/* The oldest piece that somebody waits for, or else the oldest. */
static struct curl_piece *next_piece(struct curl_reader *reader)
{
    struct curl_piece *best = NULL;

    for (unsigned i = 0; i < CURL_PIECES; i++) {
        struct curl_piece *piece = &reader->pieces[i];
        if (piece->state != CURL_QUEUED)
            continue;
        if (!best || (best->ahead && !piece->ahead) || (best->ahead == piece->ahead && piece->used < best->used))
            best = piece;
    }
    return best;
}

static void *work(void *context)
{
    struct curl_fetcher *fetcher = context;
    struct curl_reader *reader = fetcher->reader;

    pthread_mutex_lock(&reader->lock);
    while (!reader->closing) {
        fetcher->piece = next_piece(reader);
        if (!fetcher->piece) {
            reader->idle++;
            pthread_cond_wait(&reader->wanted, &reader->lock);
            reader->idle--;
            continue;
        }
        fetcher->piece->state = CURL_RUNNING;
        pthread_mutex_unlock(&reader->lock);
        fetch(fetcher);
        pthread_mutex_lock(&reader->lock);
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

static int start(struct curl_reader *reader, struct curl_fetcher *fetcher)
{
    int ret;

    fetcher->reader = reader;
    ret = curl_connection_open(&fetcher->connection, reader->source);
    if (ret < 0)
        return ret;
    ret = img_thread_start(&fetcher->thread, STACK, work, fetcher);
    if (ret < 0)
        curl_connection_close(&fetcher->connection);
    return ret;
}

/* Nobody can fetch: readers must not wait. */
static void break_queued(struct curl_reader *reader, int error)
{
    for (unsigned i = 0; i < CURL_PIECES; i++)
        if (reader->pieces[i].state == CURL_QUEUED)
            curl_piece_ended(reader, &reader->pieces[i], error);
}

void curl_fetchers_grow(struct curl_reader *reader)
{
    int ret = 0;

    if (reader->idle || reader->fetcher_count == reader->source->connections)
        return;
    if (!reader->fetchers)
        reader->fetchers = img_calloc(reader->source->connections, sizeof *reader->fetchers);
    ret = reader->fetchers ? start(reader, &reader->fetchers[reader->fetcher_count]) : -ENOMEM;
    if (ret == 0)
        reader->fetcher_count++;
    else if (reader->fetcher_count == 0)
        break_queued(reader, ret);
}

void curl_fetchers_end(struct curl_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    __atomic_store_n(&reader->closing, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&reader->wanted);
    pthread_mutex_unlock(&reader->lock);
    for (unsigned i = 0; i < reader->fetcher_count; i++)
        curl_multi_wakeup(reader->fetchers[i].connection.multi);
    for (unsigned i = 0; i < reader->fetcher_count; i++) {
        pthread_join(reader->fetchers[i].thread, NULL);
        curl_connection_close(&reader->fetchers[i].connection);
    }
    free(reader->fetchers);
}
