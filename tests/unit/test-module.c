/* SPDX-License-Identifier: MIT */
/* A driver in a module is loaded once, whichever thread asks first. */
#include "libimg/img.h"
#include "test.h"

#include <pthread.h>
#include <string.h>

enum { THREADS = 16 };

static pthread_barrier_t start;

static void *ask(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&start);
    return (void *)img_driver_find("blkdebug");
}

int main(void)
{
    pthread_t threads[THREADS];
    void *found[THREADS];
    struct img_error err = IMG_ERROR_INIT;
    bool same = true, named = false;

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, ask, NULL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &found[i]);
        same = same && found[i] == found[0];
    }
    OK(same && found[0], "all threads find one driver");
    if (img_driver_need(found[0], &err) < 0 && strstr(err.text, "not built in")) {
        img_error_clear(&err);
        return test_end();
    }
    OK(!err.text && img_driver_usable(found[0]), "which can be used");
    OK(img_driver_options(found[0]) != NULL, "and has its options");
    for (const struct img_driver *driver = img_driver_next(NULL); driver; driver = img_driver_next(driver))
        named = named || (strcmp(img_driver_name(driver), "blkdebug") == 0 && img_driver_usable(driver));
    OK(named, "a walk through all drivers meets it");
    pthread_barrier_destroy(&start);
    return test_end();
}
