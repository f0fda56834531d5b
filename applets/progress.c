/* SPDX-License-Identifier: MIT */
/*
 * Progress output: with -p on standard output, on SIGUSR1 on standard
 * error.  Programs parse it, so the format and one write per line must not change.
 */
#include "applet.h"

#include <signal.h>
#include <stdio.h>

static bool shown;
static double step, last;
static volatile sig_atomic_t asked;

static void ask(int signal_number)
{
    (void)signal_number;
    asked = 1;
}

static void print_on_signals(void)
{
    struct sigaction action = { .sa_handler = ask, .sa_flags = SA_RESTART };

    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
#ifdef SIGINFO
    sigaction(SIGINFO, &action, NULL);
#endif
}

static void print_shown(double percent)
{
    printf("    (%3.2f/100%%)\r", percent);
    app_flush();
    last = percent;
}

void app_progress_start(bool show, double every)
{
    shown = show;
    step = every;
    last = 0;
    asked = 0;
    print_on_signals();
    if (shown)
        print_shown(0);
}

void app_progress(void *context, uint64_t done, uint64_t total)
{
    double percent = total ? (double)done * 100 / (double)total : 0;

    (void)context;
    if (shown && (percent > last + step || percent >= 100))
        print_shown(percent);
    if (!shown && asked) {
        asked = 0;
        app_tell("    (%3.2f/100%%)\n", percent);
    }
}

void app_progress_before_end(void *context, uint64_t done, uint64_t total)
{
    if (done < total)
        app_progress(context, done, total);
}

void app_progress_end(bool complete)
{
    if (!shown)
        return;
    if (complete)
        print_shown(100);
    printf("\n");
    app_flush();
    shown = false;
}
