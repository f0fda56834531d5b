/* SPDX-License-Identifier: MIT */
/* libimg/util/crew.h and stop.h: all calls are made, in parallel; the first error counts; sleepers are woken. */
#include "libimg/util/crew.h"
#include "libimg/util/stop.h"
#include "libimg/util/team.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>

enum { CALLS = 500, CALLERS = 6, WAITING = 8 };

struct job {
    unsigned calls[CALLS];
    size_t fails_at;
};

static int one(void *context, size_t index)
{
    struct job *job = context;

    __atomic_add_fetch(&job->calls[index], 1, __ATOMIC_RELAXED);
    return index >= job->fails_at ? -(int)index : 0;
}

static struct img_crew *crew;
static unsigned wrong;

static void *call(void *argument)
{
    struct job job = { .fails_at = CALLS };

    (void)argument;
    if (img_crew_run(crew, one, &job, CALLS) != 0)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CALLS; i++)
        if (job.calls[i] != 1)
            __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* Each call waits for all others: this ends only if they run in parallel. */
static pthread_barrier_t together;

static int meet(void *context, size_t index)
{
    (void)context, (void)index;
    pthread_barrier_wait(&together);
    return 0;
}

static struct img_stop stop;

static int sleep_long(void *context, size_t index)
{
    (void)context;
    if (index == 0) {
        img_stop_ask(&stop);
        return 0;
    }
    return img_stop_sleep(&stop, 3600ull * 1000000000) == -ECANCELED ? 0 : -EIO;
}

int main(void)
{
    char callers[CALLERS];
    const struct img_team team = { .workers = callers, .count = CALLERS, .size = 1, .stack = 128 << 10, .work = call };
    struct job job = { .fails_at = 200 };

    crew = img_crew_new(WAITING, 128 << 10);
    OK(img_crew_run(crew, one, &job, 0) == 0, "no call is fine");
    OK(img_team_run(&team) == 0 && wrong == 0, "%d callers, %d calls each, every one made once", CALLERS, CALLS);
    int error = img_crew_run(crew, one, &job, CALLS);
    OK(error <= -200 && error > -200 - WAITING - 1, "the first error: %d", error);
    for (unsigned i = 0; i < CALLS; i++)
        if (job.calls[i] > 1 || (i < 200 && job.calls[i] != 1))
            OK(false, "call %u was made %u times", i, job.calls[i]);
    pthread_barrier_init(&together, NULL, WAITING);
    OK(img_crew_run(crew, meet, NULL, WAITING) == 0, "%d calls that wait for each other", WAITING);
    OK(img_stop_init(&stop) == 0, "a stop");
    OK(img_stop_sleep(&stop, 1000) == 0, "nobody asks: the time passes");
    OK(img_crew_run(crew, sleep_long, NULL, WAITING) == 0, "who sleeps for an hour is woken");
    img_stop_end(&stop);
    img_crew_free(crew);
    return test_end();
}
