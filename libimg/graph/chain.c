/* SPDX-License-Identifier: MIT */
/*
 * chain.c - opening: a format node over a protocol node, with child.c its data file and with
 * backing.c its backing chain.
 *
 * A node is asked for with a struct request: a name as the user (or an image)
 * wrote it, or options, or both.  The options object travels down: each node
 * takes what is its own, hands the nested objects "file", "backing" and
 * "data-file" to its children, and refuses the rest.
 */
#include "chain.h"
#include "node/trace.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* Far above what is in use, below what the stack would bear. */
enum { MAX_NESTING = 16 };

static int open_filter(struct img **opened, const struct img_driver *driver, const char *plain, struct request *request,
                       struct img_error *err);

/* ---- Names and options ------------------------------------------------------ */

/* Merge what a json: name says into the options; the name is gone then. */
static int unfold_json(struct request *request, struct img_error *err)
{
    struct img_doc *parsed;

    if (!request->name || strncmp(request->name, "json:", 5) != 0)
        return 0;
    parsed = img_doc_parse_options(request->name + 5, err);
    if (!parsed)
        return -err->code;
    /* What came beside the name wins. */
    for (size_t i = 0; i < img_doc_count(request->options); i++)
        img_doc_put(parsed, img_doc_key_at(request->options, i), img_doc_copy(img_doc_at(request->options, i)));
    img_doc_free(request->options);
    request->options = parsed;
    request->name = NULL;
    return 0;
}

/* The driver that options or caller name; *driver is NULL when neither does. */
static int named_driver(struct request *request, const struct img_driver **driver, struct img_error *err)
{
    CLEANUP_FREE char *name = NULL;
    const char *given = request->format ? request->format : img_doc_string_at(request->options, "driver");

    *driver = NULL;
    name = given ? img_xstrdup(given) : NULL;
    img_doc_remove(request->options, "driver");
    if (!name)
        return 0;
    *driver = img_driver_find(name);
    if (!*driver)
        return img_error_set(err, EINVAL, "Unknown driver '%s'", name);
    return img_driver_need(*driver, err);
}

/* NULL with *err set: the graph has as many nodes as it may have. */
static struct img *start_node(const struct img_driver *driver, const struct request *request, struct img_error *err)
{
    struct img *image = img_node_new(driver, request->flags, request->cache, request->gate);

    image->perm = request->perm;
    image->shared = request->shared;
    if (img_node_join(image, request->graph, err) == 0)
        return image;
    img_node_free(image);
    return NULL;
}

/* Options that describe this node alone, as they were given. */
static void keep_options(struct img *image, const struct img_doc *options)
{
    image->options = img_doc_copy(options);
    img_doc_remove(image->options, img_child_key(image->driver));
    img_doc_remove(image->options, "backing");
    img_doc_remove(image->options, "data-file");
    img_doc_remove(image->options, "extents");
    img_doc_remove(image->options, "filename");
}

/* Hand the driver its parsed options and let it open; then take the locks.  It is open after that, or closed. */
static int call_open(struct img *image, struct img_doc *options, struct img_error *err)
{
    const struct img_driver *driver = image->driver;
    CLEANUP_FREE void *parsed = img_xcalloc(1, driver->open_size ? driver->open_size : 1);
    int ret = 0;

    ret = img_node_claim_name(image, err);
    if (ret < 0)
        return ret;
    if (driver->options && driver->open_size) {
        ret = img_options_read(driver->options, IMG_AT_OPEN, options, parsed, err);
        if (ret < 0)
            return ret;
    }
    img_limits_inherit(image);
    ret = driver->open(image, parsed, options, err);
    if (driver->options && driver->open_size)
        img_options_release(driver->options, IMG_AT_OPEN, parsed);
    if (driver->kind == IMG_PROTOCOL)
        img_doc_remove(options, "filename");
    if (ret < 0 && !err->text)
        img_error_errno(err, -ret, "Could not open image");
    if (ret < 0)
        return ret;
    ret = img_node_lock(image, image->perm, image->shared, err);
    if (ret < 0) {
        if (driver->close)
            driver->close(image);
        return ret;
    }
    img_limits_settle(image);
    IMG_TRACE(open, image, image->size, image->flags);
    return ret;
}

/* The node did not come to life whole. */
static int give_up(struct img *image, bool opened, struct img_error *err)
{
    if (opened && image->driver->close)
        image->driver->close(image);
    chain_end_node(image);
    return -err->code;
}

/* One node below, whose size and name it has. */
static bool stands_in_front(const struct img_driver *driver)
{
    return driver->kind == IMG_FILTER || driver->kind == IMG_ADAPTER;
}

