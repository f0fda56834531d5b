/* SPDX-License-Identifier: MIT */
/*
 * gate.c - decides whether a file that an image names may be opened, and where it must lie.  Names that the user gives
 * do not pass here.
 */
#include "graph.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
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

char *img_gate_folder(const struct img *image)
{
    struct img_error ignored = IMG_ERROR_INIT;
    CLEANUP_FREE char *folder = NULL;
    size_t length;
    bool no_memory;

    if (!image->driver->folder_file)
        return NULL;
    folder = img_name_neighbour(image, "", &ignored);
    no_memory = ignored.code == ENOMEM;
    img_error_clear(&ignored);
    if (no_memory)
        return NULL;
    length = folder ? strlen(folder) : 0;
    if (length == 0)
        return img_strdup(".");
    /* Drop the trailing slash, except of the root. */
    return img_strndup(folder, length - (length > 1));
}
