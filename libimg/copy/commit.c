/* SPDX-License-Identifier: MIT */
/* commit.c - write the content of an image into an image of its backing chain. */
#include "copy.h"
#include "io/io.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <stdlib.h>
#include <string.h>

/* Are these two names of one existing file? */
static bool same_path(const char *a, const char *b)
{
    CLEANUP_FREE char *real_a = realpath(a, NULL);
    CLEANUP_FREE char *real_b = real_a ? realpath(b, NULL) : NULL;

    return real_b && strcmp(real_a, real_b) == 0;
}

/* Does `name`, given by the user, mean the backing file of `overlay`? */
static bool names_backing(const struct img *overlay, const char *name)
{
    struct img_error ignored = IMG_ERROR_INIT;
    CLEANUP_FREE char *full = NULL, *wanted = NULL;
    bool plain = img_name_prefix(name) == SIZE_MAX;

    /* A name with "proto:" must be exactly the stored name. */
    if (!plain || (overlay->backing_name && img_name_prefix(overlay->backing_name) != SIZE_MAX))
        return overlay->backing_name && strcmp(name, overlay->backing_name) == 0;
    wanted = img_name_resolve(overlay, name, &ignored);
    full = overlay->backing_name ? img_name_resolve(overlay, overlay->backing_name, &ignored)
                                 : img_strdup(img_filename(overlay->backing));
    img_error_clear(&ignored);
    return wanted && full && same_path(wanted, full);
}

struct img *img_find_overlay(struct img *image, const char *name)
{
    struct img *overlay = img_behind_filters(image);

    while (overlay->backing && !names_backing(overlay, name))
        overlay = img_behind_filters(overlay->backing);
    return overlay->backing ? overlay : NULL;
}

static int grow(struct img *base, uint64_t size)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret = img_size(base) < size ? img_resize(base, size, NULL, &err) : 0;

    img_error_clear(&err);
    return ret;
}

int img_commit(struct img *image, const struct img_commit *how)
{
    struct img_copy what = {
        .sources = &image, .source_count = 1, .target = how->base, .target_fd = -1, .base = how->base,
        .keep_data = true, .in_order = true, .workers = how->workers, .sparse = 1, .rate = how->rate,
        .progress = how->progress, .context = how->context,
    };
    struct img_copy_fault fault;
    int ret = grow(how->base, img_size(image));

    if (ret == 0)
        ret = img_copy(&what, NULL, &fault);
    return ret < 0 ? ret : img_flush(how->base);
}
