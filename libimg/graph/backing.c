/* SPDX-License-Identifier: MIT */
/* backing.c - opens the backing file, as stored in the image and changed by the options; reopens it for writing. */
#include "chain.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
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

/* ---- A backing file that is not where the image says ------------------------------------------------ */

/* A name of another system: a drive, a machine, or folders with backslashes. */
static bool is_foreign(const char *name)
{
    return strchr(name, '\\') != NULL;
}

/* Can `name` be opened, alone, and with `same`: is it the image that this one was made on?  1, 0 or -ENOMEM. */
static int is_there(struct img *image, const char *name, bool same)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *found = NULL;
    int ret = chain_open_candidate(image, name, &found, &err);

    if (ret == 0)
        ret = !same || image->driver->is_backing(image, img_behind_filters(found));
    else
        ret = err.code == ENOMEM ? -ENOMEM : 0;
    img_error_clear(&err);
    if (found)
        img_close(found, &err);
    img_error_clear(&err);
    return ret;
}

/*
 * If nothing can be opened by the name `full`, look by the same name in UTF-8 and with slashes, then by its last
 * part beside the image.  *place: where the image is on which this one was made; its driver knows it.  Caller frees;
 * NULL: nowhere.  Each file is opened alone, so the work is bounded however images name each other.  0 or -ENOMEM.
 */
static int find_moved(struct img *image, const char *full, char **place)
{
    const char *stored = image->backing_name, *name = image->backing_alias ? image->backing_alias : stored;
    CLEANUP_FREE char *here = NULL, *last = NULL;
    const char *names[] = { image->backing_alias, NULL, NULL };
    int ret = chain_local_name(name, false, &here);

    *place = NULL;
    if (ret == 0)
        ret = chain_local_name(name, true, &last);
    if (ret == 0)
        ret = is_there(image, full, false);
    /* (a name with the separators of this system says what it says) */
    names[1] = is_foreign(name) ? here : NULL;
    names[2] = last;
    for (size_t i = 0; i < sizeof names / sizeof *names && ret == 0; i++) {
        struct img_error ignored = IMG_ERROR_INIT;

        if (!names[i] || strcmp(names[i], stored) == 0)
            continue;
        free(*place);
        *place = img_name_neighbour(image, names[i], &ignored);
        ret = *place ? is_there(image, *place, true) : ignored.code == ENOMEM ? -ENOMEM : 0;
        img_error_clear(&ignored);
        if (ret == 1)
            return 0;
    }
    free(*place);
    *place = NULL;
    return ret < 0 ? ret : 0;
}

/* Opening the stored name failed: open what was found instead, if anything was.  On failure *err stays. */
static int open_moved(struct img *image, struct request *request, struct img_error *err)
{
    CLEANUP_FREE char *place = NULL;
    bool may_be_moved = image->driver->is_backing && image->backing_name && request->name &&
                        (err->code == ENOENT || err->code == ENOTDIR || is_foreign(image->backing_name));

    if (!may_be_moved)
        return -err->code;
    if (find_moved(image, request->name, &place) < 0) {
        img_error_clear(err);
        return img_error_memory(err);
    }
    if (!place) {
        if (is_foreign(image->backing_name) || *image->backing_name == '/')
            img_error_advise(err, "a file of that name beside the image would be taken, if it is the right one");
        return -err->code;
    }
    img_error_clear(err);
    img_notice(IMG_ADVICE, "the backing file '%s' is not there, but '%s' is the same image", image->backing_name,
               place);
    img_doc_free(request->options);
    request->options = image->backing_options ? img_doc_copy(image->backing_options) : img_doc_object();
    request->name = place;
    if (check_loop(request->above, place, err) < 0)
        return -err->code;
    return chain_open_node(&image->backing, request, err);
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
        if (ret < 0)
            ret = open_moved(image, &child, err);
        if (ret == -ENOENT && resolved)
            chain_advise_backing(image, resolved, err);
    }
    img_doc_free(child.options);
    request->refused_user = child.refused_user;
    if (ret < 0 && !child.refused_user && !request->backing_flags)
        img_error_prefix(err, "Could not open backing file: ");
    return ret;
}

char *img_locate_backing(struct img *image, struct img_error *err)
{
    struct img_error refused = IMG_ERROR_INIT;
    char *name = img_backing_full_name(image, err), *place = NULL;
    bool may_look = name && image->driver->is_backing && img_gate_check(image, "backing", name, &refused) == 0;

    img_error_clear(&refused);
    if (may_look && find_moved(image, name, &place) < 0) {
        free(name);
        img_error_memory(err);
        return NULL;
    }
    if (!place)
        return name;
    free(name);
    return place;
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
