/* SPDX-License-Identifier: MIT */
/*
 * Progress output: with -p on standard output, on SIGUSR1 on standard error.  Programs parse it, so the format and one
 * write per line must not change; only a person at a terminal gets another line.  --progress=json is for new programs.
 */
#include "applet.h"
#include "progress-line.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { TERMINAL_PAUSE = 100, JSON_PAUSE = 200, COLUMNS = 80, MOST_COLUMNS = 512 };      /* pauses in ms */

static enum { HIDDEN, PLAIN, TERMINAL, JSON } way;
static double step, last;
static struct progress_meter meter;
static uint64_t last_time;          /* when something was written last */
static atomic_size_t last_length;   /* of the line on the terminal */
static atomic_bool on_screen;       /* the cursor stands behind such a line; any thread may have a message */
static bool complete_told, in_steps;
static int json = -1;               /* the descriptor; -1: not asked for */
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

/* ---- What was asked for --------------------------------------------------------------- */

bool app_progress_wish(const char *text)
{
    const char *number = strncmp(text, "json,fd=", 8) ? NULL : text + 8;
    char *end;
    long fd = STDOUT_FILENO;
    int flags;

    if (!number && strcmp(text, "json") != 0)
        return false;
    if (number) {
        fd = strtol(number, &end, 10);
        if (*number < '0' || *number > '9' || *end || fd > INT32_MAX)
            return false;
    }
    /* If it is not open now, it is an image later. */
    flags = fcntl((int)fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
        app_error("--progress: descriptor %ld: %s", fd, img_strerror(EBADF));
        exit(app_finish(1));
    }
    json = (int)fd;
    return true;
}

bool app_progress_on_output(void)
{
    return json < 0 || json == STDOUT_FILENO;
}

/* A person looks at it, and nobody wants the bytes of qemu-img. */
static bool is_watched(void)
{
    const char *wanted = getenv("IMGBOX_PROGRESS");

    return isatty(STDOUT_FILENO) && !compat_pinned() && !(wanted && !strcmp(wanted, "plain"));
}

bool app_progress_is_plain(void)
{
    return json < 0 && !is_watched();
}

/* ---- Writing ------------------------------------------------------------------------------ */

static void print_plain(double percent)
{
    printf("    (%3.2f/100%%)\r", percent);
    app_flush();
    last = percent;
}

static size_t columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col < MOST_COLUMNS ? size.ws_col : MOST_COLUMNS;
    return COLUMNS;
}

/* Over the last line: blanks cover what is left of it. */
static void print_line(bool ended)
{
    char text[MOST_COLUMNS + 1];
    size_t length = progress_line(&meter, text, sizeof text, columns(), ended);
    size_t before = last_length, blanks = before > length ? before - length : 0;

    printf("\r%s%*s", text, (int)blanks, "");
    app_flush();
    last_length = length;
    on_screen = true;
}

/* If nobody reads it any more, the work goes on. */
static void print_json(void)
{
    char text[160];
    size_t length = progress_json(&meter, text, sizeof text);

    app_flush();
    if (write(json, text, length) < 0 && errno != EAGAIN && errno != EINTR)
        way = HIDDEN;
}

static void print(bool ended)
{
    last_time = meter.now;
    if (way == TERMINAL)
        print_line(ended);
    else
        print_json();
}

void app_progress_break(void)
{
    if (!on_screen)
        return;
    on_screen = false;
    last_length = 0;
    printf("\n");
    app_flush();
}

/* ---- The calls ------------------------------------------------------------------------------- */

void app_progress_start(bool show, double every)
{
    way = json >= 0 ? JSON : !show ? HIDDEN : is_watched() ? TERMINAL : PLAIN;
    step = every;
    last = 0;
    asked = 0;
    complete_told = false;
    last_length = 0;
    progress_start(&meter, img_now_nanoseconds());
    meter.steps = in_steps;
    print_on_signals();
    if (way == PLAIN)
        print_plain(0);
    else if (way != HIDDEN)
        print(false);
}

void app_progress_in_steps(void)
{
    in_steps = true;
}

static bool is_time(void)
{
    uint64_t pause = way == JSON ? JSON_PAUSE : TERMINAL_PAUSE;

    return meter.now - last_time >= pause * 1000000 || (meter.done >= meter.total && meter.total && !complete_told);
}

static void tell(uint64_t done, uint64_t total)
{
    progress_tell(&meter, img_now_nanoseconds(), done, total);
    if (!is_time())
        return;
    complete_told = meter.total && meter.done >= meter.total;
    print(false);
}

void app_progress(void *context, uint64_t done, uint64_t total)
{
    double percent = total ? (double)done * 100 / (double)total : 0;

    (void)context;
    if (way == PLAIN && (percent > last + step || percent >= 100))
        print_plain(percent);
    if (way == TERMINAL || way == JSON)
        tell(done, total);
    if ((way == HIDDEN || way == JSON) && asked) {
        asked = 0;
        app_tell("    (%3.2f/100%%)\n", percent);
    }
}

void app_progress_before_end(void *context, uint64_t done, uint64_t total)
{
    if (done < total)
        app_progress(context, done, total);
    else
        meter.total = total;
}

static void end_plain(bool complete)
{
    if (complete)
        print_plain(100);
    printf("\n");
    app_flush();
}

void app_progress_end(bool complete)
{
    if (way == PLAIN) {
        end_plain(complete);
    } else if (way != HIDDEN && complete) {
        /* What had nothing to do is complete, too. */
        progress_tell(&meter, img_now_nanoseconds(), meter.total ? meter.total : 1, meter.total ? meter.total : 1);
        if (way == TERMINAL || !complete_told)
            print(true);
    }
    app_progress_break();
    way = HIDDEN;
}
