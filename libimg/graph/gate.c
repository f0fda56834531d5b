/* SPDX-License-Identifier: MIT */
/*
 * gate.c - the one place that decides whether a file may be opened because an
 * image names it.  The user's own names never come here.
 */
#include "graph.h"
#include <string.h>

int img_gate_check(const struct img *image, const char *role, const char *name, struct img_error *err)
{
    bool backing = strcmp(role, "backing") == 0;

    switch (image->gate) {
    case IMG_GATE_OPEN:
        return 0;
    case IMG_GATE_NO_BACKING:
        if (!backing)
            return 0;
        break;
    case IMG_GATE_CLOSED:
        break;
    }
    return img_error_set(err, EPERM, "The image names '%s' as its %s, which may not be opened", name,
                         backing ? "backing file" : strcmp(role, "extent") == 0 ? "extent" : "data file");
}