/* ---- Protocols ---------------------------------------------------------------- */

/* A folder that is an image: the file in it takes its place. */
static void enter_folder(struct img *image)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        const char *inside = img_drivers[i]->folder_file;
        char *name = inside ? image->driver->in_folder(image->filename, inside) : NULL;
        if (name) {
            image->within = image->filename;
            image->filename = name;
            return;
        }
    }
}

/* The name that the node gets, and the folder to which it keeps. */
static int set_place(struct img *image, const struct request *request, struct img_error *err)
{
    const char *filename = img_doc_string_at(request->options, "filename");

    if (filename && *filename)
        image->filename = img_xstrdup(filename);
    if (request->within && !image->driver->in_folder)
        return img_error_set(err, ENOTSUP, "Block protocol '%s' cannot keep to a folder", image->driver->name);
    if (request->within)
        image->within = img_xstrdup(request->within);
    else if (image->filename && image->driver->in_folder)
        enter_folder(image);
    return 0;
}

static int open_protocol(struct img **opened, const struct img_driver *driver, const char *plain,
                         struct request *request, struct img_error *err)
{
    CLEANUP_FREE char *guarded = NULL;
    struct img *image = start_node(driver, request, err);

    if (!image)
        return -err->code;
    if (plain && img_doc_get(request->options, "filename")) {
        img_error_set(err, EINVAL, "Can't specify 'file' and 'filename' options at the same time");
        return give_up(image, false, err);
    }
    if (plain && driver->parse_name) {
        if (driver->parse_name(plain, request->options, err) < 0)
            return give_up(image, false, err);
        plain = NULL;
    }
    keep_options(image, request->options);
    /* A path that was told apart by "file:" must not look like another protocol from now on. */
    if (plain && plain != request->name && driver->probe && img_name_prefix(plain) != SIZE_MAX)
        plain = guarded = img_xasprintf("./%s", plain);
    if (plain)
        img_doc_put_string(request->options, "filename", plain);
    if (set_place(image, request, err) < 0 || img_node_options(image, request->options, request->role, err) < 0)
        return give_up(image, false, err);
    if (call_open(image, request->options, err) < 0) {
        request->refused_user = request->inherits && err->code == EAGAIN;
        return give_up(image, false, err);
    }
    if (img_node_leftover(image, request->options, err) < 0)
        return give_up(image, true, err);
    img_name_node(image);
    *opened = image;
    return 0;
}

int chain_open_storage(struct img **image, struct request *request, struct img_error *err)
{
    const struct img_driver *driver;
    const char *plain = NULL, *filename;
    int ret = named_driver(request, &driver, err);

    if (ret < 0)
        return ret;
    if (driver && driver->kind != IMG_PROTOCOL) {
        request->format = driver->name;
        return chain_open_node(image, request, err);
    }
    filename = img_doc_string_at(request->options, "filename");
    if (request->name) {
        const struct img_driver *by_name = img_protocol_for_name(request->name, &plain, err);
        if (!by_name)
            return -err->code;
        driver = driver ? driver : by_name;
    } else if (!driver && filename) {
        /* A name among options is taken as it stands. */
        driver = img_protocol_for_plain(filename);
    }
    if (!driver)
        return img_error_set(err, EINVAL, "Must specify either driver or file");
    ret = img_driver_need(driver, err);
    if (ret < 0)
        return ret;
    return stands_in_front(driver) ? open_filter(image, driver, plain, request, err)
                                      : open_protocol(image, driver, plain, request, err);
}

/* ---- Children -------------------------------------------------------------------- */

/* The node below.  `probing`: it is only looked at until the format, and with it the right permissions, are known. */
static int open_file_child(struct img *image, struct request *request, bool probing, struct img_error *err)
{
    struct request child = chain_child_request(image, IMG_ROLE_FILE, request);
    const char *key = img_child_key(image->driver);
    int ret;

    ret = chain_take_child(request->options, key, request->name != NULL, &child.options, err);
    if (ret < 0)
        return ret;
    child.name = request->name;
    if (!child.options && !child.name)
        return img_error_set(err, EINVAL, "A block device must be specified for \"%s\"", key);
    if (!child.options)
        child.options = img_doc_object();
    if (probing) {
        child.perm = 0;
        child.shared = IMG_PERM_ALL;
    }
    if (child.nesting > MAX_NESTING)
        ret = img_error_set(err, ELOOP, "Too many nested nodes");
    else
        ret = chain_open_storage(&image->file, &child, err);
    request->refused_user = child.refused_user;
    img_doc_free(child.options);
    return ret;
}

/* ---- Filters --------------------------------------------------------------------------- */

