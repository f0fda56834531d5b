/* SPDX-License-Identifier: MIT */
/* face.h - the commands around the applets: qemu-img with its global options and list of commands, qemu-nbd. */
#ifndef FACE_H
#define FACE_H

#include "applet.h"

typedef int app_run_fn(const struct applet *applet, const char *called, int argc, char **argv);

/* `qemu-img [global options] COMMAND ...`: parse the global options, pass the rest to `run`. */
int app_qemu_img(int argc, char **argv, app_run_fn *run);

/* `qemu-nbd [options] FILE`. */
int app_qemu_nbd(int argc, char **argv, app_run_fn *run);

/* Handle the argument of -T.  LISTED: it was `help`, and the names were printed; BAD: after a message. */
enum app_trace { APP_TRACE_GOOD, APP_TRACE_LISTED, APP_TRACE_BAD };
enum app_trace app_trace(const char *text);

#endif
