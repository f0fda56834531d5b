/* SPDX-License-Identifier: MIT */
/* convert-target.c - the target of img-convert: check its options and backing file, create it, open it. */
#include "convert.h"

#include <stdlib.h>
#include <string.h>

int convert_find_driver(struct convert *r)
{
    const struct img_driver *driver = img_driver_find(r->target_format);

    if (!driver) {
        app_unknown_format(r->target_format);
        return -1;
    }
    if (!app_can_create(driver))
        return -1;
    r->driver = driver;
    return 0;
}

void convert_report_target(const struct convert *r, struct img_error *err)
{
    app_report_with(err, "%s: error while converting %s: ", r->target_name, r->target_format);
}

static bool can_have_backing(const struct convert *r)
{
    return r->source_count == 1 || app_refuse("Having a backing file for the target makes no sense when concatenating "
                                              "multiple input images");
}

/* Put the backing file of the target, from -B and -F or from -o, into the creation options. */
static bool settle_backing(struct convert *r)
{
    const char *name, *format;

    if (r->backing)
        img_doc_put_string(r->create_options, "backing_file", r->backing);
    if (r->backing_format)
        img_doc_put_string(r->create_options, "backing_fmt", r->backing_format);
    name = img_doc_string_at(r->create_options, "backing_file");
    format = img_doc_string_at(r->create_options, "backing_fmt");
    if (format && !name && !img_driver_can_back(r->driver)) {
        app_error("Backing file format not supported for file format '%s'", r->target_format);
        return false;
    }
    if (name && !img_driver_can_back(r->driver)) {
        app_error("Backing file not supported for file format '%s'", r->target_format);
        return false;
    }
    if (name && !can_have_backing(r))
        return false;
    if (name && !format) {
        app_error("Use of backing file requires explicit backing format");
        app_advise("-F names the format of the backing file, and 'info' tells it");
        return false;
    }
    r->backing = name;
    return true;
}

static bool preallocated(const struct convert *r)
{
    const char *mode = img_doc_string_at(r->create_options, "preallocation");

    return mode && strcmp(mode, "off");
}

static bool encrypted(const struct convert *r)
{
    const char *old = img_doc_string_at(r->create_options, "encryption");
    struct img_error ignored = IMG_ERROR_INIT;
    bool on = false;

    if (old)
        img_option_bool("encryption", old, &on, &ignored);      /* (creating the target reports it) */
    img_error_clear(&ignored);
    return on || img_doc_string_at(r->create_options, "encrypt.format");
}

/* Try to open the backing file before an existing target is overwritten. */
static int try_backing(struct convert *r)
{
    struct img_open how = { .format = img_doc_string_at(r->create_options, "backing_fmt"), .flags = IMG_SHARE };
    char *full = app_need(img_name_beside(r->target_name, r->backing));
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    int ret;

    if (!img_driver_find(how.format)) {
        free(full);
        return 0;       /* creating the target reports it */
    }
    ret = img_open(&image, full, &how, &err);
    if (ret < 0) {
        app_cut_prefix(&err, full);
        app_advise_beside(r->backing, full, &err);
        app_report_with(&err, "Could not open '%s': Could not open backing file: ", r->target_name);
    } else {
        r->backing_size = img_size(image);
        app_protect(image);
        img_close(image, &err);
    }
    free(full);
    return ret;
}

/* The target's name while it is written */
static const char *new_name(const struct convert *r)
{
    return r->temporary_name ? r->temporary_name : r->target_name;
}

static int create_target(struct convert *r)
{
    struct img_error err = IMG_ERROR_INIT;

    img_doc_put_uint(r->create_options, "size", r->total);
    if (r->from_stream && preallocated(r)) {
        app_error("Preallocation needs a source of known size");
        return -1;
    }
    if (img_create_as(r->driver, new_name(r), r->final_name ? r->final_name : r->target_name, r->create_options,
                      &err) < 0) {
        convert_report_target(r, &err);
        return -1;
    }
    return !r->atomic || img_created_count() == 1 ||
           app_refuse("--atomic makes one file: this image consists of several") ? 0 : -1;
}

