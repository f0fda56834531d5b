/* SPDX-License-Identifier: MIT */
/* Looks once a second whether a connection has stalled. */
#include "ssh.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include "../../libimg/util/thread.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

enum { STACK = 64 << 10, LOOK_EVERY = 1000 };

static void look(struct ssh_watch *watch)
{
    uint64_t now = img_now_milliseconds();

    pthread_mutex_lock(&watch->lock);
    for (struct ssh_connection *c = watch->first; c; c = c->next) {
        uint64_t started = __atomic_load_n(&c->started, __ATOMIC_RELAXED);
        if (started && now > started + watch->timeout && !__atomic_exchange_n(&c->ended, true, __ATOMIC_RELAXED))
            shutdown(c->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&watch->lock);
}

static void *work(void *context)
{
    struct ssh_watch *watch = context;

    while (img_fd_wait(watch->wake[0], POLLIN, img_now_milliseconds() + LOOK_EVERY, -1) == -ETIMEDOUT)
        look(watch);
    return NULL;
}

int ssh_watch_start(struct ssh_watch *watch, uint64_t timeout)
{
    int ret = 0;

    *watch = (struct ssh_watch){ .timeout = timeout };
    pthread_mutex_init(&watch->lock, NULL);
    if (!timeout)
        return 0;
    if (pipe2(watch->wake, O_CLOEXEC) < 0)
        ret = -errno;
    if (ret == 0 && (ret = img_thread_start(&watch->thread, STACK, work, watch)) < 0) {
        close(watch->wake[0]);
        close(watch->wake[1]);
    }
    if (ret < 0)
        pthread_mutex_destroy(&watch->lock);
    watch->running = ret == 0;
    return ret;
}

void ssh_watch_end(struct ssh_watch *watch)
{
    if (watch->running) {
        close(watch->wake[1]);
        pthread_join(watch->thread, NULL);
        close(watch->wake[0]);
    }
    pthread_mutex_destroy(&watch->lock);
}

void ssh_watch_add(struct ssh_watch *watch, struct ssh_connection *c)
{
    pthread_mutex_lock(&watch->lock);
    c->next = watch->first;
    watch->first = c;
    pthread_mutex_unlock(&watch->lock);
}

void ssh_watch_remove(struct ssh_watch *watch, struct ssh_connection *c)
{
    pthread_mutex_lock(&watch->lock);
    for (struct ssh_connection **at = &watch->first; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    pthread_mutex_unlock(&watch->lock);
}
