/* SPDX-License-Identifier: MIT */
/* info.c - information about an open image, and calls that only forward to its driver. */
#include "graph.h"
#include "node/trace.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include <string.h>

/* qemu-img's limit, for every format. */
#define MAX_LENGTH (INT64_MAX - (1ull << 30) + 1)

int64_t img_allocated(struct img *image)
{
    int64_t total = 0;
    struct img *child;
    const char *name;

    if (image->driver->allocated)
        return image->driver->allocated(image);
    if (!image->file)
        return -ENOTSUP;
    for (size_t i = 0; total >= 0 && (child = img_child_at(image, i, &name)); i++) {
        int64_t more = child == image->backing ? 0 : img_allocated(child);
        total = more < 0 ? more : total + more;
    }
    return total;
}

bool img_zero_initialised(struct img *image)
{
    if (image->backing)
        return false;
    if (image->driver->kind == IMG_FILTER)
        return img_zero_initialised(image->file);
    return image->driver->zero_initialised && image->driver->zero_initialised(image);
}

struct img_doc *img_format_specific(struct img *image, struct img_error *err)
{
    struct img_doc *data, *info;

    if (!image->driver->info)
        return NULL;
    data = img_doc_object();
    if (image->driver->info(image, data, err) < 0) {
        img_doc_free(data);
        return NULL;
    }
    info = img_doc_object();
    img_doc_put_string(info, "type", image->driver->info_type ? image->driver->info_type : image->driver->name);
    img_doc_put(info, "data", data);
    if (!img_doc_broken(info))
        return info;
    img_error_memory(err);
    img_doc_free(info);
    return NULL;
}

/* ---- Check, resize --------------------------------------------------------- */

int img_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    memset(result, 0, sizeof *result);
    if (!image->driver->check)
        return img_error_set(err, ENOTSUP, "This image format does not support checks");
    if (repair && !(image->flags & IMG_RDWR))
        return img_error_set(err, EPERM, "The image is open for reading only");
    return image->driver->check(image, repair, result, err);
}

int img_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    int ret;

    if (img_read_only(image))
        return img_error_set(err, EPERM, "Image is read-only");
    if (size > MAX_LENGTH)
        return img_error_set(err, EIO, "offset(%llu) exceeds maximum(%llu)", (unsigned long long)size,
                             (unsigned long long)MAX_LENGTH);
    if (image->driver->kind == IMG_FILTER) {
        ret = img_resize(image->file, size, preallocation, err);
        image->size = img_size(image->file);
        return ret;
    }
    IMG_TRACE(resize, image, size, 0);
    if (!image->driver->resize) {
        img_error_set(err, ENOTSUP, "Image format driver does not support resize");
        img_error_advise(err, "a %s image keeps its size: convert it to raw or qcow2, resize that, and convert it back",
                         image->driver->name);
        return -ENOTSUP;
    }
    ret = image->driver->resize(image, size, preallocation, err);
    img_written(image);
    if (ret < 0 && !err->text)
        img_error_errno(err, -ret, "Failed to resize");
    return ret;
}

int img_change_backing(struct img *top, const char *name, const char *format)
{
    struct img *image = img_behind_filters(top);

    if (img_read_only(top))
        return -EPERM;
    if (!image->driver->change_backing)
        return -ENOTSUP;
    LOCK_SCOPE(&image->lock);
    return image->driver->change_backing(image, name, format);
}

int img_make_empty(struct img *image, struct img_error *err)
{
    int ret = -EPERM;

    if (!image->driver->make_empty)
        return img_error_set(err, ENOTSUP, "%s does not support emptying nodes", image->driver->name);
    if (!img_read_only(image)) {
        LOCK_SCOPE(&image->lock);
        ret = image->driver->make_empty(image);
    }
    img_decoded_forget(image, 0, UINT64_MAX);
    return ret < 0 ? img_error_errno(err, -ret, "Failed to empty %s", img_filename(image)) : 0;
}
