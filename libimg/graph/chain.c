/* SPDX-License-Identifier: MIT */
/*
 * chain.c - opening: a format node over a protocol node, its data file and, with
 * backing.c, its backing chain; and closing them again.
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

static struct img *start_node(const struct img_driver *driver, const struct request *request)
{
    struct img *image = img_node_new(driver, request->flags, request->cache, request->gate);

    image->perm = request->perm;
    image->shared = request->shared;
    return image;
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

/* Hand the driver its parsed options and let it open. */
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
    if (ret == 0) {
        img_limits_settle(image);
        IMG_TRACE(open, image, image->size, image->flags);
    }
    return ret;
}

/* Close what lies below, and end the node.  The first error counts. */
static int end_node(struct img *image)
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

/* The node did not come to life whole. */
static int give_up(struct img *image, bool opened, struct img_error *err)
{
    if (opened && image->driver->close)
        image->driver->close(image);
    end_node(image);
    return -err->code;
}

/* One node below, whose size and name it has. */
static bool stands_in_front(const struct img_driver *driver)
{
    return driver->kind == IMG_FILTER || driver->kind == IMG_ADAPTER;
}

/* ---- Protocols ---------------------------------------------------------------- */

static int open_protocol(struct img **opened, const struct img_driver *driver, const char *plain,
                         struct request *request, struct img_error *err)
{
    struct img *image = start_node(driver, request);
    CLEANUP_FREE char *guarded = NULL;
    const char *filename;

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
    filename = img_doc_string_at(request->options, "filename");
    if (filename && *filename)
        image->filename = img_xstrdup(filename);
    if (img_node_options(image, request->options, request->role, err) < 0)
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

/* A child that holds bytes: its driver is a protocol unless the options say otherwise. */
static int open_storage(struct img **image, struct request *request, struct img_error *err)
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
        driver = driver ? driver : img_driver_find("file");
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

struct request chain_child_request(const struct img *parent, enum img_role role, const struct request *from)
{
    struct request child = { .role = role, .flags = parent->flags, .cache = parent->cache, .gate = parent->gate };

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

/* The node below.  `probing`: for a look at the content alone, before the format and with it the right
 * permissions are known; the options stay for the real one. */
static int open_file_child(struct img *image, struct request *request, bool probing, struct img **file,
                           struct img_error *err)
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
    if (child.options && probing)
        img_doc_put(request->options, key, img_doc_copy(child.options));
    if (!child.options)
        child.options = img_doc_object();
    if (probing) {
        child.flags &= ~(unsigned)IMG_RDWR;
        child.perm = 0;
        child.shared = IMG_PERM_ALL;
    }
    if (child.nesting > MAX_NESTING)
        ret = img_error_set(err, ELOOP, "Too many nested nodes");
    else
        ret = open_storage(file, &child, err);
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
    struct img *image = start_node(driver, request);
    CLEANUP_FREE char *below = NULL;
    bool alive = false;

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
    if (open_file_child(image, request, false, &image->file, err) < 0)
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

/* ---- Formats that have to be found out --------------------------------------------------- */

/* Find out the format of `image`, which has been started as some format. */
static int find_format(struct img *image, struct request *request, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const struct img_driver *driver;
    const char *name = request->name;
    struct img *file = NULL;
    int ret = open_file_child(image, request, true, &file, err);

    if (ret < 0)
        return ret;
    if (file->in_folder)
        name = file->filename;
    driver = img_probe(file, name ? name : "", err);
    img_close(file, &ignored);
    img_error_clear(&ignored);
    if (!driver || img_driver_need(driver, err) < 0)
        return -err->code;
    image->probed = true;
    image->driver = driver;
    free(image->state);
    image->state = img_xcalloc(1, driver->state_size ? driver->state_size : 1);
    return 0;
}

/* A node that an image names and `options` may describe.  1: nothing at all is said about it, so that the stored name
 * counts; 0; -errno with *err set.  The options of the request are to be freed. */
static int describe_named(struct request *child, const struct img *parent, const char *role,
                          const struct img_doc *options, struct img_error *err)
{
    const char *reference = img_doc_get_string(options);

    child->nesting = 1;
    if (reference)
        return refuse_reference(reference, role, parent->options, false, err);
    child->options = options ? img_doc_copy(options) : img_doc_object();
    return img_doc_count(child->options) == 0;
}

int img_open_child(struct img *parent, const char *role, const char *name, const char *format,
                   const struct img_doc *options, struct img **opened, struct img_error *err)
{
    struct request child = chain_child_request(parent, IMG_ROLE_DATA, NULL);
    int ret = describe_named(&child, parent, role, options, err);

    *opened = NULL;
    if (ret > 0) {
        ret = name ? img_gate_check(parent, role, name, err)
                   : img_error_set(err, EINVAL, "A block device must be specified for \"%s\"", role);
        child.name = name;
    }
    child.format = format;
    /* A stored name is a file's name, never a json: description of whatever its writer had in mind. */
    if (ret == 0)
        ret = open_storage(opened, &child, err);
    img_doc_free(child.options);
    return ret;
}

int img_open_extent(struct img *parent, const char *name, const struct img_doc *options, struct img_error *err)
{
    struct request child = chain_child_request(parent, IMG_ROLE_FILE, NULL);
    CLEANUP_FREE char *role = img_xasprintf("extents.%zu", parent->extent_count), *place = NULL;
    struct img *opened = NULL;
    int ret = describe_named(&child, parent, role, options, err);

    if (ret > 0) {
        ret = img_gate_check(parent, "extent", name, err);
        place = ret < 0 ? NULL : img_name_neighbour(parent, name, err);
        if (place)
            img_doc_put_string(child.options, "filename", place);
        else
            ret = -err->code;
    }
    if (ret == 0)
        ret = open_storage(&opened, &child, err);
    img_doc_free(child.options);
    if (ret < 0)
        return ret;
    opened->child_name = img_xstrdup(role);
    parent->extents = img_xrealloc(parent->extents, (parent->extent_count + 1) * sizeof *parent->extents);
    parent->extents[parent->extent_count++] = opened;
    return 0;
}

int img_open_protocol(struct img **image, const char *name, unsigned flags, unsigned perm, unsigned shared,
                      struct img_error *err)
{
    struct request request = { .name = name, .role = IMG_ROLE_FILE, .flags = flags, .perm = perm, .shared = shared };
    int ret;

