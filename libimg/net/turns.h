/* SPDX-License-Identifier: MIT */
/*
 * turns.h - many threads with requests in flight on one socket, which a library serves that takes one thread at a time.
 *
 * All is done under a lock, which is never held while anybody waits.  One thread waits for the socket on behalf of all and
 * lets the library take what has arrived; the others sleep until they are answered, or until it is their turn.
 */
#ifndef IMG_NET_TURNS_H
#define IMG_NET_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A part of a request. */
struct img_turn {
    bool done;
    pthread_cond_t ready;           /* it is done, or its thread is to wait for the socket */
    bool polls;                     /* its thread waits for the socket */
    struct img_turn *next;
};
#define IMG_TURN_INIT { .ready = PTHREAD_COND_INITIALIZER }

struct img_turns {
    pthread_mutex_t lock;           /* held around calls of the library, and of all functions below */
    struct img_turn *first;         /* requests in flight, the last one first */
    bool polling;                   /* a thread waits for the socket, for all */
    int wake[2];                    /* a pipe that ends its waiting */
};

/* 0 or a negative errno; after an error there is nothing to end.  (These two are called without the lock.) */
int img_turns_init(struct img_turns *turns);
void img_turns_end(struct img_turns *turns);
/*
 * Wait once, with the lock released, until one of `events` happens on `fd` or somebody calls img_turns_wake; *happened is
 * what did, perhaps nothing.  milliseconds -1: for ever.  -ETIMEDOUT; -ECANCELED: the descriptor `stop` (-1: none) is
 * readable; another negative errno.
 */
int img_turns_wait(struct img_turns *turns, int fd, short events, int stop, int milliseconds, short *happened);
/* The thread that waits must look again: there may be something to send. */
void img_turns_wake(struct img_turns *turns);

/* The request is in flight from now on. */
void img_turn_begin(struct img_turns *turns, struct img_turn *turn);
/* It is answered. */
void img_turn_answer(struct img_turn *turn);
/* Sleep until the request is answered.  true: it is not, but this thread must wait for the socket now, until it is, and
 * answer all that it can. */
bool img_turn_sleep(struct img_turns *turns, struct img_turn *turn);
struct img_turn_ops {
    /* Wait once, so long at most (-1: for ever), and take what has arrived: 0, or what img_turns_wait returns. */
    int (*wait)(void *connection, int stop, int milliseconds);
    int tick;                                   /* the milliseconds to wait at most; -1: for ever */
    void (*look_at_clock)(void *connection);    /* after each wait: who has waited too long is answered */
    void (*give_up)(void *connection);          /* answer all: what comes would be put into memory that is gone by then */
};
/* What the thread does that must wait for the socket.  When `stop` asks for the end, nobody needs the answer any more, but
 * it may come soon: it gets a second more. */
void img_turn_serve(const struct img_turn *turn, int stop, const struct img_turn_ops *ops, void *connection);
/* It is in flight no more: if its thread waited for the socket, another one does now. */
void img_turn_end(struct img_turns *turns, struct img_turn *turn);

#endif
