/* SPDX-License-Identifier: MIT */
/* libimg/util/team.h: all workers that could be prepared run, the first one in the calling thread. */
#include "libimg/util/team.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>

enum { COUNT = 8 };

static unsigned fails_from;     /* no memory for this worker and later ones */

struct worker {
    unsigned number;
    bool prepared, worked, here;
};

static pthread_t caller;

static int prepare(void *argument)
{
    struct worker *worker = argument;

    worker->prepared = true;
    return worker->number >= fails_from ? -ENOMEM : 0;
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    worker->worked = true;
    worker->here = pthread_equal(pthread_self(), caller);
    return NULL;
}

static void run(unsigned count, unsigned failing, int wanted, unsigned working)
{
    struct worker workers[COUNT] = { 0 };
    const struct img_team team = { .workers = workers, .count = count, .size = sizeof *workers, .stack = 128 << 10,
                                   .prepare = prepare, .work = work };
    unsigned worked = 0, here = 0;

    fails_from = failing;
    for (unsigned i = 0; i < COUNT; i++)
        workers[i].number = i;
    OK(img_team_run(&team) == wanted, "%u workers, %u of which can be had: the result", count, failing);
    for (unsigned i = 0; i < COUNT; i++) {
        worked += workers[i].worked;
        here += workers[i].here;
        if (workers[i].worked != (i < working) || workers[i].prepared != (i < count && i <= working))
            OK(false, "worker %u", i);
    }
    OK(worked == working && here == (working > 0), "%u worked, one of them in this thread", working);
}

int main(void)
{
    caller = pthread_self();
    run(1, COUNT, 0, 1);
    run(COUNT, COUNT, 0, COUNT);
    run(COUNT, 3, 0, 3);
    run(COUNT, 1, 0, 1);
    run(COUNT, 0, -ENOMEM, 0);
    return test_end();
}
