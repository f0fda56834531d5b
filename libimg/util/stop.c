/* SPDX-License-Identifier: MIT */
/* stop.c - a flag, and a pipe that wakes threads in poll(). */
#include "stop.h"
#include "util/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull

static int make_pipe(int fds[2])
{
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

int img_stop_init(struct img_stop *stop)
{
    stop->asked = false;
    return make_pipe(stop->fds);
}

void img_stop_end(struct img_stop *stop)
{
    close(stop->fds[0]);
    close(stop->fds[1]);
}

void img_stop_ask(struct img_stop *stop)
{
    int saved = errno;

    if (!__atomic_exchange_n(&stop->asked, true, __ATOMIC_SEQ_CST) && write(stop->fds[1], "", 1) < 0) {
        /* The pipe was empty before, so the write cannot block. */
    }
    errno = saved;
}

bool img_stop_asked(const struct img_stop *stop)
{
    return stop && __atomic_load_n(&stop->asked, __ATOMIC_SEQ_CST);
}

int img_stop_fd(const struct img_stop *stop)
{
    return stop ? stop->fds[0] : -1;
}

int img_stop_sleep(const struct img_stop *stop, uint64_t nanoseconds)
{
    struct pollfd wake = { .fd = img_stop_fd(stop), .events = POLLIN };
    uint64_t end = img_now_nanoseconds() + nanoseconds, time;

    while (!img_stop_asked(stop) && (time = img_now_nanoseconds()) < end) {
        struct timespec left = { (time_t)((end - time) / SECOND), (long)((end - time) % SECOND) };
        ppoll(&wake, stop ? 1 : 0, &left, NULL);
    }
    return img_stop_asked(stop) ? -ECANCELED : 0;
}
