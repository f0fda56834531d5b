/* SPDX-License-Identifier: MIT */
/*
 * node.c - creates and frees nodes, takes the options that every node has, and computes what a node needs of its
 * children.
 */
#include "node.h"
#include "node/trace.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <stdio.h>
#include <string.h>

enum { MAX_NODE_NAME = 32 };
/* Far more than in use, about as many as the files that a process may open.  An image can name others without end. */
enum { MAX_NODES = 1000 };


struct img *img_node_new(const struct img_driver *driver, unsigned flags, enum img_cache cache, enum img_gate gate)
{
    struct img_node *node = img_calloc(1, sizeof *node);
    void *state = img_calloc(1, driver->state_size);

    if (!node || !state) {
        free(node);
        free(state);
        return NULL;
    }
    struct img *image = &node->image;
    image->driver = driver;
    image->state = state;
    image->flags = flags;
    image->cache = cache;
    image->gate = gate;
    img_limits_inherit(image);
    pthread_mutex_init(&image->lock, NULL);
    pthread_mutex_init(&node->flush_lock, NULL);
    pthread_mutex_init(&node->answers.lock, NULL);
    img_range_lock_init(&node->ranges);
    pthread_cond_init(&image->table_arrived, NULL);
    return image;
}

/* ---- Names of nodes ----------------------------------------------------------- */

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static struct img *named;           /* all open nodes with a name, linked by next_named */

int img_node_claim_name(struct img *image, struct img_error *err)
{
    if (!image->node_name)
        return 0;
    LOCK_SCOPE(&names_lock);
    for (const struct img *other = named; other; other = other->next_named) {
        if (strcmp(other->node_name, image->node_name) == 0)
            return img_error_set(err, EINVAL, "Duplicate nodes with node-name='%s'", image->node_name);
    }
    image->next_named = named;
    named = image;
    return 0;
}

static void drop_name(struct img *image)
{
    if (!image->node_name)
        return;
    LOCK_SCOPE(&names_lock);
    for (struct img **at = &named; *at; at = &(*at)->next_named) {
        if (*at == image) {
            *at = image->next_named;
            break;
        }
    }
    free(image->node_name);
}

/* ---- Life ----------------------------------------------------------------------- */

struct img_graph {
    unsigned nodes;
};

static void leave_graph(struct img *image)
{
    struct img_graph *graph = img_node_of(image)->graph;

    if (graph && --graph->nodes == 0)
        free(graph);
}

int img_node_join(struct img *image, struct img_graph *graph, struct img_error *err)
{
    if (graph && graph->nodes >= MAX_NODES)
        return img_error_set(err, EMLINK, "Too many nodes in one image (the limit is %d)", MAX_NODES);
    graph = graph ? graph : img_calloc(1, sizeof *graph);
    if (!graph)
        return img_error_memory(err);
    leave_graph(image);
    graph->nodes++;
    img_node_of(image)->graph = graph;
    return 0;
}

struct img_graph *img_node_graph(const struct img *image)
{
    return ((const struct img_node *)image)->graph;
}

void img_node_free(struct img *image)
{
    leave_graph(image);
    free(image->extents);
    free(image->child_name);
    drop_name(image);
    img_doc_free(image->options);
    pthread_cond_destroy(&image->table_arrived);
    pthread_mutex_destroy(&image->lock);
    pthread_mutex_destroy(&img_node_of(image)->flush_lock);
    pthread_mutex_destroy(&img_node_of(image)->answers.lock);
    img_range_lock_destroy(&img_node_of(image)->ranges);
    free(image->state);
    free(image->filename);
    free(image->within);
    free(image->shown_name);
    free(image->backing_name);
    free(image->backing_format);
    free(image->backing_alias);
    img_doc_free(image->backing_options);
    for (size_t i = 0; i < image->parent_count; i++)
        free(image->parent_names[i]);
    free(image->parent_names);
    free(image);
}

int img_node_take_bool(struct img_doc *options, const char *key, const char *shown, bool *value, struct img_error *err)
{
    struct img_doc *doc = img_doc_get(options, key);
    const char *text = img_doc_get_string(doc);

    if (!doc)
        return 0;
    if (img_doc_type(doc) == IMG_DOC_BOOL)
        *value = img_doc_get_bool(doc);
    else if (text && strcmp(text, "on") == 0)
        *value = true;
    else if (text && strcmp(text, "off") == 0)
        *value = false;
    else
        return img_error_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", shown);
    img_doc_remove(options, key);
    return 0;
}

static const struct {
    const char *name;
    enum img_cache mode;
} caches[] = {
    { "writeback", IMG_CACHE_WRITEBACK }, { "none", IMG_CACHE_NONE }, { "writethrough", IMG_CACHE_WRITETHROUGH },
    { "directsync", IMG_CACHE_DIRECTSYNC }, { "unsafe", IMG_CACHE_UNSAFE }, { "off", IMG_CACHE_NONE },
};
enum { CACHES = sizeof caches / sizeof *caches };

