/* SPDX-License-Identifier: MIT */
/*
 * chain.c - opens a format node over a protocol node, its data file (child.c) and its backing chain (backing.c).
 *
 * A struct request describes the node to open: a name from the user or from an image, or options, or both.  The options
 * object travels down: each node takes its own options, passes the nested objects "file", "backing" and "data-file" to
 * its children, and refuses the rest.
 */
#include "chain.h"
#include "node/trace.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* Far more than in use, less than the stack allows. */
enum { MAX_NESTING = 16 };

static int open_filter(struct img **opened, const struct img_driver *driver, const char *plain, struct request *request,
                       struct img_error *err);

/* ---- Names and options ------------------------------------------------------ */

int chain_unfold_name(struct request *request, struct img_error *err)
{
    struct img_doc *parsed;

    /* (the name of a storage that is open already is only for messages) */
    if (request->storage || !request->name || strncmp(request->name, "json:", 5) != 0)
        return 0;
    if (img_doc_broken(request->options))
        return img_error_memory(err);
    parsed = img_doc_parse_options(request->name + 5, err);
    if (!parsed)
        return -err->code;
    /* Options beside the name win. */
    for (size_t i = 0; i < img_doc_count(request->options); i++)
        img_doc_put(parsed, img_doc_key_at(request->options, i), img_doc_copy(img_doc_at(request->options, i)));
    img_doc_free(request->options);
    request->options = parsed;
    request->name = NULL;
    return 0;
}

static int unknown_driver(const struct request *request, const char *name, struct img_error *err)
{
    img_error_set(err, EINVAL, "Unknown driver '%s'", name);
    img_driver_advise(name, false, err);
    if (request->role == IMG_ROLE_ROOT)
        img_error_advise(err, "if no format is given, it is found by the content of the image");
    return -EINVAL;
}

/* Find the driver that the options or the caller name; *driver is NULL if neither does. */
static int named_driver(struct request *request, const struct img_driver **driver, struct img_error *err)
{
    CLEANUP_FREE char *name = NULL;
    const char *given = request->format ? request->format : img_doc_string_at(request->options, "driver");

    *driver = NULL;
    name = given ? img_strdup(given) : NULL;
    if (img_doc_broken(request->options) || (given && !name))
        return img_error_memory(err);
    img_doc_remove(request->options, "driver");
    if (!name)
        return 0;
    *driver = img_driver_find(name);
    if (!*driver)
        return unknown_driver(request, name, err);
    return img_driver_need(*driver, err);
}

/* NULL with *err set: out of memory, or the graph has as many nodes as it may have. */
static struct img *start_node(const struct img_driver *driver, const struct request *request, struct img_error *err)
{
    struct img *image = img_node_new(driver, request->flags, request->cache, request->gate);

    if (!image) {
        img_error_memory(err);
        return NULL;
    }
    image->perm = request->perm;
    image->shared = request->shared;
    if (img_node_join(image, request->graph, err) == 0)
        return image;
    img_node_free(image);
    return NULL;
}

/* Keep the options that describe this node itself, unchanged. */
static void keep_options(struct img *image, const struct img_doc *options)
{
    image->options = img_doc_copy(options);
    img_doc_remove(image->options, img_child_key(image->driver));
    img_doc_remove(image->options, "backing");
    img_doc_remove(image->options, img_second_key(image->driver));
    img_doc_remove(image->options, "extents");
    img_doc_remove(image->options, "filename");
}

