/* SPDX-License-Identifier: MIT */
/*
 * create.c - creates images.  The options of one request belong to the format and to its protocol.  The format's option
 * table takes its own, img_create_file passes on the rest, and unknown ones are refused before anything is touched.
 */
#include "chain.h"
#include "graph.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Find the drivers for a new image of `driver` at `name`: format first, then protocol. */
static int find_tables(const struct img_driver *driver, const char *name, const struct img_option *tables[2],
                       struct img_error *err)
{
    const char *plain;
    const struct img_driver *protocol = img_protocol_for_name(name, &plain, err);

    if (!protocol || img_driver_need(protocol, err) < 0)
        return -err->code;
    protocol = img_driver_load(protocol);
    if (!protocol->create)
        return img_error_set(err, ENOTSUP, "Protocol driver '%s' does not support image creation", protocol->name);
    tables[0] = driver->options;
    tables[1] = protocol == driver ? NULL : protocol->options;
    return 0;
}

int img_create_check(const struct img_driver *driver, const char *name, const struct img_doc *options,
                     struct img_error *err)
{
    const struct img_option *tables[2];
    int ret = find_tables(driver, name, tables, err);

    return ret < 0 ? ret : img_options_check(tables, 2, IMG_AT_CREATE, options, err);
}

bool img_create_clones(const struct img_driver *driver, const char *name)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const struct img_option *tables[2];
    bool clones = false;

    if (driver->kind != IMG_PROTOCOL && !img_driver_is_plain(driver))
        return false;
    if (find_tables(driver, name, tables, &ignored) == 0)
        for (const struct img_option *option = tables[1] ? tables[1] : tables[0]; option && option->name; option++)
            clones |= option->when & IMG_AT_CREATE && strcmp(option->name, "backing_file") == 0;
    img_error_clear(&ignored);
    return clones;
}

int img_create_run_options(const struct img_driver *driver, const struct img_doc *options, struct img_doc **run)
{
    *run = NULL;
    for (const struct img_option *option = driver->options; option && option->name; option++) {
        const char *text = option->when & IMG_AT_RUN ? img_doc_string_at(options, option->name) : NULL;

        if (!text)
            continue;
        if (!*run)
            *run = img_doc_object();
        img_doc_put_string(*run, option->name, text);
        if (img_doc_broken(*run)) {
            img_doc_free(*run);
            *run = NULL;
            return -ENOMEM;
        }
    }
    return 0;
}

char *img_create_help(const struct img_driver *driver, const char *name, struct img_error *err)
{
    const struct img_option *tables[2] = { driver->options, NULL };
    CLEANUP_FREE char *lines = NULL;
    char *text = NULL;

    if (name && find_tables(driver, name, tables, err) < 0)
        return NULL;
    lines = img_options_help(tables, 2, IMG_AT_CREATE);
    if (lines && name)
        text = img_asprintf("Supported options:\n%s", lines);
    else if (lines)
        text = img_asprintf("Supported %s options:\n%s\nThe protocol level may support further options.\n"
                            "Specify the target filename to include those options.\n", driver->name, lines);
    if (!text)
        img_error_memory(err);
    return text;
}

/* Let the driver's option table take what it knows out of `options`, then call the driver. */
static int call_create(const struct img_driver *driver, const char *name, const char *called, struct img_doc *options,
                       unsigned shared, bool last, struct img_error *err)
{
    void *parsed = img_options_new(driver->options, IMG_AT_CREATE, driver->create_size, options, err);
    struct img_create request = { .name = name, .called = called, .options = parsed, .rest = options,
                                  .shared = shared };
    int ret;

    if (!parsed)
        return -err->code;
    if (last && img_doc_count(options))
        ret = img_error_set(err, EINVAL, "Invalid parameter '%s'", img_doc_key_at(options, 0));
    else
        ret = driver->create(&request, err);
    img_options_free(driver->options, IMG_AT_CREATE, parsed);
    if (ret < 0 && !err->text)
        img_error_errno(err, -ret, "Could not create image");
    return ret;
}

/* What a protocol is asked to create: without the prefix, if that is its own. */
static const char *own_name(const struct img_driver *driver, const char *name)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const char *plain;
    const struct img_driver *protocol = img_protocol_for_name(name, &plain, &ignored);

    img_error_clear(&ignored);
    return protocol == driver ? plain : name;
}

int img_create_as(const struct img_driver *driver, const char *name, const char *called, const struct img_doc *options,
                  struct img_error *err)
{
    struct img_doc *own;
    int ret = img_driver_need(driver, err);

    if (ret < 0)
        return ret;
    if (!driver->create)
        return img_error_set(err, ENOTSUP, "Format driver '%s' does not support image creation", driver->name);
    ret = img_create_check(driver, name, options, err);
    if (ret < 0)
        return ret;
    own = img_options_copy(options);
    ret = call_create(driver, own_name(driver, name), called, own, IMG_PERM_ALL, driver->kind == IMG_PROTOCOL, err);
    img_doc_free(own);
    if (ret < 0)
        img_choices_advise(driver->options, IMG_AT_CREATE, options, err);
    return ret;
}