int img_cache_parse(const char *name, enum img_cache *mode)
{
    for (size_t i = 0; i < CACHES; i++) {
        if (strcmp(name, caches[i].name) == 0) {
            *mode = caches[i].mode;
            return 0;
        }
    }
    return -EINVAL;
}

const char *img_cache_name(size_t index)
{
    return index < CACHES ? caches[index].name : NULL;
}

/* cache.direct and cache.no-flush change the inherited mode. */
static int take_cache(struct img *image, struct img_doc *options, struct img_error *err)
{
    struct img_doc *cache = img_doc_get(options, "cache");
    bool direct = img_cache_direct(image->cache);
    bool through = image->cache == IMG_CACHE_WRITETHROUGH || image->cache == IMG_CACHE_DIRECTSYNC;
    bool no_flush = image->cache == IMG_CACHE_UNSAFE || image->cache == IMG_CACHE_DIRECT_UNSAFE;
    int ret;

    if (img_doc_type(cache) != IMG_DOC_OBJECT || img_doc_count(cache) == 0)
        return 0;
    ret = img_node_take_bool(cache, "direct", "cache.direct", &direct, err);
    if (ret == 0)
        ret = img_node_take_bool(cache, "no-flush", "cache.no-flush", &no_flush, err);
    if (ret < 0)
        return ret;
    if (img_doc_count(cache) == 0)
        img_doc_remove(options, "cache");
    if (no_flush)
        image->cache = direct ? IMG_CACHE_DIRECT_UNSAFE : IMG_CACHE_UNSAFE;
    else if (direct)
        image->cache = through ? IMG_CACHE_DIRECTSYNC : IMG_CACHE_NONE;
    else
        image->cache = through ? IMG_CACHE_WRITETHROUGH : IMG_CACHE_WRITEBACK;
    return 0;
}

static bool one_of(const char *text, const char *const *choices)
{
    for (; *choices; choices++) {
        if (strcmp(text, *choices) == 0)
            return true;
    }
    return false;
}

/* `unmaps`: the default is to pass discards on. */
static int take_discard(struct img *image, struct img_doc *options, bool unmaps, struct img_error *err)
{
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const detects[] = { "off", "on", "unmap", NULL };
    const char *discard = img_doc_string_at(options, "discard");
    const char *detect = img_doc_string_at(options, "detect-zeroes");

    if (discard && !one_of(discard, discards))
        return img_error_set(err, EINVAL, "Invalid discard option");
    if (detect && !one_of(detect, detects))
        return img_error_set(err, EINVAL, "invalid parameter value: %s", detect);
    if (discard)
        unmaps = strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0;
    if (detect && strcmp(detect, "unmap") == 0 && !unmaps)
        return img_error_set(err, EINVAL, "setting detect-zeroes to unmap is not allowed without setting discard "
                             "operation to unmap");
    image->keeps_discarded = discard && !unmaps;
    for (unsigned i = 0; detect && detects[i]; i++) {
        if (strcmp(detect, detects[i]) == 0)
            image->detect_zeroes = (enum img_detect_zeroes)i;
    }
    if (discard)
        img_doc_remove(options, "discard");
    if (detect)
        img_doc_remove(options, "detect-zeroes");
    return 0;
}

static bool well_formed_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");

    return name[length] == '\0' && length > 0 && ((name[0] | 0x20) >= 'a' && (name[0] | 0x20) <= 'z');
}

/* An inactive node may be looked at, but not used. */
static int check_active(const struct img *image, struct img_error *err)
{
    static const char *const names[] = { "consistent read", "write", "write unchanged", "resize" };
    unsigned perm = image->perm;
    struct img_strbuf list = { 0 };

    if (!((const struct img_node *)image)->inactive || !perm)
        return 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (perm & 1u << i)
            img_strbuf_printf(&list, "%s%s", list.length ? ", " : "", names[i]);
    }
    img_error_set(err, EPERM, "Permission '%s' unavailable on inactive node", list.failed ? "" : list.text);
    img_strbuf_free(&list);
    return -EPERM;
}