/* Open the new target with the options of -o that apply to this run. */
static struct img *open_new(const struct convert *r, const struct img_open *how)
{
    struct img_doc *run = NULL;
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (!r->no_create && img_create_run_options(r->driver, r->create_options, &run) < 0)
        app_need(NULL);
    if (!run)
        return app_open(new_name(r), how);
    if (img_open_options(&image, new_name(r), run, how, &err) < 0)
        app_report(&err);
    img_doc_free(run);
    return image;
}

static int open_target(struct convert *r)
{
    struct img_open how = { .flags = IMG_RDWR | (r->from_stream ? IMG_RESIZE : 0), .cache = r->target_cache,
                            .image_opts = r->target_opts };
    struct img_error err = IMG_ERROR_INIT;

    if (!app_one_format(r->target_opts, r->format_given ? r->target_format : NULL))
        return -1;
    how.format = r->target_opts ? NULL : r->target_format;
    r->target = open_new(r, &how);
    if (!r->target)
        return -1;
    if (r->no_create && img_check_protected(r->target, &err) < 0) {
        app_report_with(&err, "%s: ", r->target_name);
        return -1;
    }
    if (r->compress && !img_driver_can_compress(img_driver_of(r->target))) {
        app_error("Compression not supported for this file format");
        return -1;
    }
    if (r->compress && !img_cluster_size(r->target)) {
        app_error("invalid cluster size");
        return -1;
    }
    if (r->bitmaps && !img_has_bitmaps(r->target)) {
        app_error("Format driver '%s' does not support bitmaps", img_driver_name(img_driver_of(r->target)));
        return -1;
    }
    if (r->no_create && !r->from_stream && img_size(r->target) < r->total) {
        app_error("output file is smaller than input file");
        app_advise_sizes("source", r->total, "target", img_size(r->target));
        return -1;
    }
    return 0;
}

static int judge_options(struct convert *r)
{
    struct img_error err = IMG_ERROR_INIT;

    if (convert_find_driver(r) < 0)
        return -1;
    if (!r->create_options)
        r->create_options = app_whole(img_doc_object());
    if (img_create_check(r->driver, r->target_name, r->create_options, &err) < 0) {
        app_report(&err);
        return -1;
    }
    if (!settle_backing(r))
        return -1;
    if (r->compress && !img_driver_can_compress(r->driver)) {
        app_error("Compression not supported for this file format");
        return -1;
    }
    if (r->compress && encrypted(r)) {
        app_error("Compression and encryption not supported at the same time");
        return -1;
    }
    if (r->compress && preallocated(r)) {
        app_error("Compression and preallocation not supported at the same time");
        return -1;
    }
    return 0;
}

/* The target of -n: its backing file is what it has, so -B only says that it has one. */
static bool can_be_over_backing(const struct convert *r)
{
    if (r->target_is_zero)
        return app_refuse("Cannot use --target-is-zero when the destination image has a backing file");
    return can_have_backing(r);
}

int convert_judge_target(struct convert *r)
{
    bool fresh = !r->no_create && !r->raw_stream;

    if (fresh ? judge_options(r) < 0 : r->backing && !can_be_over_backing(r))
        return -1;
    if (r->images && convert_check_bitmaps(r) < 0)
        return -1;
    return fresh && r->to_stream && !app_can_stream(r->driver) ? -1 : 0;
}

/* An image on standard output or in a named pipe: the copy engine writes it. */
static int open_stream(struct convert *r)
{
    struct img_error err = IMG_ERROR_INIT;

    if (r->backing && try_backing(r) < 0)
        return -1;
    img_doc_put_uint(r->create_options, "size", r->total);
    if (img_stream_open(&r->stream, r->driver, r->create_options, r->compress, &err) == 0)
        return 0;
    convert_report_target(r, &err);
    return -1;
}

int convert_open_target(struct convert *r)
{
    if (r->raw_stream)
        return 0;
    if (r->to_stream)
        return open_stream(r);
    if (r->target_cache_name && !app_cache(r->target_cache_name, "cache", &r->target_cache))
        return -1;
    if (!r->no_create && ((r->backing && try_backing(r) < 0) || convert_atomic_start(r) < 0 || create_target(r) < 0))
        return -1;
    return open_target(r);
}
