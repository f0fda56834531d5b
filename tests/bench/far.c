/* SPDX-License-Identifier: MIT */
/*
 * far PORT TARGET-PORT DELAY-MS MB-PER-S: a server on 127.0.0.1 made distant, for measuring.  Each byte arrives DELAY
 * later (both ways), and each connection gets at most so many megabytes a second (0: any number).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 64 << 10, PIECES = 256 };

/* One direction: read by one thread, written by another when its time has come. */
struct flow {
    int from, to;
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct {
        double due;
        size_t length;
        char bytes[PIECE];
    } queue[PIECES];
    unsigned first, count;
    int ended;
};

static double delay, rate;
static int target;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
    double left = when - now();
    struct timespec t = { .tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9) };

    if (left > 0)
        nanosleep(&t, NULL);
}

static void *receive(void *context)
{
    struct flow *flow = context;
    double free_at = 0;

    for (;;) {
        unsigned slot;
        ssize_t got;

        pthread_mutex_lock(&flow->lock);
        while (flow->count == PIECES)
            pthread_cond_wait(&flow->change, &flow->lock);
        slot = (flow->first + flow->count) % PIECES;
        pthread_mutex_unlock(&flow->lock);
        got = read(flow->from, flow->queue[slot].bytes, PIECE);
        pthread_mutex_lock(&flow->lock);
        if (got > 0) {
            double at = now();
            free_at = (free_at > at ? free_at : at) + (rate ? (double)got / rate : 0);
            flow->queue[slot].due = free_at + delay;
            flow->queue[slot].length = (size_t)got;
            flow->count++;
        } else {
            flow->ended = 1;
        }
        pthread_cond_signal(&flow->change);
        pthread_mutex_unlock(&flow->lock);
        if (got <= 0)
            return NULL;
    }
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t done = write(fd, bytes, length);
        if (done <= 0)
            return -1;
        bytes += done;
        length -= (size_t)done;
    }
    return 0;
}

static void *deliver(void *context)
{
    struct flow *flow = context;

    for (;;) {
        pthread_mutex_lock(&flow->lock);
        while (flow->count == 0 && !flow->ended)
            pthread_cond_wait(&flow->change, &flow->lock);
        pthread_mutex_unlock(&flow->lock);
        if (flow->count == 0)
            break;
        sleep_until(flow->queue[flow->first].due);
        if (write_all(flow->to, flow->queue[flow->first].bytes, flow->queue[flow->first].length) < 0)
            break;
        pthread_mutex_lock(&flow->lock);
        flow->first = (flow->first + 1) % PIECES;
        flow->count--;
        pthread_cond_signal(&flow->change);
        pthread_mutex_unlock(&flow->lock);
    }
    shutdown(flow->to, SHUT_WR);
    shutdown(flow->from, SHUT_RD);
    return NULL;
}

static void start(int from, int to)
{
    struct flow *flow = calloc(1, sizeof *flow);        /* (kept: this program is short-lived) */
    pthread_t thread;

    if (!flow)
        exit(1);
    flow->from = from;
    flow->to = to;
    pthread_mutex_init(&flow->lock, NULL);
    pthread_cond_init(&flow->change, NULL);
    if (pthread_create(&thread, NULL, receive, flow) || pthread_create(&thread, NULL, deliver, flow))
        exit(1);
}

static int at_port(int port, struct sockaddr_in *address)
{
    *address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return socket(AF_INET, SOCK_STREAM, 0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int one = 1, server;

    if (argc != 5)
        return 2;
    target = atoi(argv[2]);
    delay = atof(argv[3]) / 1000;
    rate = atof(argv[4]) * 1e6;
    signal(SIGPIPE, SIG_IGN);
    server = at_port(atoi(argv[1]), &address);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 64) < 0) {
        perror("far");
        return 1;
    }
    for (;;) {
        struct sockaddr_in to;
        int client = accept(server, NULL, NULL), onward = at_port(target, &to);
        if (client < 0 || connect(onward, (struct sockaddr *)&to, sizeof to) < 0)
            return 1;
        start(client, onward);
        start(onward, client);
    }
}
