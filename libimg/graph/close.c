/* SPDX-License-Identifier: MIT */
/* close.c - closes a node and everything below it. */
#include "chain.h"
#include "node/trace.h"

int chain_end_node(struct img *image)
{
    struct img *child;
    const char *name;
    int ret = 0;

    for (size_t i = 0; (child = img_child_at(image, i, &name)); i++) {
        struct img_error err = IMG_ERROR_INIT;
        int r = img_close(child, &err);
        if (ret == 0)
            ret = r;
        img_error_clear(&err);
    }
    img_decoded_free(img_node_of(image)->decoded);
    img_node_free(image);
    return ret;
}

int img_close(struct img *image, struct img_error *err)
{
    const char *unflushed = image ? image->driver->unflushed : NULL;
    int ret = 0, r;

    if (!image)
        return 0;
    IMG_TRACE(close, image, image->size, image->flags);
    if (image->flags & IMG_RDWR)
        ret = img_flush(image);
    /* A format that gave up over fatal damage has already reported it. */
    if (ret == -ENOMEDIUM && image->file)
        ret = img_flush(image->file);
    if (image->driver->close) {
        r = image->driver->close(image);
        ret = ret ? ret : r;
    }
    r = chain_end_node(image);
    ret = ret ? ret : r;
    return ret < 0 ? img_error_errno(err, -ret, "%s", unflushed ? unflushed : "Could not close image") : 0;
}

void chain_close_quietly(struct img *image)
{
    struct img_error ignored = IMG_ERROR_INIT;

    img_close(image, &ignored);
    img_error_clear(&ignored);
}
