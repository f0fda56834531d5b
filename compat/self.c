/* SPDX-License-Identifier: MIT */
/* The path of the running executable: from the kernel if possible, otherwise from argv[0] and PATH. */
#include "compat.h"
#include "../libimg/util/cleanup.h"
#include "../libimg/util/strbuf.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static char *search_path(const char *name)
{
    const char *path = getenv("PATH");

    while (path && *path) {
        size_t length = strcspn(path, ":");
        CLEANUP_FREE char *candidate = img_asprintf("%.*s/%s", (int)length, path, name);

        if (candidate && length && access(candidate, X_OK) == 0)
            return realpath(candidate, NULL);
        path += length + (path[length] == ':');
    }
    errno = ENOENT;
    return NULL;
}

char *compat_self_path(const char *argv0)
{
#ifdef __linux__
    char *exact = realpath("/proc/self/exe", NULL);

    if (exact)
        return exact;
#endif
    return strchr(argv0, '/') ? realpath(argv0, NULL) : search_path(argv0);
}
