/* SPDX-License-Identifier: MIT */
/* open.c - opens an image by name or by options. */
#include "chain.h"
#include <string.h>

void chain_ask_permissions(struct request *request, const struct img_open *how)
{
    request->perm = how->flags & IMG_NO_IO ? 0 : IMG_PERM_READ;
    if (how->flags & IMG_RDWR)
        request->perm |= IMG_PERM_WRITE;
    if (how->flags & IMG_RESIZE)
        request->perm |= IMG_PERM_RESIZE;
    request->shared = how->flags & IMG_NO_WRITERS && !(how->flags & IMG_SHARE)
                          ? IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED : IMG_PERM_ALL;
}

static int open_root(struct img **image, const char *name, struct img_doc *options, const struct img_open *how,
                     struct img_error *err)
{
    struct request request = { .name = name, .options = options, .format = how->format, .role = IMG_ROLE_ROOT,
                               .flags = how->flags, .cache = how->cache, .gate = how->gate };
    int ret;

    chain_ask_permissions(&request, how);
    ret = chain_open_node(image, &request, err);
    img_doc_free(request.options);
    return ret;
}

int img_open_options(struct img **image, const char *name, const struct img_doc *options,
                     const struct img_open *how, struct img_error *err)
{
    struct img_doc *own = options ? img_doc_copy(options) : img_doc_object();
    int ret;

    *image = NULL;
    ret = open_root(image, name, own, how, err);
    return ret < 0 && name ? img_error_prefix(err, "Could not open '%s': ", name) : ret;
}

int img_open(struct img **image, const char *name, const struct img_open *how, struct img_error *err)
{
    struct img_doc *options;
    int ret;

    *image = NULL;
    if (!how->image_opts)
        return img_open_options(image, name, NULL, how, err);
    options = img_options_parse(name, "file", err);
    if (!options)
        return -err->code;
    ret = open_root(image, NULL, options, how, err);
    return ret < 0 ? img_error_prefix(err, "Could not open '%s': ", name) : ret;
}

int img_open_protocol(struct img **image, const char *name, unsigned flags, unsigned perm, unsigned shared,
                      struct img_error *err)
{
    struct request request = { .name = name, .role = IMG_ROLE_FILE, .flags = flags, .perm = perm, .shared = shared };
    int ret;

    request.options = img_doc_object();
    ret = chain_open_storage(image, &request, err);
    img_doc_free(request.options);
    return ret;
}

