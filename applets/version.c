/* SPDX-License-Identifier: MIT */
/* version.c - the answer to --version of imgbox and its tools.  Those of qemu-img and qemu-nbd are their own. */
#include "version.h"
#include "applet.h"

#include <stdio.h>
#include <string.h>

void app_print_version(const char *name)
{
    app_output_is_help();
    if (strcmp(name, "imgbox") != 0)
        printf("%s (imgbox %s)\n", name, app_version);
    else
        printf("imgbox %s\n", app_version);
    printf("Built %s\n", app_built);
    if (*app_bugs)
        printf("Faults: %s\n", app_bugs);
}
