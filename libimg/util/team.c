/* SPDX-License-Identifier: MIT */
/* Parallel workers, with stacks as small as their work allows. */
#include "team.h"
#include "thread.h"

static void *worker_at(const struct img_team *team, unsigned number)
{
    return (char *)team->workers + number * team->size;
}

static int prepare(const struct img_team *team, unsigned number)
{
    return team->prepare ? team->prepare(worker_at(team, number)) : 0;
}

int img_team_run(const struct img_team *team)
{
    pthread_t threads[IMG_TEAM_MAX];
    unsigned count = team->count < IMG_TEAM_MAX ? team->count : IMG_TEAM_MAX, started = 1;
    int ret = prepare(team, 0);

    if (ret < 0)
        return ret;
    for (; started < count && prepare(team, started) == 0; started++)
        if (img_thread_start(&threads[started], team->stack, team->work, worker_at(team, started)) < 0)
            break;
    team->work(worker_at(team, 0));
    for (unsigned i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
