/* SPDX-License-Identifier: MIT */
/* compat.h - differences between versions of qemu-img and between systems.  Nothing here prints or knows applets. */
#ifndef COMPAT_H
#define COMPAT_H

#include <stdbool.h>

/* The output profile: IMGBOX_COMPAT as 100 * major + minor; if it is not set, or empty, 1000. */
enum { COMPAT_7_2 = 702, COMPAT_10_0 = 1000, COMPAT_11_0 = 1100 };
unsigned compat_profile(void);
/* The value of IMGBOX_COMPAT if there is no such version; else NULL. */
const char *compat_unknown(void);
/* Was one selected?  Then nothing is shown that no version has. */
bool compat_pinned(void);

/* Absolute path of the running executable, or NULL with errno set; caller frees. */
char *compat_self_path(const char *argv0);

#endif
