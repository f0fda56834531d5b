/* SPDX-License-Identifier: MIT */
/*
 * partial.c - what is left of an image that could not be completed.  It may look sound: `check` cannot know what is
 * missing.  So it is removed, also when a signal ends the process.
 */
#include "applet.h"

#include <signal.h>

static const int endings[] = { SIGINT, SIGTERM, SIGHUP };
enum { ENDINGS = sizeof endings / sizeof *endings };

static bool started;

/* The handler is reset: the signal then ends the process as if nobody had caught it. */
static void on_signal(int number)
{
    img_created_remove();
    raise(number);
}

static void handle_signals(void (*from)(int), void (*to)(int))
{
    for (size_t i = 0; i < ENDINGS; i++) {
        struct sigaction action = { .sa_handler = to, .sa_flags = to == SIG_DFL ? 0 : (int)SA_RESETHAND }, old;

        sigemptyset(&action.sa_mask);
        /* What is ignored (nohup) stays ignored. */
        if (sigaction(endings[i], NULL, &old) == 0 && old.sa_handler == from)
            sigaction(endings[i], &action, NULL);
    }
}

void app_partial_start(bool keep)
{
    if (keep)
        return;
    started = true;
    img_created_watch();
    handle_signals(SIG_DFL, on_signal);
}

void app_partial_done(void)
{
    if (!started)
        return;
    handle_signals(on_signal, SIG_DFL);
    img_created_forget();
    started = false;
}

void app_partial_fail(void)
{
    int ret;

    if (!started)
        return;
    ret = img_created_remove();
    if (ret < 0)
        app_warning("The incomplete image could not be removed: %s", img_strerror(ret));
    app_partial_done();
}
