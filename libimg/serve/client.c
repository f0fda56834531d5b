/* SPDX-License-Identifier: MIT */
/*
 * client.c - the threads of one client.  One of them reads a request, then lets the next one read, does the request and
 * sends the answer; so no request is handed from thread to thread, and requests overtake each other.  A thread is
 * started when a request was read and nobody is free to read the next.
 */
#include "internal.h"
#include "util/cleanup.h"
#include "util/thread.h"

#include <stdio.h>

enum { STACK = 256 << 10 };

static void *work(void *context);

static void start_worker(struct serve_client *client)
{
    /* Without a thread the client is served all the same, just not while this request takes its time. */
    if (client->threads < client->most &&
        img_thread_start(&client->workers[client->threads], STACK, work, client) == 0)
        client->threads++;
}

/* All threads are done.  A client that has just left is not worth a word. */
static void log_end(struct serve_client *client)
{
    int code = client->read_error;
    char text[SERVE_WHY];

    if (code < 0 && code != -ENODATA && !*client->why)
        snprintf(client->why, sizeof client->why, "%s", img_strerror(code));
    if (code == 0 && client->send_error == 0)
        serve_log(client->server, "Disconnect client, due to: Request handling failed in intermediate state");
    else if (code < 0 && code != -ECANCELED && *client->why)
        serve_log(client->server, "Disconnect client, due to: %s", client->why);
    if (client->send_error < 0) {
        serve_send_failure(&client->channel, client->send_error, text);
        serve_log(client->server, "Disconnect client, due to: Failed to send reply: %s", text);
    }
}

/* Read a request, for this thread.  False: there are no more. */
static bool next(struct serve_client *client, struct serve_request *request)
{
    int ret;

    __atomic_add_fetch(&client->waiting, 1, __ATOMIC_RELAXED);
    LOCK_SCOPE(&client->read_lock);
    __atomic_sub_fetch(&client->waiting, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&client->ending, __ATOMIC_RELAXED))
        return false;
    ret = img_stop_asked(&client->server->stop) ? -ECANCELED : serve_receive(client, request);
    if (ret <= 0) {
        __atomic_store_n(&client->ending, true, __ATOMIC_RELAXED);
        client->read_error = ret;
    } else if (__atomic_load_n(&client->waiting, __ATOMIC_RELAXED) == 0) {
        start_worker(client);
    }
    return ret >= 0;
}

static void *work(void *context)
{
    struct serve_client *client = context;
    struct serve_request request = { .type = 0 };

    while (next(client, &request)) {
        serve_execute(client, &request);
        serve_release(client, &request);
    }
    serve_release(client, &request);
    return NULL;
}

/* Nobody starts a thread any more: the last one that read has seen the end. */
static void join_all(struct serve_client *client)
{
    for (unsigned i = 1; i < client->threads; i++)
        pthread_join(client->workers[i], NULL);
}

/* Where requests are answered from memory, more threads than processors only get into each other's way; a storage with
 * round trips wants many requests. */
static unsigned useful_threads(struct img *image)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct img_reach reach = { .requests = 0 };

    img_reach_add(&reach, image);
    if (reach.requests || reach.round_trip || processors > SERVE_WORKERS / 2)
        return SERVE_WORKERS;
    return processors > SERVE_FEW / 2 ? (unsigned)processors * 2 : SERVE_FEW;
}

int serve_requests(struct serve_client *client)
{
    serve_buffers_open(&client->buffers);
    client->threads = 1;
    client->most = useful_threads(client->export->told.image);
    work(client);
    join_all(client);
    serve_buffers_close(&client->buffers);
    log_end(client);
    if (client->send_error < 0)
        return client->send_error;
    return client->read_error == -ENODATA ? 0 : client->read_error == 0 ? -EPROTO : client->read_error;
}
