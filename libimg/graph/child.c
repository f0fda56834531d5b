/* SPDX-License-Identifier: MIT */
/* child.c - options for the children of a node, and the files that images name: data files and extents. */
#include "chain.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* Nodes cannot be shared.  `options` are those beside the reference for `role`. */
static int refuse_reference(const char *reference, const char *role, const struct img_doc *options, bool named,
                            struct img_error *err)
{
    size_t length = strlen(role);

    for (size_t i = 0; i < img_doc_count(options); i++) {
        const char *key = img_doc_key_at(options, i);
        named |= strncmp(key, role, length) == 0 && key[length] == '.';
    }
    if (named)
        return img_error_set(err, EINVAL, "Cannot reference an existing block device with additional options or a "
                             "new filename");
    return img_error_set(err, ENODEV, "Cannot find device='%s' nor node-name='%s'", reference, reference);
}

struct request chain_child_request(const struct img *parent, enum img_role role, const struct request *from)
{
    struct request child = { .role = role, .flags = parent->flags, .cache = parent->cache, .gate = parent->gate,
                             .graph = img_node_graph(parent) };

    child.flags &= ~(unsigned)(IMG_NO_BACKING | IMG_NO_WRITERS);
    if (role == IMG_ROLE_FILE)
        child.flags &= ~(unsigned)IMG_NO_IO;
    child.inherits = role == IMG_ROLE_FILE && img_shows_below(parent);
    if (from) {
        child.nesting = from->nesting + 1;
        child.above = from->above;
    }
    img_node_permissions(parent, role, &child.perm, &child.shared);
    return child;
}

int chain_take_child(struct img_doc *options, const char *role, bool named, struct img_doc **child,
                      struct img_error *err)
{
    const char *reference = img_doc_string_at(options, role);

    *child = NULL;
    if (reference)
        return refuse_reference(reference, role, options, named, err);
    if (img_doc_type(img_doc_get(options, role)) == IMG_DOC_OBJECT)
        *child = img_doc_take(options, role);
    return 0;
}

/* ---- Files that an image names ------------------------------------------------- */

/* Describe a node that the image names and `options` may change.  Returns 1 if the options say nothing about it, so
 * that the stored name applies; else 0, or -errno with *err set.  Caller frees the options of the request. */
static int describe_named(struct request *child, const struct img *parent, const char *role,
                          const struct img_doc *options, struct img_error *err)
{
    const char *reference = img_doc_get_string(options);

    child->nesting = 1;
    if (reference)
        return refuse_reference(reference, role, parent->options, false, err);
    child->options = options ? img_doc_copy(options) : img_doc_object();
    if (img_doc_broken(child->options))
        return img_error_memory(err);
    return img_doc_count(child->options) == 0;
}

int img_open_child(struct img *parent, const char *role, const char *name, const struct img_doc *options,
                   struct img **opened, struct img_error *err)
{
    struct request child = chain_child_request(parent, IMG_ROLE_DATA, NULL);
    int ret = describe_named(&child, parent, role, options, err);

    *opened = NULL;
    if (ret > 0) {
        ret = name ? img_gate_check(parent, role, name, err)
                   : img_error_set(err, EINVAL, "A block device must be specified for \"%s\"", role);
        child.name = name;
    }
    /* A stored name may have the prefix of a protocol, but json: is not parsed. */
    if (ret == 0)
        ret = chain_open_storage(opened, &child, err);
    img_doc_free(child.options);
    return ret;
}

int img_open_extent(struct img *parent, const char *name, const struct img_doc *options, struct img_error *err)
{
    struct request child = chain_child_request(parent, IMG_ROLE_FILE, NULL);
    CLEANUP_FREE char *role = img_asprintf("extents.%zu", parent->extent_count), *place = NULL, *folder = NULL;
    struct img **extents = img_realloc(parent->extents, (parent->extent_count + 1) * sizeof *extents), *opened = NULL;
    int ret;

    if (extents)
        parent->extents = extents;
    if (!role || !extents)
        return img_error_memory(err);
    ret = describe_named(&child, parent, role, options, err);

    if (ret > 0) {
        ret = img_gate_check(parent, "extent", name, err);
        place = ret < 0 ? NULL : img_name_neighbour(parent, name, err);
        if (place)
            img_doc_put_string(child.options, "filename", place);
        else
            ret = -err->code;
        child.within = folder = ret < 0 ? NULL : img_gate_folder(parent);
        if (ret == 0 && !folder && parent->driver->folder_file)
            ret = img_error_memory(err);
    }
    if (ret == 0)
        ret = chain_open_storage(&opened, &child, err);
    img_doc_free(child.options);
    if (ret < 0)
        return ret;
    opened->child_name = role;
    role = NULL;
    parent->extents[parent->extent_count++] = opened;
    return 0;
}