/* The name of the node below as a text, which stands for a nested object: "x-image". Caller frees; NULL: none. */
static char *take_child_name(const struct img_driver *driver, struct img_doc *options)
{
    CLEANUP_FREE char *key = img_xasprintf("x-%s", img_child_key(driver));
    const char *given = driver->parse_name ? img_doc_string_at(options, key) : NULL;
    char *name = given ? img_xstrdup(given) : NULL;

    if (name)
        img_doc_remove(options, key);
    return name;
}

static int open_filter(struct img **opened, const struct img_driver *driver, const char *plain, struct request *request,
                       struct img_error *err)
{
    struct img *image = start_node(driver, request, err);
    CLEANUP_FREE char *below = NULL;
    bool alive = false;

    if (!image)
        return -err->code;
    request->name = plain;
    if (plain && driver->parse_name) {
        request->name = NULL;
        if (driver->parse_name(plain, request->options, err) < 0)
            goto fail;
    }
    below = take_child_name(driver, request->options);
    if (below)
        request->name = below;
    keep_options(image, request->options);
    if (img_node_options(image, request->options, request->role, err) < 0)
        goto fail;
    chain_take_no_backing(image, request->options);
    if (open_file_child(image, request, false, err) < 0)
        goto fail;
    image->size = img_size(image->file);
    img_name_node(image);
    if (call_open(image, request->options, err) < 0)
        goto fail;
    alive = true;
    if (img_node_leftover(image, request->options, err) < 0)
        goto fail;
    *opened = image;
    return 0;
fail:
    return give_up(image, alive, err);
}

/* ---- Formats -------------------------------------------------------------------------- */

/* Find out the format of `image`, which has been started as some format, from its storage, which stays open. */
static int find_format(struct img *image, struct request *request, struct img_error *err)
{
    const struct img_driver *driver;
    const char *name = request->name;
    int ret = open_file_child(image, request, true, err);

    if (ret < 0)
        return ret;
    if (image->file->within)
        name = image->file->filename;
    driver = img_probe(image->file, name ? name : "", err);
    if (!driver || img_driver_need(driver, err) < 0)
        return -err->code;
    image->probed = true;
    image->driver = driver;
    free(image->state);
    image->state = img_xcalloc(1, driver->state_size ? driver->state_size : 1);
    if (driver->traits & IMG_PASS_THROUGH && image->flags & IMG_RDWR) {
        image->guard = img_probe_guard;
        img_probe_warn(image);
    }
    return chain_lock_children(image, &request->refused_user, err);
}

static int open_format(struct img **opened, const struct img_driver *driver, struct request *request,
                       struct img_error *err)
{
    /* Until the format is known, the plain one stands for it. */
    const struct img_driver *first = driver ? driver : img_driver_find(IMG_PLAIN_FORMAT);
    struct img *image;
    bool alive = false;

    if (!first)
        return img_error_set(err, ENOTSUP, "%s support is not built in", IMG_PLAIN_FORMAT);
    image = start_node(first, request, err);
    if (!image)
        return -err->code;
    keep_options(image, request->options);
    if (img_node_options(image, request->options, request->role, err) < 0)
        goto fail;
    chain_take_no_backing(image, request->options);
    if ((driver ? open_file_child(image, request, false, err) : find_format(image, request, err)) < 0)
        goto fail;
    driver = image->driver;
    if (driver->decode)
        img_node_of(image)->decoded = img_decoded_new();
    img_name_node(image);
    if (call_open(image, request->options, err) < 0)
        goto fail;
    alive = true;
    if (chain_open_backing(image, request, err) < 0)
        goto fail;
    if (img_node_leftover(image, request->options, err) < 0)
        goto fail;
    img_name_node(image);
    *opened = image;
    return 0;
fail:
    return give_up(image, alive, err);
}

int chain_open_node(struct img **image, struct request *request, struct img_error *err)
{
    const struct img_driver *driver;
    int ret = unfold_json(request, err);

    if (ret < 0)
        return ret;
    ret = named_driver(request, &driver, err);
    if (ret < 0)
        return ret;
    if (driver && stands_in_front(driver))
        return open_filter(image, driver, request->name, request, err);
    if (driver && driver->kind == IMG_PROTOCOL) {
        const char *plain = NULL;
        if (request->name && !img_protocol_for_name(request->name, &plain, err))
            return -err->code;
        return open_protocol(image, driver, plain, request, err);
    }
    if (!driver && !request->name && !img_doc_get(request->options, "file"))
        return img_error_set(err, EINVAL, "Must specify either driver or file");
    return open_format(image, driver, request, err);
}

