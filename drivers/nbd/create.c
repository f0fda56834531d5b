/* SPDX-License-Identifier: MIT */
/* A "new" image: an export that is there.  It must be large enough, and its first sector is cleared. */
#include "nbd.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { SECTOR = 512 };

/* No old header may be found.  Only whole blocks can be written. */
static int clear_first_sector(struct nbd *s, struct img_error *err)
{
    uint64_t length = img_min(s->export.size, img_max(SECTOR, s->export.minimum));
    CLEANUP_FREE unsigned char *block = img_calloc(1, length ? length : 1);
    struct nbd_request request = { .kind = NBD_READ, .read = block, .length = length, .stop = -1 };
    int ret = 0;

    if (!block)
        return img_error_memory(err);
    if (length > SECTOR)
        ret = img_pool_run(&s->pool, nbd_connection_run, &request, -1);
    memset(block, 0, img_min(length, SECTOR));
    if (ret == 0 && length) {
        request = (struct nbd_request){ .kind = NBD_WRITE, .write = block, .length = length, .stop = -1 };
        ret = img_pool_run(&s->pool, nbd_connection_run, &request, -1);
    }
    if (ret == 0 && s->export.can_flush) {
        request = (struct nbd_request){ .kind = NBD_FLUSH, .stop = -1 };
        ret = img_pool_run(&s->pool, nbd_connection_run, &request, -1);
    }
    return ret < 0 ? img_error_errno(err, -ret, "Failed to clear the new image's first sector") : 0;
}

static int open_for_writing(struct nbd *s, const struct nbd_open_options *given, struct img_doc *options,
                            struct img_error *err)
{
    int ret = nbd_target_take(options, given, &s->target, err);

    if (ret < 0)
        return ret;
    s->pool.most = 1;
    ret = nbd_connect(s, 0, err);
    if (ret == 0 && s->export.read_only)
        ret = img_error_errno(err, EACCES, "Could not open image");
    if (ret < 0)
        return img_error_prefix(err, "Protocol driver 'nbd' does not support creating new images, so an existing image "
                                "must be selected as the target; however, opening the given target as an existing "
                                "image failed: ");
    return 0;
}

static int take_over(struct nbd *s, uint64_t wanted, struct img_error *err)
{
    if (wanted > s->export.size)
        return img_error_set(err, EINVAL, "Cannot grow NBD nodes");
    return clear_first_sector(s, err);
}

int nbd_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct nbd_create_options *create = request->options;
    struct nbd s = { .connected = false };
    struct img_named named;
    int ret = img_no_preallocation(create->preallocation, err);

    if (ret < 0)
        return ret;
    ret = img_named_options(&img_driver_nbd, request->name, &named, err);
    if (ret == 0)
        ret = open_for_writing(&s, named.options, named.rest, err);
    if (ret == 0)
        ret = take_over(&s, create->size < 0 ? 0 : (uint64_t)create->size, err);
    nbd_disconnect(&s);
    img_named_free(&img_driver_nbd, &named);
    return ret;
}
