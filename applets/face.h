/* SPDX-License-Identifier: MIT */
/* face.h - the face of qemu-img around the applets: global options and the list of commands. */
#ifndef FACE_H
#define FACE_H

#include "applet.h"

typedef int app_run_fn(const struct applet *applet, const char *called, int argc, char **argv);

/* `qemu-img [global options] COMMAND ...`: parses the global options, hands the rest to `run`. */
int app_qemu_img(int argc, char **argv, app_run_fn *run);

/* Do what -T says.  LISTED: it was `help`, and the names are on standard output; BAD: printed why. */
enum app_trace { APP_TRACE_GOOD, APP_TRACE_LISTED, APP_TRACE_BAD };
enum app_trace app_trace(const char *text);

#endif
