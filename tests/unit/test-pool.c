/* SPDX-License-Identifier: MIT */
/*
 * The pool of connections: requests of many threads, on connections that are lost at random.  Each request is answered
 * once, none runs while the server is told again what it forgot, and there are never more connections than allowed.
 */
#include "test.h"
#include "libimg/net/pool.h"
#include <errno.h>
#include <unistd.h>

enum { THREADS = 12, REQUESTS = 400, MOST = 4 };

struct connection { bool lost; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned open_now, most_open, running, most_running, recoveries, refused_opens;
static bool recovering, ran_beside;
static unsigned long long random_state = 1;

static int open_one(void *owner, void *connection, int stop, struct img_error *err)
{
    int ret = 0;

    (void)owner;
    (void)stop;
    pthread_mutex_lock(&lock);
    ((struct connection *)connection)->lost = false;
    if (refused_opens) {
        refused_opens--;
        ret = img_error_set(err, ECONNREFUSED, "nobody is there");
    } else if (++open_now > most_open) {
        most_open = open_now;
    }
    pthread_mutex_unlock(&lock);
    return ret;
}

static void close_one(void *owner, void *connection)
{
    (void)owner;
    (void)connection;
    pthread_mutex_lock(&lock);
    open_now--;
    pthread_mutex_unlock(&lock);
}

static int recover(void *owner, void *connection, int stop)
{
    (void)owner;
    (void)connection;
    (void)stop;
    pthread_mutex_lock(&lock);
    recovering = true;
    ran_beside |= running > 0;
    recoveries++;
    pthread_mutex_unlock(&lock);
    usleep(200);
    pthread_mutex_lock(&lock);
    ran_beside |= running > 0;
    recovering = false;
    pthread_mutex_unlock(&lock);
    return 0;
}

static const struct img_pool_ops ops = {
    .size = sizeof(struct connection), .open = open_one, .close = close_one, .recover = recover,
};

struct request { unsigned answers, tries; bool fragile; };

static int run(void *connection, void *context)
{
    struct connection *c = connection;
    struct request *request = context;
    bool lost;

    pthread_mutex_lock(&lock);
    ran_beside |= recovering;
    if (++running > most_running)
        most_running = running;
    pthread_mutex_unlock(&lock);
    usleep(20);
    pthread_mutex_lock(&lock);
    c->lost |= request->fragile && request->tries == 0 && test_random(&random_state) % 20 == 0;
    request->tries++;
    lost = c->lost;
    running--;
    pthread_mutex_unlock(&lock);
    if (lost)
        return IMG_POOL_LOST;
    request->answers++;
    return 0;
}

static struct img_pool pool;
static unsigned answered, failed;

static void *work(void *context)
{
    (void)context;
    for (int i = 0; i < REQUESTS; i++) {
        struct request request = { .fragile = true };
        int ret = img_pool_run(&pool, run, &request, -1);
        __atomic_add_fetch(ret == 0 ? &answered : &failed, request.answers == (ret == 0), __ATOMIC_RELAXED);
    }
    return NULL;
}

static void all_threads(void)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void start(uint64_t patience)
{
    struct img_error err = IMG_ERROR_INIT;

    pool.most = MOST;
    pool.patience = patience;
    OK(img_pool_start(&pool, &ops, NULL, -1, &err) == 0, "it starts");
    answered = failed = 0;
}

static void lost_and_replaced(void)
{
    start(60000);
    all_threads();
    OK(answered == THREADS * REQUESTS, "each request is answered once");
    OK(failed == 0, "none fails");
    OK(recoveries > 10, "connections were lost");
    OK(!ran_beside, "no request runs while the server is told again");
    OK(most_open <= MOST && most_open > 1, "it grows, and no further than allowed");
    OK(most_running > 1, "requests run side by side");
    img_pool_end(&pool);
    OK(open_now == 0, "all connections are closed");
}

/* The server comes back after some attempts. */
static void slow_return(void)
{
    struct request request = { .tries = 1 };

    start(60000);
    ((struct connection *)img_pool_first(&pool))->lost = true;
    refused_opens = 3;
    OK(img_pool_run(&pool, run, &request, -1) == 0, "a server that comes back late is waited for");
    OK(request.answers == 1, "the request is answered");
    OK(refused_opens == 0, "after some attempts");
    img_pool_end(&pool);
    OK(open_now == 0, "all connections are closed");
}

static void without_patience(void)
{
    struct request request = { .tries = 1 };

    start(0);
    ((struct connection *)img_pool_first(&pool))->lost = true;
    OK(img_pool_run(&pool, run, &request, -1) == -EIO, "without patience a lost server is an error");
    OK(img_pool_run(&pool, run, &request, -1) == -EIO, "without patience a lost server is an error");
    OK(request.answers == 0, "and nothing is answered");
    img_pool_end(&pool);
    OK(open_now == 0, "all connections are closed");
}

static void stopped_while_waiting(void)
{
    struct request request = { .tries = 1 };
    int stop[2];

    OK(pipe(stop) == 0, "a pipe");
    start(600000);
    ((struct connection *)img_pool_first(&pool))->lost = true;
    refused_opens = 1000000;
    OK(write(stop[1], "", 1) == 1, "the end is asked for");
    OK(img_pool_run(&pool, run, &request, stop[0]) == -ECANCELED, "waiting ends");
    refused_opens = 0;
    img_pool_end(&pool);
    OK(open_now == 0, "all connections are closed");
    close(stop[0]);
    close(stop[1]);
}

int main(void)
{
    lost_and_replaced();
    slow_return();
    without_patience();
    stopped_while_waiting();
    return test_end();
}