int img_create(const struct img_driver *driver, const char *name, const struct img_doc *options, struct img_error *err)
{
    return img_create_as(driver, name, name, options, err);
}

int img_named_options(const struct img_driver *driver, const char *name, struct img_named *named, struct img_error *err)
{
    int ret;

    *named = (struct img_named){ .rest = img_doc_object() };
    ret = driver->parse_name(name, named->rest, err);
    if (ret < 0)
        return ret;
    named->options = img_options_new(driver->options, IMG_AT_OPEN, driver->open_size, named->rest, err);
    return named->options ? 0 : -err->code;
}

void img_named_free(const struct img_driver *driver, struct img_named *named)
{
    if (named->options)
        img_options_free(driver->options, IMG_AT_OPEN, named->options);
    img_doc_free(named->rest);
}

int img_no_preallocation(const char *mode, struct img_error *err)
{
    static const char *const unsupported[] = { "metadata", "falloc", "full" };

    if (!mode || strcmp(mode, "off") == 0)
        return 0;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (strcmp(mode, unsupported[i]) == 0)
            return img_error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", mode);
    return img_error_set(err, EINVAL, "invalid parameter value: %s", mode);
}

int img_create_file(const char *name, uint64_t size, unsigned shared, struct img_doc *rest, struct img **file,
                    struct img_error *err)
{
    const char *plain;
    const struct img_driver *protocol = img_protocol_for_name(name, &plain, err);
    int ret;

    if (file)
        *file = NULL;
    if (!protocol)
        return -err->code;
    ret = img_driver_need(protocol, err);
    if (ret < 0)
        return ret;
    if (!protocol->create)
        return img_error_set(err, ENOTSUP, "Protocol driver '%s' does not support image creation", protocol->name);
    img_doc_put_uint(rest, "size", size);
    ret = call_create(protocol, plain, plain, rest, shared, true, err);
    if (ret < 0 || !file)
        return ret;
    return img_open_protocol(file, name, IMG_RDWR | IMG_RESIZE, IMG_PERM_WRITE | IMG_PERM_RESIZE, shared, err);
}

int img_check_target(const char *name, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const char *plain;
    const struct img_driver *protocol = img_protocol_for_name(name, &plain, &ignored);

    img_error_clear(&ignored);      /* img_create_file says it */
    return protocol && protocol->check_name ? protocol->check_name(plain, err) : 0;
}

int img_check_can_grow(const char *format, const char *name, struct img_error *err)
{
    const char *plain;
    const struct img_driver *protocol = img_protocol_for_name(name, &plain, err);

    if (!protocol)
        return -err->code;
    if (!protocol->cannot_grow)
        return 0;
    img_error_set(err, EINVAL, "A %s image grows with what is written to it, which '%s' cannot", format, name);
    img_error_advise(err, "raw, qcow2, vdi, vpc, vhdx and parallels images can be made there");
    return -EINVAL;
}

int img_check_new_file(const char *name, struct img_error *err)
{
    struct img_error closing = IMG_ERROR_INIT;
    struct img *file = NULL;
    const char *plain = name;
    struct stat status;
    int ret;

    if (!img_protocol_for_name(name, &plain, err))
        return -err->code;
    if (stat(plain, &status) < 0)
        return 0;
    ret = img_open_protocol(&file, name, IMG_RDWR | IMG_RESIZE, IMG_PERM_WRITE | IMG_PERM_RESIZE,
                            IMG_PERM_ALL & ~IMG_PERM_RESIZE, err);
    if (ret < 0 && ret != -EAGAIN) {
        img_error_clear(err);       /* creating it says what is wrong */
        return 0;
    }
    if (ret == 0 && file->driver->descriptor)
        ret = img_may_overwrite(file->driver->descriptor(file), plain, err);
    img_close(file, &closing);
    img_error_clear(&closing);
    return ret;
}

int img_resize_exactly(struct img *file, uint64_t size, const char *preallocation, struct img_error *err)
{
    return img_resize(file, size, preallocation, err);
}

int img_resize_file(struct img *file, uint64_t size, const char *preallocation, struct img_error *err)
{
    const char *cannot_grow = file->driver->cannot_grow;

    if (!cannot_grow)
        return img_resize(file, size, preallocation, err);
    return size > img_size(file) ? img_error_set(err, EINVAL, "%s", cannot_grow) : 0;
}

int img_lengthen_file(struct img *file, uint64_t end)
{
    static const uint8_t nothing = 0;

    return img_size(file) >= end ? 0 : img_pwrite(file, &nothing, end - 1, 1);
}

void img_remove_file(const char *name)
{
    struct stat status;

    if (name && lstat(name, &status) == 0 && S_ISREG(status.st_mode))
        unlink(name);
}

int img_close_file(struct img *file, int status, struct img_error *err)
{
    int closed = img_close(file, err);

    return status < 0 ? status : closed;
}
