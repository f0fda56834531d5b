/* SPDX-License-Identifier: MIT */
/* version.h - what this program is; packaging/built.sh writes the three texts. */
#ifndef VERSION_H
#define VERSION_H

extern const char app_version[];    /* "0.1.0" */
extern const char app_built[];      /* the libraries that are built in, and what is left out */
extern const char app_bugs[];       /* where faults are told: make BUGS=...; "": nobody said */

/* Print "NAME (imgbox VERSION)", or "imgbox VERSION", and a line each for the other two. */
void app_print_version(const char *name);

#endif
