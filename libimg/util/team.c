/* SPDX-License-Identifier: MIT */
/* Parallel workers, with stacks as small as their work allows. */
#include "team.h"

#include <pthread.h>

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
    pthread_attr_t attributes;
    int ret = prepare(team, 0);

    if (ret < 0)
        return ret;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, team->stack);
    for (; started < count && prepare(team, started) == 0; started++)
        if (pthread_create(&threads[started], &attributes, team->work, worker_at(team, started)))
            break;
    pthread_attr_destroy(&attributes);
    team->work(worker_at(team, 0));
    for (unsigned i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