    request.options = img_doc_object();
    ret = open_storage(image, &request, err);
    img_doc_free(request.options);
    return ret;
}

/* ---- Formats -------------------------------------------------------------------------- */

static int open_format(struct img **opened, const struct img_driver *driver, struct request *request,
                       struct img_error *err)
{
    /* Until the format is known, raw stands for it. */
    const struct img_driver *first = driver ? driver : img_driver_find("raw");
    struct img *image;
    bool alive = false;

    if (!first)
        return img_error_set(err, ENOTSUP, "raw support is not built in");
    image = start_node(first, request);
    keep_options(image, request->options);
    if (img_node_options(image, request->options, request->role, err) < 0)
        goto fail;
    chain_take_no_backing(image, request->options);
    if (!driver && find_format(image, request, err) < 0)
        goto fail;
    driver = image->driver;
    if (open_file_child(image, request, false, &image->file, err) < 0)
        goto fail;
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
    if (image->probed && image->driver->traits & IMG_PASS_THROUGH && image->flags & IMG_RDWR) {
        image->guard = img_probe_guard;
        img_probe_warn(image);
    }
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

/* ---- The public calls ----------------------------------------------------------------- */

static int open_root(struct img **image, const char *name, struct img_doc *options, const struct img_open *how,
                     struct img_error *err)
{
    struct request request = { .name = name, .options = options, .format = how->format, .role = IMG_ROLE_ROOT,
                               .flags = how->flags, .cache = how->cache, .gate = how->gate };
    int ret;

    request.perm = how->flags & IMG_NO_IO ? 0 : IMG_PERM_READ;
    if (how->flags & IMG_RDWR)
        request.perm |= IMG_PERM_WRITE;
    if (how->flags & IMG_RESIZE)
        request.perm |= IMG_PERM_RESIZE;
    request.shared = how->flags & IMG_NO_WRITERS && !(how->flags & IMG_SHARE)
                         ? IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED : IMG_PERM_ALL;
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

int img_close(struct img *image, struct img_error *err)
{
    const char *unflushed = image ? image->driver->unflushed : NULL;
    int ret = 0, r;

    if (!image)
        return 0;
    IMG_TRACE(close, image, image->size, image->flags);
    if (image->flags & IMG_RDWR)
        ret = img_flush(image);
    /* A format that gave up over fatal damage said so then. */
    if (ret == -ENOMEDIUM && image->file)
        ret = img_flush(image->file);
    if (image->driver->close) {
        r = image->driver->close(image);
        ret = ret ? ret : r;
    }
    r = end_node(image);
    ret = ret ? ret : r;
    return ret < 0 ? img_error_errno(err, -ret, "%s", unflushed ? unflushed : "Could not close image") : 0;
}
