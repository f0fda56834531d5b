/* SPDX-License-Identifier: MIT */
/* backing.c - opens the backing file, as stored in the image and changed by the options; reopens it for writing. */
#include "chain.h"
#include "util/cleanup.h"
#include <string.h>

/* Far more than any chain in use, fewer than file descriptors and the stack allow. */
enum { MAX_CHAIN = 200 };

void chain_take_no_backing(struct img *image, struct img_doc *options)
{
    struct img_doc *backing = img_doc_get(options, "backing");
    const char *text = img_doc_get_string(backing);

    if (!backing || (img_doc_type(backing) != IMG_DOC_NULL && !(text && !*text)))
        return;
    if (text)
        img_notice(IMG_WARNING, "Use of \"backing\": \"\" is deprecated; use \"backing\": null instead");
    img_doc_remove(options, "backing");
    image->flags |= IMG_NO_BACKING;
}

/* An image that backs itself, perhaps through others, would be opened forever. */
static int check_loop(const struct above *above, const char *name, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const char *plain;

    if (above->depth >= MAX_CHAIN)
        return img_error_set(err, ELOOP, "More than %d backing files", MAX_CHAIN);
    img_protocol_for_name(name, &plain, &ignored);
    img_error_clear(&ignored);
    for (; above; above = above->next) {
        if (above->image->filename && strcmp(above->image->filename, plain) == 0)
            return img_error_set(err, ELOOP, "Backing file '%s' creates an infinite loop.", name);
    }
    return 0;
}

/* Fill the request from the stored backing file and the options that change it. */
static int describe_backing(struct img *image, struct request *child, char **resolved, struct img_error *err)
{
    int ret;

    if (!image->backing_name)
        return 0;
    if (!img_doc_get(child->options, "driver"))
        child->format = image->backing_format;
    /* Options that name no other file only add to the stored name. */
    if (img_doc_get(img_doc_get(child->options, "file"), "filename"))
        return 0;
    ret = img_gate_check(image, "backing", image->backing_name, err);
    if (ret < 0)
        return ret;
    *resolved = img_name_resolve(image, image->backing_name, err);
    if (!*resolved)
        return -err->code;
    child->name = *resolved;
    return check_loop(child->above, *resolved, err);
}

/* Of formats with differencing disks only these have a parent. */
static bool can_back(const struct img *image)
{
    return image->driver->traits & IMG_CAN_BACK && (!image->driver->check_parent || image->has_parent);
}

int chain_open_backing(struct img *image, struct request *request, struct img_error *err)
{
    struct above here = { .image = image, .next = request->above,
                          .depth = request->above ? request->above->depth + 1 : 1 };
    struct request child = chain_child_request(image, IMG_ROLE_BACKING, NULL);
    CLEANUP_FREE char *resolved = NULL;
    int ret;

    if (image->has_parent && !request->candidate && !image->backing_name &&
        (ret = chain_find_parent(image, request, err)) < 0)
        return ret;
    if (image->flags & IMG_NO_BACKING)
        return 0;
    if (img_doc_get(request->options, "backing") && !can_back(image))
        return img_error_set(err, EINVAL, "Driver doesn't support backing files");
    ret = chain_take_child(request->options, "backing", false, &child.options, err);
    if (ret < 0)
        return img_error_prefix(err, "Could not open backing file: ");
    if (!child.options && !image->backing_name)
        return 0;
    child.flags = (child.flags | (image->flags & IMG_NO_IO)) & ~(unsigned)(IMG_RDWR | IMG_RESIZE | IMG_CHECK);
    child.above = &here;
    image->backing_options = img_doc_copy(child.options);
    if (child.options && img_doc_broken(image->backing_options)) {
        img_doc_free(child.options);
        return img_error_memory(err);
    }
    child.flags |= request->backing_flags;
    if (request->backing_flags & IMG_RDWR)
        child.perm |= IMG_PERM_WRITE;
    if (request->backing_flags & IMG_RESIZE)
        child.perm |= IMG_PERM_RESIZE;
    ret = describe_backing(image, &child, &resolved, err);
    if (ret == 0) {
        if (!child.options)
            child.options = img_doc_object();
        ret = chain_open_node(&image->backing, &child, err);
        if (ret == -ENOENT && resolved)
            chain_advise_backing(image, resolved, err);
    }
    img_doc_free(child.options);
    request->refused_user = child.refused_user;
    if (ret < 0 && !child.refused_user && !request->backing_flags)
        img_error_prefix(err, "Could not open backing file: ");
    return ret;
}

int img_reopen_backing(struct img *top, bool resize, struct img_error *err)
{
    struct img *overlay = img_behind_filters(top);
    struct request request = { .options = img_doc_object(), .backing_flags = IMG_RDWR | (resize ? IMG_RESIZE : 0) };
    int ret;

    if (overlay->backing_options)
        img_doc_put(request.options, "backing", img_doc_copy(overlay->backing_options));
    if (img_doc_broken(request.options)) {
        img_doc_free(request.options);
        return img_error_memory(err);
    }
    if (overlay->has_parent && overlay->driver->parent_fixed) {
        img_doc_free(request.options);
        return img_error_set(err, ENOTSUP, "%s", overlay->driver->parent_fixed);
    }
    ret = img_close(overlay->backing, err);
    overlay->backing = NULL;
    img_doc_free(overlay->backing_options);
    overlay->backing_options = NULL;
    if (ret == 0)
        ret = chain_open_backing(overlay, &request, err);
    img_doc_free(request.options);
    return ret;
}
