/* SPDX-License-Identifier: MIT */
/*
 * protect.c - what this process still reads, and so must not overwrite.  Locks do not tell: they may be ignored (-U),
 * standard input has none, and a file and the loop device over it have different ones.
 */
#include "node.h"
#include "util/cleanup.h"
#include "util/storage.h"
#include "util/strbuf.h"
#include <string.h>

struct source {
    struct source *next;
    char *name;
    struct img_storage storage;
};

static struct source *sources;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int img_protect_range(int fd, const char *name, uint64_t start, uint64_t end)
{
    struct source *source = img_calloc(1, sizeof *source);

    if (!source)
        return -ENOMEM;
    img_storage_of(fd, start, end, &source->storage);
    source->name = img_strdup(name);
    if (!source->name) {
        free(source);
        return -ENOMEM;
    }
    LOCK_SCOPE(&lock);
    source->next = sources;
    sources = source;
    return 0;
}

int img_protect_descriptor(int fd, const char *name)
{
    return img_protect_range(fd, name, 0, UINT64_MAX);
}

static int refuse(const char *name, const char *source, struct img_error *err)
{
    if (strcmp(name, source) == 0)
        return img_error_set(err, EINVAL, "'%s' is also read from: it cannot be overwritten", name);
    return img_error_set(err, EINVAL, "'%s' is also read from, as '%s': it cannot be overwritten", name, source);
}

int img_may_overwrite_range(int fd, const char *name, uint64_t start, uint64_t end, struct img_error *err)
{
    struct img_storage storage;

    LOCK_SCOPE(&lock);
    if (!sources)
        return 0;
    img_storage_of(fd, start, end, &storage);
    for (const struct source *source = sources; source; source = source->next)
        if (img_storage_meets(&source->storage, &storage))
            return refuse(name, source->name, err);
    return 0;
}

int img_may_overwrite(int fd, const char *name, struct img_error *err)
{
    return img_may_overwrite_range(fd, name, 0, UINT64_MAX, err);
}

void img_protect_end(void)
{
    LOCK_SCOPE(&lock);
    while (sources) {
        struct source *source = sources;

        sources = source->next;
        free(source->name);
        free(source);
    }
}
