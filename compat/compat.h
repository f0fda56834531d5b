/* SPDX-License-Identifier: MIT */
/* compat.h - the qemu-img face around the applets, and gaps of the C library. */
#ifndef COMPAT_H
#define COMPAT_H

#include "../applets/applet.h"

/* Version of imgbox itself. */
#ifndef IMGBOX_VERSION
#define IMGBOX_VERSION "0.1.0"
#endif

typedef int compat_run_fn(const struct applet *applet, const char *called, int argc, char **argv);

/* `qemu-img [global options] COMMAND ...`: parses the global options, hands the rest to `run`. */
int compat_qemu_img(int argc, char **argv, compat_run_fn *run);

/* Do what -T says.  LISTED: it was `help`, and the names are on standard output; BAD: printed why. */
enum compat_trace { COMPAT_TRACE_GOOD, COMPAT_TRACE_LISTED, COMPAT_TRACE_BAD };
enum compat_trace compat_trace(const char *text);

/* Absolute path of the running executable, or NULL with errno set; caller frees. */
char *compat_self_path(const char *argv0);

#endif