int img_node_options(struct img *image, struct img_doc *options, enum img_role role, struct img_error *err)
{
    const char *node_name = img_doc_string_at(options, "node-name");
    bool read_only = !(image->flags & IMG_RDWR), share = (image->flags & IMG_SHARE) != 0, automatic = false;
    bool active = true;
    int ret;

    if (node_name && !well_formed_name(node_name))
        return img_error_set(err, EINVAL, "Invalid node-name: '%s'", node_name);
    if (node_name && strlen(node_name) >= MAX_NODE_NAME)
        return img_error_set(err, EINVAL, "Node name too long");
    if (node_name) {
        if (img_replace_text(&image->node_name, node_name) < 0)
            return img_error_memory(err);
        img_doc_remove(options, "node-name");
    }
    ret = img_node_take_bool(options, "read-only", "read-only", &read_only, err);
    if (ret == 0)
        ret = img_node_take_bool(options, "auto-read-only", "auto-read-only", &automatic, err);
    if (ret == 0)
        ret = img_node_take_bool(options, "active", "active", &active, err);
    if (ret == 0)
        ret = img_node_take_bool(options, "force-share", "force-share", &share, err);
    if (ret == 0)
        ret = take_cache(image, options, err);
    if (ret == 0)
        ret = take_discard(image, options, role != IMG_ROLE_ROOT, err);
    if (ret < 0)
        return ret;
    if (read_only && image->flags & IMG_RDWR)
        return img_error_set(err, EPERM, "Block node is read-only");
    img_node_of(image)->inactive = !active;
    ret = check_active(image, err);
    if (ret < 0)
        return ret;
    if (share)
        image->flags |= IMG_SHARE;
    return 0;
}

int img_node_check_share(const struct img *image, struct img_error *err)
{
    if ((image->flags & (IMG_SHARE | IMG_RDWR)) == (IMG_SHARE | IMG_RDWR))
        return img_error_set(err, EINVAL, "force-share=on can only be used with read-only images");
    return 0;
}

/* The first leaf, with its keys joined by dots. */
static void leaf_name(const struct img_doc *options, struct img_strbuf *name)
{
    const char *key = img_doc_key_at(options, 0);
    struct img_doc *value = img_doc_at(options, 0);

    if (name->length)
        img_strbuf_add_char(name, '.');
    img_strbuf_add(name, key ? key : "0");
    if (img_doc_count(value))
        leaf_name(value, name);
}

static void advise_option(const struct img_driver *driver, const char *name, struct img_error *err)
{
    static const char *const of_all[] = { "read-only", "force-share", "discard", "detect-zeroes", "node-name",
                                          "driver" };
    struct img_guess guess = { .word = name };

    for (size_t i = 0; i < sizeof of_all / sizeof *of_all; i++)
        img_guess_try(&guess, of_all[i], of_all[i]);
    for (const struct img_option *option = driver->options; option && option->name; option++)
        if (option->when & IMG_AT_OPEN)
            img_guess_try(&guess, option->name, option->name);
    if (img_guess_best(&guess))
        img_error_advise(err, "did you mean '%s'?", img_guess_best(&guess));
}

int img_node_leftover(const struct img *image, const struct img_doc *options, struct img_error *err)
{
    struct img_strbuf name = { 0 };

    if (img_doc_count(options) == 0)
        return 0;
    leaf_name(options, &name);
    if (name.failed)
        return img_error_memory(err);
    if (image->driver->kind == IMG_PROTOCOL || image->driver->prefix)
        img_error_set(err, EINVAL, "Block protocol '%s' doesn't support the option '%s'", image->driver->name,
                      name.text);
    else
        img_error_set(err, EINVAL, "Block format '%s' does not support the option '%s'", image->driver->name,
                      name.text);
    advise_option(image->driver, name.text, err);
    img_strbuf_free(&name);
    return -EINVAL;
}

bool img_shows_below(const struct img *image)
{
    return image->driver->kind == IMG_FILTER || image->driver->traits & IMG_PASS_THROUGH;
}

int img_node_lock(struct img *image, unsigned perm, unsigned shared, struct img_error *err)
{
    int ret;

    image->perm = perm;
    image->shared = shared;
    ret = check_active(image, err);
    if (ret < 0 || !image->driver->lock)
        return ret;
    IMG_TRACE(lock, image, perm, image->flags & IMG_SHARE ? IMG_PERM_ALL : shared);
    return image->driver->lock(image, err);
}

void img_node_permissions(const struct img *parent, enum img_role role, unsigned *perm, unsigned *shared)
{
    bool writable = (parent->flags & IMG_RDWR) != 0;

    if (role == IMG_ROLE_FILE && img_shows_below(parent)) {
        *perm = parent->perm;
        *shared = parent->shared;
        return;
    }
    *perm = parent->flags & IMG_NO_IO ? 0 : IMG_PERM_READ;
    *shared = parent->flags & IMG_SHARE ? IMG_PERM_ALL : parent->shared;
    if (role == IMG_ROLE_BACKING)
        return;
    if (writable)
        *perm |= IMG_PERM_WRITE | IMG_PERM_RESIZE;
    if (parent->flags & IMG_SHARE)
        return;
    /* A second writer would invalidate cached metadata; sharing guest data is the guest's responsibility. */
    if (role == IMG_ROLE_DATA)
        *shared &= ~(unsigned)IMG_PERM_RESIZE;
    else
        *shared = IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED;
}
