/* SPDX-License-Identifier: MIT */
/*
 * filename.c - names: "proto:rest", names relative to the image that stores them, and the name shown for a node: a
 * plain one if that says it all, else json:{...}.
 */
#include "node.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>

/* qemu-img truncates longer json: names, with "..." at the end. */
enum { MAX_JSON_NAME = 4095 };

size_t img_name_prefix(const char *name)
{
    size_t length = strcspn(name, ":/");

    return name[length] == ':' ? length : SIZE_MAX;
}

/* Length of the directory part of `base`. */
static size_t directory_length(const char *base)
{
    const char *slash = strrchr(base, '/');
    size_t prefix = img_name_prefix(base);

    if (slash)
        return (size_t)(slash - base) + 1;
    return prefix == SIZE_MAX ? 0 : prefix + 1;
}

/* NULL: out of memory. */
static char *combined(const char *base, const char *name)
{
    if (name[0] == '/')
        return img_strdup(name);
    return img_asprintf("%.*s%s", (int)directory_length(base), base, name);
}

bool img_name_is_relative(const char *name)
{
    return name[0] != '/' && img_name_prefix(name) == SIZE_MAX;
}

/* `name` as seen from the directory of `base`.  Caller frees.  NULL with *err set. */
static char *combine(const char *base, const char *name, struct img_error *err)
{
    char *whole = combined(base, name);

    if (!whole)
        img_error_memory(err);
    return whole;
}

char *img_name_beside(const char *beside, const char *name)
{
    return img_name_is_relative(name) ? combined(beside, name) : img_strdup(name);
}

/* The nearest plain name: the image's, or that of the node below. */
static const char *name_of_place(const struct img *image)
{
    for (; image; image = image->file) {
        /* "blkdebug::DIR/FILE" is not a path, nor is "gzip:FILE". */
        bool prefixed = image->file && (image->file->driver->kind == IMG_FILTER ||
                                        image->file->driver->kind == IMG_ADAPTER);
        if (image->filename && *image->filename && !prefixed)
            return image->filename;
    }
    return NULL;
}

char *img_name_neighbour(const struct img *image, const char *name, struct img_error *err)
{
    const char *place = name_of_place(image);

    if (!place && name[0] != '/') {
        img_error_set(err, EINVAL, "Cannot generate a base directory for %s nodes", image->driver->name);
        return NULL;
    }
    return combine(place ? place : "", name, err);
}

char *img_name_resolve(const struct img *image, const char *name, struct img_error *err)
{
    return img_name_is_relative(name) ? img_name_neighbour(image, name, err) : combine("", name, err);
}

char *img_backing_full_name(const struct img *image, struct img_error *err)
{
    if (!image->backing_name) {
        img_error_set(err, ENOENT, "No backing file");
        return NULL;
    }
    return img_name_resolve(image, image->backing_name, err);
}

/* ---- json: names -------------------------------------------------------------- */

static bool is_strong(const struct img_driver *driver, const char *key)
{
    for (const char *const *strong = driver->strong_options; strong && *strong; strong++) {
        size_t length = strlen(*strong);
        if ((*strong)[length - 1] == '.' ? strncmp(key, *strong, length) == 0 : strcmp(key, *strong) == 0)
            return true;
    }
    return false;
}

/* Flat: "encrypt.key-secret". */
static struct img_doc *strong_options(const struct img *image)
{
    struct img_doc *strong = img_doc_object(), *flat = img_options_flatten(image->options);

    if (img_doc_broken(flat))
        img_doc_break(strong);
    for (size_t i = 0; i < img_doc_count(flat); i++) {
        if (is_strong(image->driver, img_doc_key_at(flat, i)))
            img_doc_put(strong, img_doc_key_at(flat, i), img_doc_copy(img_doc_at(flat, i)));
    }
    img_doc_free(flat);
    return strong;
}

int img_has_strong_options(const struct img *image, const char *but)
{
    struct img_doc *strong = strong_options(image);
    int any;

    if (but)
        img_doc_remove(strong, but);
    any = img_doc_broken(strong) ? -ENOMEM : img_doc_count(strong) > 0;
    img_doc_free(strong);
    return any;
}

/* 1: the backing file is another one than the image names; 0; -ENOMEM. */
static int has_other_backing(const struct img *image)
{
    struct img_error unused = IMG_ERROR_INIT;
    CLEANUP_FREE char *stored = NULL;
    const char *plain = NULL;
    bool no_memory;

    if (!image->backing)
        return 0;
    if (!image->backing_name)
        return 1;
    if (strncmp(image->backing_name, "json:", 5) == 0)
        return 0;
    stored = img_name_resolve(image, image->backing_name, &unused);
    if (stored)
        img_protocol_for_name(stored, &plain, &unused);
    no_memory = unused.code == ENOMEM;
    img_error_clear(&unused);
    if (!stored)
        return no_memory ? -ENOMEM : 1;
    return strcmp(img_filename(image->backing), plain) != 0 && strcmp(img_filename(image->backing), stored) != 0;
}

