/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the connections of one node to its server: opened when requests wait, replaced when they are lost.
 *
 * A request runs in the thread that wants it, on the connection with the fewest requests; a connection takes any
 * number of them at a time.  When one is lost, requests wait until all lost ones are replaced, and are then repeated:
 * so a pool with `patience` is for requests that may be repeated.
 */
#ifndef IMG_NET_POOL_H
#define IMG_NET_POOL_H

#include "../img.h"
#include <pthread.h>

enum { IMG_POOL_MOST = 16 };
/* What a request returns whose connection is gone, before or after the server had it.  (No errno has this value.) */
enum { IMG_POOL_LOST = -0x4000 };

struct img_pool_ops {
    size_t size;                    /* of a connection, in bytes; zeroed before open */
    /* Connect, giving up when the descriptor `stop` (-1: none) becomes readable.  After an error nothing is left to
     * close. */
    int (*open)(void *owner, void *connection, int stop, struct img_error *err);
    void (*close)(void *owner, void *connection);
    /* A lost connection was replaced: do again what the server may have forgotten.  No request runs meanwhile.
     * IMG_POOL_LOST: connect once more.  May be NULL. */
    int (*recover)(void *owner, void *connection, int stop);
};

struct img_pool_slot {
    void *connection;
    unsigned running;               /* requests on it */
    bool lost;
};

struct img_pool {
    const struct img_pool_ops *ops;
    void *owner;
    unsigned most;                  /* connections; at most IMG_POOL_MOST.  Lower it, and it grows no further */
    uint64_t patience;              /* milliseconds to wait for a server that is gone; 0: fail at once */
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct img_pool_slot slots[IMG_POOL_MOST];
    unsigned count, running;
    bool growing, recovering;
    bool broken;                    /* a lost connection could not be replaced: all requests fail */
};

/* Options of users: the most connections; seconds (0 to a day), which the option of that name gives. */
int img_pool_take_most(struct img_pool *pool, int64_t connections, struct img_error *err);
int img_check_seconds(const char *option, int64_t seconds, struct img_error *err);
/* Set up an empty pool with the first connection; `most` and `patience` are set by the caller before.  After an error
 * there is nothing to end. */
int img_pool_start(struct img_pool *pool, const struct img_pool_ops *ops, void *owner, int stop,
                   struct img_error *err);
/* Close all connections.  No request may run. */
void img_pool_end(struct img_pool *pool);
/* The first connection, for what the server said when it was opened. */
void *img_pool_first(struct img_pool *pool);
/*
 * Call run(connection, request) until it does not return IMG_POOL_LOST, and return its result.  -EIO: the server is
 * gone.  -ECANCELED: the descriptor `stop` (-1: none) became readable while it was waited for.  Thread-safe.
 */
int img_pool_run(struct img_pool *pool, int (*run)(void *connection, void *request), void *request, int stop);

#endif
