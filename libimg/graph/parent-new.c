/* SPDX-License-Identifier: MIT */
/* parent-new.c - the parent of a new differencing disk: opens it, and says how the disk names it. */
#include "graph.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* Only the error itself: the caller names the new image. */
static void drop_opening(const char *name, struct img_error *err)
{
    CLEANUP_FREE char *prefix = img_asprintf("Could not open '%s': ", name);
    size_t length = prefix ? strlen(prefix) : 0;

    if (prefix && strncmp(err->text, prefix, length) == 0)
        memmove(err->text, err->text + length, strlen(err->text) - length + 1);
}

/* The path in a name from the user; NULL: it means something else than a file. */
static const char *path_of(const char *name)
{
    size_t prefix = img_name_prefix(name);

    if (prefix == SIZE_MAX)
        return name;
    return prefix == 4 && strncmp(name, "file", 4) == 0 ? name + 5 : NULL;
}

int img_open_parent(const struct img_create *request, const struct img_driver *driver, const char *backing,
                    const char *format, struct img **parent, struct img_error *err)
{
    const struct img_open how = { .format = driver->name, .flags = IMG_NO_BACKING | IMG_NO_IO | IMG_SHARE };
    CLEANUP_FREE char *name = NULL;
    int ret;

    *parent = NULL;
    if (format && strcmp(format, driver->name) != 0)
        return img_error_set(err, EINVAL, "The backing file of a %s image must be a %s image, not %s", driver->name,
                             driver->name, format);
    if (!path_of(backing))
        return img_error_set(err, EINVAL, "The backing file of a %s image must be a file", driver->name);
    name = img_name_beside(request->name, backing);
    if (!name)
        return img_error_memory(err);
    ret = img_open(parent, name, &how, err);
    if (ret < 0)
        drop_opening(name, err);
    return ret;
}

char *img_parent_path(const char *backing, bool *relative, struct img_error *err)
{
    const char *path = path_of(backing);
    char *stored;

    if (strchr(path, '\\')) {
        img_error_set(err, EINVAL, "The name of a parent cannot have a backslash: '%s'", backing);
        return NULL;
    }
    while (strncmp(path, "./", 2) == 0)
        path += 2 + strspn(path + 2, "/");
    *relative = path[0] != '/';
    stored = *relative ? img_asprintf(".\\%s", path) : img_strdup(path);
    for (char *at = stored; at && *relative && *at; at++)
        if (*at == '/')
            *at = '\\';
    if (!stored)
        img_error_memory(err);
    return stored;
}
