/* SPDX-License-Identifier: MIT */
/*
 * output.c - standard output, and what it means that nobody gets it.  The exit code tells of the images: a copy that
 * was made is good, whoever reads its progress.  Only where the output is the work its loss is an error.
 */
#include "applet.h"

#include <errno.h>
#include <stdio.h>

/* Until an applet runs, the output is all there is. */
static int owed = 1;
static bool may_leave;
static int lost;        /* errno of the first write that failed */

void app_output_is_work(int status)
{
    owed = status;
    may_leave = false;
}

void app_output_is_help(void)
{
    owed = 1;
    may_leave = true;
}

bool app_output_lost(void)
{
    if (!lost && ferror(stdout))
        lost = errno ? errno : EIO;
    return lost != 0;
}

bool app_flush(void)
{
    if (fflush(stdout) != 0 && !lost)
        lost = errno;
    return !app_output_lost();
}

int app_output_end(int status)
{
    if (app_flush())
        return status;
    clearerr(stdout);
    if (!owed || (may_leave && lost == EPIPE))
        return status;
    app_error("Could not write to standard output: %s", img_strerror(lost));
    return status ? status : owed;
}