/* Pass the parsed options to the driver's open, then take the locks.  On failure the node is closed. */
static int call_open(struct img *image, struct img_doc *options, struct img_error *err)
{
    const struct img_driver *driver = image->driver;
    const struct img_option *table = driver->open_size ? driver->options : NULL;
    void *parsed;
    int ret = 0;

    if (img_doc_broken(options) || img_doc_broken(image->options))
        return img_error_memory(err);
    ret = img_node_claim_name(image, err);
    if (ret < 0)
        return ret;
    parsed = img_options_new(table, IMG_AT_OPEN, driver->open_size, options, err);
    if (!parsed)
        return -err->code;
    img_limits_inherit(image);
    ret = driver->open(image, parsed, options, err);
    img_options_free(table, IMG_AT_OPEN, parsed);
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

/* Opening failed: close what is open. */
static int give_up(struct img *image, bool opened, struct img_error *err)
{
    if (opened && image->driver->close)
        image->driver->close(image);
    chain_end_node(image);
    return -err->code;
}

/* Does the driver have one node below, with the same size and name? */
static bool stands_in_front(const struct img_driver *driver)
{
    return driver->kind == IMG_FILTER || driver->kind == IMG_ADAPTER;
}

/* ---- Protocols ---------------------------------------------------------------- */

/* A folder may be an image: open the file in it instead. */
static int enter_folder(struct img *image, struct img_error *err)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        const char *inside = img_drivers[i]->folder_file;
        char *name = NULL;
        if (inside && image->driver->in_folder(image->filename, inside, &name) < 0)
            return img_error_memory(err);
        if (name) {
            image->within = image->filename;
            image->filename = name;
            return 0;
        }
    }
    return 0;
}

/* Set the name of the node, and the folder that it must stay in. */
static int set_place(struct img *image, const struct request *request, struct img_error *err)
{
    const char *filename = img_doc_string_at(request->options, "filename");

    if (filename && *filename && img_replace_text(&image->filename, filename) < 0)
        return img_error_memory(err);
    if (request->within && !image->driver->in_folder)
        return img_error_set(err, ENOTSUP, "Block protocol '%s' cannot keep to a folder", image->driver->name);
    if (request->within)
        return img_replace_text(&image->within, request->within) < 0 ? img_error_memory(err) : 0;
    return image->filename && image->driver->in_folder ? enter_folder(image, err) : 0;
}

