/* SPDX-License-Identifier: MIT */
/* libimg/util/range-lock.h: an exclusive lock excludes all others, and nobody starves. */
#include "libimg/util/range-lock.h"
#include "libimg/util/team.h"
#include "test.h"

#include <stdint.h>
#include <time.h>

enum { WORKERS = 8, ROUNDS = 4000, CELLS = 64 };

/* State of a cell: -1 exclusive, else the number of sharers.  The holders change it, so a fault of the lock is also
 * a race that ThreadSanitizer sees. */
static int cells[CELLS], plain[CELLS];
static struct img_range_lock lock;
static int faults;

struct worker {
    unsigned long long random;
};

static void enter(unsigned from, unsigned to, bool alone)
{
    for (unsigned i = from; i < to; i++) {
        int before = alone ? __atomic_exchange_n(&cells[i], -1000, __ATOMIC_RELAXED)
                           : __atomic_fetch_add(&cells[i], 1, __ATOMIC_RELAXED);
        if (alone ? before != 0 : before < 0)
            __atomic_add_fetch(&faults, 1, __ATOMIC_RELAXED);
        if (alone)
            plain[i]++;
    }
}

static void leave(unsigned from, unsigned to, bool alone)
{
    for (unsigned i = from; i < to; i++)
        __atomic_sub_fetch(&cells[i], alone ? -1000 : 1, __ATOMIC_RELAXED);
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned from = test_random(&worker->random) % CELLS, length = test_random(&worker->random) % 8;
        bool alone = test_random(&worker->random) % 2;
        unsigned to = from + length < CELLS ? from + length : CELLS;
        struct img_range range;

        img_range_acquire(&lock, &range, from, to, alone);
        enter(from, to, alone);
        leave(from, to, alone);
        img_range_release(&lock, &range);
    }
    return NULL;
}

static double nanoseconds_uncontended(void)
{
    enum { TIMES = 1000000 };
    struct timespec start, end;
    struct img_range range;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < TIMES; i++) {
        img_range_acquire(&lock, &range, 0, 4096, true);
        img_range_release(&lock, &range);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / TIMES;
}

int main(void)
{
    struct worker workers[WORKERS];
    const struct img_team team = { .workers = workers, .count = WORKERS, .size = sizeof *workers, .stack = 128 << 10,
                                   .work = work };
    struct img_range first, second;

    img_range_lock_init(&lock);
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i].random = i + 1;
    OK(img_team_run(&team) == 0, "%d workers end", WORKERS);
    OK(faults == 0, "nobody met somebody else in a range of its own");
    img_range_acquire(&lock, &first, 0, 10, true);
    img_range_acquire(&lock, &second, 10, 20, true);
    img_range_release(&lock, &first);
    img_range_release(&lock, &second);
    OK(true, "ranges that meet do not touch");
    img_range_acquire(&lock, &first, 0, 10, false);
    img_range_acquire(&lock, &second, 5, 20, false);
    img_range_release(&lock, &second);
    img_range_release(&lock, &first);
    OK(!lock.oldest && !lock.newest, "nothing is left behind");
    /* The time is only printed. */
    printf("# an uncontended lock takes %.0f ns\n", nanoseconds_uncontended());
    img_range_lock_destroy(&lock);
    return test_end();
}