/* The order in which qemu-img's hash table yields these keys. */
static const char *const key_order[] = {
    "header", "set-state.1.event", "inject-error.*.state", "opt-write-zero", "inject-error.*.immediately",
    "set-state.0.event", "inject-error.*.once", "max-write-zero", "password-secret", "pool", "image", "conf",
    "snapshot", "server.*.transport", "server.*.host", "max-transfer", "set-state.1.new_state", "encrypt.key-secret",
    "read-zeroes", "throttle-group", "offset", "data-file", "force_size_calc", "server.host", "server.port", "server.numeric",
    "group", "host_key_check", "lun", "portal", "header-digest", "initiator-name", "url", "cookie-secret",
    "proxy-username", "driver", "namespace", "transport", "proxy-password-secret", "username",
    "cookie", "sslverify", "path", "server.*.path", "server.*.type", "server.*.socket",
    "server.*.port", "volume", "server.type", "user", "target", "set-state.1.state", "config",
    "inject-error.*.iotype", "set-state.0.new_state", "inject-error.*.errno", "inject-error.*.event", "opt-discard",
    "set-state.0.state", "inject-error.*.sector", "max-discard", "align", "size", "backing", "file", "filename", NULL
};

static void put_member(const struct img *image, const char *key, const struct img_doc *strong, struct img_doc *options);

/* "inject-error.*.state" matches any number in the middle. */
static bool key_matches(const char *pattern, const char *key)
{
    size_t head = strcspn(pattern, "*");

    return strncmp(pattern, key, head) == 0 &&
           strcmp(pattern + head + 1, key + head + strspn(key + head, "0123456789")) == 0;
}

static void put_matching(const char *pattern, const struct img_doc *strong, struct img_doc *options)
{
    for (size_t i = 0; i < img_doc_count(strong); i++) {
        const char *key = img_doc_key_at(strong, i);
        if (key_matches(pattern, key))
            img_doc_put(options, key, img_doc_copy(img_doc_at(strong, i)));
    }
}

/* All options that are needed to open the node again. */
static struct img_doc *full_options(const struct img *image)
{
    struct img_doc *options = img_doc_object(), *strong = strong_options(image);

    for (const char *const *key = key_order; *key; key++) {
        put_member(image, *key, strong, options);
        if (strchr(*key, '*'))
            put_matching(*key, strong, options);
    }
    for (size_t i = 0; i < img_doc_count(strong); i++) {
        const char *key = img_doc_key_at(strong, i);
        if (!img_doc_get(options, key))
            img_doc_put(options, key, img_doc_copy(img_doc_at(strong, i)));
    }
    if (img_doc_broken(strong))
        img_doc_break(options);
    img_doc_free(strong);
    return options;
}

static void put_member(const struct img *image, const char *key, const struct img_doc *strong, struct img_doc *options)
{
    const struct img_doc *given = img_doc_get(strong, key);
    int other = strcmp(key, "backing") == 0 ? has_other_backing(image) : 0;

    if (other < 0)
        img_doc_break(options);
    if (strcmp(key, "driver") == 0)
        img_doc_put_string(options, key, image->driver->name);
    else if (strcmp(key, img_second_key(image->driver)) == 0 && image->data_file)
        img_doc_put(options, key, full_options(image->data_file));
    else if (strcmp(key, img_child_key(image->driver)) == 0 && image->file)
        img_doc_put(options, key, full_options(image->file));
    else if (other > 0)
        img_doc_put(options, key, full_options(image->backing));
    else if (strcmp(key, "filename") == 0 && image->driver->kind == IMG_PROTOCOL && image->filename &&
             *image->filename)
        img_doc_put_string(options, key, image->filename);
    else if (given)
        img_doc_put(options, key, img_doc_copy(given));
}

/* *name: the plain name, if opening it gives the same node, or NULL; caller frees. */
static int plain_name(const struct img *image, char **name)
{
    const struct img *file = image->file;
    int different;

    if (image->driver->plain_name)
        return image->driver->plain_name(image, name);
    different = img_has_strong_options(image, NULL);
    if (different || image->driver->kind == IMG_FILTER)
        return different < 0 ? different : 0;
    if (image->driver->kind == IMG_PROTOCOL)
        return img_replace_text(name, image->filename);
    if (!file || !(file->driver->kind == IMG_PROTOCOL || file->driver->prefix))
        return 0;
    different = has_other_backing(image);
    if (different || !file->shown_name || strncmp(file->shown_name, "json:", 5) == 0)
        return different < 0 ? different : 0;
    return img_replace_text(name, file->shown_name);
}

/* Caller frees; NULL: out of memory. */
static char *json_name(const struct img *image)
{
    struct img_doc *options = full_options(image);
    CLEANUP_FREE char *json = img_doc_json(options, -1);
    char *name = json ? img_asprintf("json:%s", json) : NULL;

    img_doc_free(options);
    if (name && strlen(name) > MAX_JSON_NAME)
        strcpy(name + MAX_JSON_NAME - 3, "...");
    return name;
}

int img_name_node(struct img *image, struct img_error *err)
{
    CLEANUP_FREE char *plain = NULL;
    bool is_plain;
    int ret = plain_name(image, &plain);

    is_plain = plain != NULL;
    if (ret == 0 && !plain && !(plain = json_name(image)))
        ret = -ENOMEM;
    if (ret == 0)
        ret = img_replace_text(&image->shown_name, plain);
    if (ret == 0 && image->driver->kind != IMG_PROTOCOL)
        ret = img_replace_text(&image->filename, is_plain && image->driver->kind == IMG_FORMAT ? plain : "");
    else if (ret == 0 && !image->filename)
        ret = img_replace_text(&image->filename, "");
    return ret < 0 ? img_error_memory(err) : 0;
}

const char *img_filename(const struct img *image)
{
    return image->shown_name ? image->shown_name : "";
}
