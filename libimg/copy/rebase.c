/* SPDX-License-Identifier: MIT */
/*
 * rebase.c - keeps the content of an image the same when its backing file changes.
 *
 * The two chains may end in the same images.  These have the same content in both, so only the images above the first
 * of them are compared.
 */
#include "copy.h"
#include "io/io.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Zeroes of this length are stored as zeroes, if the image's units allow it. */
enum { SPARSE = 4096 };

/* A name that identifies the file; `real` is the memory for it. */
static const char *identity(const struct img *image, char real[PATH_MAX])
{
    const char *name = img_filename(image);

    return strncmp(name, "json:", 5) != 0 && realpath(name, real) ? real : name;
}

static struct img *find_same(struct img *chain, const struct img *wanted)
{
    char memory[2][PATH_MAX];
    const char *name;

    wanted = img_behind_filters(wanted);
    name = identity(wanted, memory[0]);
    for (chain = img_behind_filters(chain); chain; chain = img_behind_filters(chain->backing)) {
        const char *other = identity(chain, memory[1]);
        if (chain->driver == wanted->driver && img_size(chain) == img_size(wanted) && strcmp(name, other) == 0)
            return chain;
    }
    return NULL;
}

bool img_in_chain(struct img *chain, const struct img *image)
{
    return find_same(chain, image) != NULL;
}

static void find_shared(struct img *image, struct img_copy_rebase *rebase)
{
    for (struct img *old = img_backing(image); old && !rebase->old_shared; old = img_backing(old)) {
        rebase->new_shared = find_same(rebase->shown, old);
        if (rebase->new_shared)
            rebase->old_shared = old;
    }
}

int img_rebase(struct img *image, const struct img_rebase *how, struct img_copy_fault *fault)
{
    struct img_copy_rebase rebase = { .shown = how->backing };
    struct img_copy what = {
        .sources = &image, .source_count = 1, .target = image, .target_fd = -1, .rebase = &rebase,
        .compress = how->compress, .in_order = true, .workers = how->workers, .sparse = SPARSE,
        .progress = how->progress, .context = how->context,
    };
    int ret;

    find_shared(image, &rebase);
    image->rebasing = true;
    ret = img_copy(&what, NULL, fault);
    image->rebasing = false;
    if (ret == 0) {
        ret = img_flush(image);
        *fault = (struct img_copy_fault){ .stage = IMG_COPY_WRITING };
    }
    return ret;
}
