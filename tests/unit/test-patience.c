/* SPDX-License-Identifier: MIT */
/* libimg/util/patience.h: whoever is last cleans up, and only that one; who waits sees what was done. */
#include "libimg/util/patience.h"
#include "libimg/util/clock.h"
#include "libimg/util/thread.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>

enum { PAIRS = 400, STACK = 1 << 16, NEVER = 60000 };
#define UNTIL_OPEN 1000000000u

/* What both share. */
struct work {
    struct img_patience patience;
    unsigned lasts;                 /* microseconds; UNTIL_OPEN: until the gate is open */
    int result;
};

static unsigned cleaned, wrong, gate;       /* atomic */

static void clean_up(struct work *work)
{
    img_patience_end(&work->patience);
    free(work);
    __atomic_add_fetch(&cleaned, 1, __ATOMIC_RELAXED);
}

static void *do_it(void *context)
{
    struct work *work = context;
    const struct timespec time = { 0, work->lasts % UNTIL_OPEN * 1000L };

    do
        nanosleep(&time, NULL);
    while (work->lasts == UNTIL_OPEN && !__atomic_load_n(&gate, __ATOMIC_RELAXED));
    work->result = 7;
    if (img_patience_done(&work->patience))
        clean_up(work);
    return NULL;
}

/* true: it was done in time. */
static bool wait_for(unsigned lasts, unsigned milliseconds)
{
    struct work *work = calloc(1, sizeof *work);
    bool done;

    if (!work)
        abort();
    work->lasts = lasts;
    img_patience_init(&work->patience);
    if (img_thread_start(NULL, STACK, do_it, work) < 0)
        abort();
    done = img_patience_wait(&work->patience, milliseconds);
    if (!done)
        return false;
    if (work->result != 7)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    clean_up(work);
    return true;
}

int main(void)
{
    unsigned long long random = 1;
    unsigned pairs = 0, in_time = 0;
    uint64_t end;

    OK(wait_for(0, 0), "0 is for ever");
    OK(wait_for(1000, NEVER), "in time");
    OK(!wait_for(UNTIL_OPEN, 1), "too late");
    __atomic_store_n(&gate, 1, __ATOMIC_RELAXED);
    for (; pairs < PAIRS; pairs++)
        in_time += wait_for(test_random(&random) % 2000, 1 + test_random(&random) % 2);
    /* (the last ones clean up later) */
    end = img_now_milliseconds() + NEVER;
    while (__atomic_load_n(&cleaned, __ATOMIC_RELAXED) < PAIRS + 3 && img_now_milliseconds() < end)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    OK(__atomic_load_n(&cleaned, __ATOMIC_RELAXED) == PAIRS + 3, "each is cleaned up once");
    OK(__atomic_load_n(&wrong, __ATOMIC_RELAXED) == 0, "what was done is seen");
    printf("# %u of %u in time\n", in_time, pairs);
    return test_end();
}