static int open_protocol(struct img **opened, const struct img_driver *driver, const char *plain,
                         struct request *request, struct img_error *err)
{
    CLEANUP_FREE char *guarded = NULL;
    bool named;
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
    named = plain != NULL;
    /* A path that needed "file:" must not be taken for another protocol later. */
    if (plain && plain != request->name && driver->probe && img_name_prefix(plain) != SIZE_MAX)
        plain = guarded = img_asprintf("./%s", plain);
    if (named)
        img_doc_put_string(request->options, "filename", plain);
    if (set_place(image, request, err) < 0 || img_node_options(image, request->options, request->role, err) < 0 ||
        img_node_check_share(image, err) < 0)
        return give_up(image, false, err);
    if (call_open(image, request->options, err) < 0) {
        request->refused_user = request->inherits && err->code == EAGAIN;
        return give_up(image, false, err);
    }
    if (img_node_leftover(image, request->options, err) < 0 || img_name_node(image, err) < 0)
        return give_up(image, true, err);
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
        /* A filename option is used literally. */
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

/* The node below is open already. */
static int adopt(struct img *image, struct request *request, bool probing, struct img_error *err)
{
    image->file = request->storage;
    request->storage = NULL;
    if (img_node_join(image->file, img_node_graph(image), err) < 0)
        return -err->code;
    return probing ? 0 : chain_lock_children(image, &request->refused_user, err);
}

/*
 * Open the node below.  `probing`: open it for reading only, until the format and the permissions it needs are known.
 */
static int open_file_child(struct img *image, struct request *request, bool probing, struct img_error *err)
{
    struct request child = chain_child_request(image, IMG_ROLE_FILE, request);
    const char *key = img_child_key(image->driver);
    int ret;

    if (request->storage)
        return adopt(image, request, probing, err);
    ret = chain_take_child(request->options, key, request->name != NULL, &child.options, err);
    if (ret < 0)
        return ret;
    child.name = request->name;
    if (!child.options && !child.name) {
        ret = img_node_check_share(image, err);
        return ret < 0 ? ret : img_error_set(err, EINVAL, "A block device must be specified for \"%s\"", key);
    }
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

/* *name: that of the node below as a text, which stands for a nested object: "x-image". Caller frees; NULL: none. */
static int take_child_name(const struct img_driver *driver, struct img_doc *options, char **name,
                           struct img_error *err)
{
    CLEANUP_FREE char *key = img_asprintf("x-%s", img_child_key(driver));

    if (!key || (driver->parse_name && img_replace_text(name, img_doc_string_at(options, key)) < 0))
        return img_error_memory(err);
    if (*name)
        img_doc_remove(options, key);
    return 0;
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
    if (take_child_name(driver, request->options, &below, err) < 0)
        goto fail;
    if (below)
        request->name = below;
    keep_options(image, request->options);
    if (img_node_options(image, request->options, request->role, err) < 0)
        goto fail;
    chain_take_no_backing(image, request->options);
    if (open_file_child(image, request, false, err) < 0 || img_node_check_share(image, err) < 0)
        goto fail;
    image->size = img_size(image->file);
    if (img_name_node(image, err) < 0 || call_open(image, request->options, err) < 0)
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

/* The image is raw by its first bytes: is it one by what else they say? */
static int judge_content(struct img *image, const struct img_head *head, struct img_error *err)
{
    const char *name = image->file->filename;

    image->content = img_content_by_head(head);
    return img_content_judge(image->content, image->file, name && *name ? name : img_filename(image->file), err);
}

/* Raw bytes may be a part of an image, whose file has the rest. */
static void advise_part(const struct img *image, const char *name)
{
    for (size_t i = 0; img_advice_wanted() && img_drivers[i]; i++) {
        CLEANUP_FREE char *whole = NULL;

        if (img_drivers[i]->whole_name && img_drivers[i]->whole_name(name, &whole) == 0 && whole)
            img_notice(IMG_ADVICE, "'%s' may be a part of an image of format %s: then open '%s'",
                       img_filename(image->file), img_drivers[i]->name, whole);
    }
}

/* More than anybody nests on purpose. */
enum { MAX_WRAPPERS = 4 };

/* Put the adapter `driver` between the image, which has no format yet, and its storage.  On failure it is not there. */
static int wrap(struct img *image, const struct img_driver *driver, const struct request *request,
                struct img_error *err)
{
    struct request child = chain_child_request(image, IMG_ROLE_FILE, request);
    struct img_doc *options = img_doc_object();
    struct img *node;
    int ret;

    child.perm = 0;
    child.shared = IMG_PERM_ALL;
    node = img_doc_broken(options) ? NULL : start_node(driver, &child, err);
    if (!node) {
        img_doc_free(options);
        return img_error_memory(err);
    }
    keep_options(node, options);
    node->probed = true;
    node->file = image->file;
    node->size = img_size(node->file);
    ret = call_open(node, options, err);
    img_doc_free(options);
    if (ret == 0) {
        image->file = node;
        return img_name_node(node, err);
    }
    node->file = NULL;
    img_node_free(node);
    return ret;
}

/* The name of what is inside: a compressed file has the name with a suffix. */
static int name_inside(char **name, struct img_error *err)
{
    char *slash = strrchr(*name, '/'), *dot = strrchr(slash ? slash : *name, '.');
    CLEANUP_FREE char *shorter = dot ? img_strndup(*name, (size_t)(dot - *name)) : img_strdup("");

    return shorter && img_replace_text(name, shorter) == 0 ? 0 : img_error_memory(err);
}

/* Look into compressed files and archives, as far as there are any.  *head and *name: those of the innermost one. */
static int unwrap(struct img *image, const struct request *request, struct img_head *head, char **name,
                  struct img_error *err)
{
    const struct img_driver *driver;
    int ret = img_probe_read(image->file, head, err);

    for (int depth = 0; ret == 0 && (driver = img_probe_wrapper(head)); depth++) {
        if (img_probe_by_name(image->file, head, *name))
            return 0;
        if (depth == MAX_WRAPPERS)
            return img_error_set(err, ELOOP, "More than %d compressed files or archives in each other", MAX_WRAPPERS);
        ret = img_driver_need(driver, err);
        if (ret == 0)
            ret = wrap(image, driver, request, err);
        if (ret == -ENODATA) {
            /* An archive without an image may itself be the content of a disk. */
            img_error_clear(err);
            return 0;
        }
        if (ret < 0)
            img_error_advise(err, "with -f %s the file is taken as it is", IMG_PLAIN_FORMAT);
        if (ret == 0)
            ret = name_inside(name, err);
        if (ret == 0)
            ret = img_probe_read(image->file, head, err);
    }
    return ret;
}

/* Probe the format of `image`, which was started as another format.  The storage stays open. */
static int find_format(struct img *image, struct request *request, struct img_error *err)
{
    const struct img_driver *driver;
    CLEANUP_FREE char *name = NULL;
    struct img_head head;
    int ret = open_file_child(image, request, true, err);

    if (ret < 0)
        return ret;
    name = img_strdup(image->file->within ? image->file->filename : request->name ? request->name : "");
    if (!name)
        return img_error_memory(err);
    ret = unwrap(image, request, &head, &name, err);
    if (ret < 0)
        return ret;
    driver = img_probe(image->file, &head, name, err);
    if (!driver || img_driver_need(driver, err) < 0)
        return -err->code;
    if (img_driver_is_plain(driver) && judge_content(image, &head, err) < 0)
        return -err->code;
    image->probed = true;
    image->driver = driver;
    free(image->state);
    image->state = img_calloc(1, driver->state_size);
    if (!image->state)
        return img_error_memory(err);
    if (driver->traits & IMG_PASS_THROUGH && request->role == IMG_ROLE_ROOT)
        advise_part(image, name);
    if (driver->traits & IMG_PASS_THROUGH && image->flags & IMG_RDWR) {
        image->guard = img_probe_guard;
        /* commit writes to a backing file without a word: its name says no format, and the user could not. */
        if (request->role != IMG_ROLE_BACKING)
            img_probe_warn(image);
    }
    return chain_lock_children(image, &request->refused_user, err);
}

/* Only a format whose images may be folders gets a file out of one; for all others it is no regular file. */
static int check_folder(const struct img *image, struct img_error *err)
{
    const struct img *file = image->file;
    const char *inside = image->driver->folder_file, *name = file->filename;
    size_t length = name ? strlen(name) : 0, tail = inside ? strlen(inside) : 0;

    if (!file->within || (inside && length >= tail && strcmp(name + length - tail, inside) == 0))
        return 0;
    return img_error_set(err, EINVAL, "'%s' driver requires '%s' to be a regular file", file->driver->name,
                         file->within);
}

static int open_format(struct img **opened, const struct img_driver *driver, struct request *request,
                       struct img_error *err)
{
    /* Start as raw until the format is known. */
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
    if (img_node_check_share(image, err) < 0 || check_folder(image, err) < 0)
        goto fail;
    driver = image->driver;
    if (driver->decode)
        img_node_of(image)->decoded = img_decoded_new();
    if (driver->decode && !img_node_of(image)->decoded) {
        img_error_memory(err);
        goto fail;
    }
    if (img_name_node(image, err) < 0)
        goto fail;
    if (call_open(image, request->options, err) < 0) {
        chain_advise_format(image, request->name, err);
        goto fail;
    }
    alive = true;
    if (chain_open_backing(image, request, err) < 0)
        goto fail;
    if (img_node_leftover(image, request->options, err) < 0 || img_name_node(image, err) < 0)
        goto fail;
    *opened = image;
    return 0;
fail:
    return give_up(image, alive, err);
}

int chain_open_node(struct img **image, struct request *request, struct img_error *err)
{
    const struct img_driver *driver;
    int ret = chain_unfold_name(request, err);

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

