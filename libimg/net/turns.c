/* SPDX-License-Identifier: MIT */
/* One thread waits for a socket, on behalf of all; see turns.h. */
#include "turns.h"
#include "util/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

/* For an answer that nobody needs any more, in milliseconds. */
enum { GRACE = 1000 };

int img_turns_init(struct img_turns *turns)
{
    *turns = (struct img_turns){ .first = NULL };
    if (pipe2(turns->wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    pthread_mutex_init(&turns->lock, NULL);
    return 0;
}

void img_turns_end(struct img_turns *turns)
{
    for (int i = 0; i < 2; i++)
        close(turns->wake[i]);
    pthread_mutex_destroy(&turns->lock);
}

int img_turns_wait(struct img_turns *turns, int fd, short events, int stop, int milliseconds, short *happened)
{
    struct pollfd wait[] = { { .fd = fd, .events = events }, { .fd = turns->wake[0], .events = POLLIN },
                             { .fd = stop, .events = POLLIN } };
    char drain[64];
    int ready;

    *happened = 0;
    pthread_mutex_unlock(&turns->lock);
    ready = poll(wait, 3, milliseconds);
    pthread_mutex_lock(&turns->lock);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    if (wait[1].revents && read(turns->wake[0], drain, sizeof drain) < 0 && errno != EAGAIN)
        return -errno;
    if (wait[2].revents)
        return -ECANCELED;
    *happened = wait[0].revents;
    return ready == 0 ? -ETIMEDOUT : 0;
}

void img_turns_wake(struct img_turns *turns)
{
    static const char nothing = 0;

    if (turns->polling && write(turns->wake[1], &nothing, 1) < 0)
        return;                     /* the pipe is full: it will wake */
}

void img_turn_begin(struct img_turns *turns, struct img_turn *turn)
{
    turn->next = turns->first;
    turns->first = turn;
}

void img_turn_answer(struct img_turn *turn)
{
    turn->done = true;
    pthread_cond_signal(&turn->ready);
}

bool img_turn_sleep(struct img_turns *turns, struct img_turn *turn)
{
    while (!turn->done && turns->polling)
        pthread_cond_wait(&turn->ready, &turns->lock);
    if (turn->done)
        return false;
    turn->polls = turns->polling = true;
    return true;
}

/* The time to wait before the end, 0 when that has come. */
static int time_until(uint64_t end, int tick)
{
    uint64_t now = img_now_milliseconds();
    int left = end > now ? (int)(end - now) : 0;

    return tick >= 0 && tick < left ? tick : left;
}

void img_turn_serve(const struct img_turn *turn, int stop, const struct img_turn_ops *ops, void *connection)
{
    uint64_t end = 0;               /* 0: none */
    int left = ops->tick;

    while (!turn->done) {
        int ret = ops->wait(connection, stop, left);
        if (ret == -ECANCELED) {
            stop = -1;
            end = img_now_milliseconds() + GRACE;
        } else if (ret < 0 && ret != -ETIMEDOUT) {
            ops->give_up(connection);
        } else {
            ops->look_at_clock(connection);
        }
        if (end && (left = time_until(end, ops->tick)) == 0)
            ops->give_up(connection);
    }
}

static void strike(struct img_turns *turns, const struct img_turn *turn)
{
    struct img_turn **link = &turns->first;

    while (*link != turn)
        link = &(*link)->next;
    *link = turn->next;
}

void img_turn_end(struct img_turns *turns, struct img_turn *turn)
{
    strike(turns, turn);
    if (turn->polls)
        turns->polling = false;
    /* (its turn may have come to a thread that was answered meanwhile) */
    if (turns->polling)
        return;
    for (struct img_turn *next = turns->first; next; next = next->next)
        if (!next->done) {
            pthread_cond_signal(&next->ready);
            return;
        }
}
