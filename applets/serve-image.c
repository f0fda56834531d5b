/* SPDX-License-Identifier: MIT */
/* serve-image.c - from a FILE and its options to an export. */
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The options that open the image: those in its name, or what the command line adds to a name.  NULL with *err set. */
static struct img_doc *image_options(const struct serve *s, const struct serve_disk *disk, struct img_error *err)
{
    struct img_doc *options = disk->image_opts ? img_options_parse(disk->file, "file", err) : img_doc_object();

    if (!options)
        return NULL;
    /* What FILE says itself comes first. */
    if (!img_doc_get(options, "discard"))
        img_doc_put_string(options, "discard", s->discard ? s->discard : s->nbd ? "ignore" : "unmap");
    if (s->detect)
        img_doc_put_string(options, "detect-zeroes", s->detect);
    return options;
}

/* "proto:..." or "proto://..."? */
static bool has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

/* The same as a nested object, for an overlay.  *options NULL: FILE is a name of a protocol, which only a name can
 * say. */
static int nested_options(const struct serve_disk *disk, struct img_doc **options, struct img_error *err)
{
    struct img_doc *file;

    *options = NULL;
    if (disk->image_opts)
        return (*options = img_options_parse(disk->file, "file", err)) ? 0 : -err->code;
    if (!strncmp(disk->file, "json:", 5)) {
        if (!(*options = img_doc_parse_options(disk->file + 5, err)))
            return -err->code;
    } else if (has_protocol(disk->file)) {
        return 0;
    } else {
        *options = app_need(img_doc_object());
        file = img_doc_object();
        img_doc_put_string(file, "filename", disk->file);
        img_doc_put(*options, "file", file);
    }
    if (disk->format)
        img_doc_put_string(*options, "driver", disk->format);
    return 0;
}

static int open_image(const struct serve *s, struct serve_disk *disk, struct img_error *err)
{
    struct img_open how = { .format = disk->format, .cache = s->cache, .image_opts = disk->image_opts };
    struct img_doc *options = NULL;
    int ret;

    if (s->temporary && !disk->snapshot) {
        ret = nested_options(disk, &options, err);
        if (ret == 0)
            ret = serve_open_overlay(&disk->image, disk->file, options, &how, err);
    } else {
        options = image_options(s, disk, err);
        if (!disk->read_only)
            how.flags |= IMG_RDWR;
        ret = options ? img_open_options(&disk->image, disk->image_opts ? NULL : disk->file, options, &how, err)
                      : -err->code;
    }
    img_doc_free(options);
    return ret;
}

/* aio=native is a promise about the storage; all transfers here are done by threads. */
static int check_aio(const struct serve *s, bool direct, struct img_error *err)
{
    if (!s->aio || strcmp(s->aio, "native") || direct)
        return 0;
    return img_error_set(err, EINVAL, "aio=native was specified, but it requires cache.direct=on, which was not "
                         "specified.");
}

bool serve_open(const struct serve *s, struct serve_disk *disk)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret;

    if (disk->image_opts && disk->format)
        return app_refuse("--image-opts and -f are mutually exclusive");
    /* (the options in FILE may choose another cache mode than --cache) */
    ret = disk->image_opts ? 0 : check_aio(s, s->cache == IMG_CACHE_NONE || s->cache == IMG_CACHE_DIRECTSYNC, &err);
    if (ret == 0)
        ret = open_image(s, disk, &err);
    if (ret == 0 && disk->image_opts)
        ret = check_aio(s, img_direct(disk->image), &err);
    if (ret < 0 && s->nbd) {
        app_cut_prefix(&err, disk->file);
        img_error_prefix(&err, "Failed to blk_new_open '%s': ", disk->file);
    }
    if (ret < 0) {
        app_report(&err);
        return false;
    }
    return !disk->snapshot || app_load_snapshot(disk->image, disk->snapshot) == 0;
}

/* *length: that of the part to show. */
static bool measure_part(const struct serve_disk *disk, uint64_t *length)
{
    uint64_t size = img_size(disk->image);

    if (disk->offset > INT64_MAX) {
        app_error("Value '%lld' is out of range for parameter 'offset'", (long long)disk->offset);
        return false;
    }
    if (disk->offset > size) {
        app_error("Offset (%llu) cannot be greater than size of the containing file (%llu)",
                  (unsigned long long)disk->offset, (unsigned long long)size);
        return false;
    }
    *length = disk->has_length ? disk->length : size - disk->offset;
    if (*length > size - disk->offset) {
        app_error("The part of %llu bytes at offset %llu ends after the disk of %llu bytes",
                  (unsigned long long)*length, (unsigned long long)disk->offset, (unsigned long long)size);
        return false;
    }
    return true;
}

bool serve_export(const struct serve *s, const struct serve_disk *disk)
{
    struct img_export export = {
        .name = disk->name, .description = disk->description, .image = disk->image, .offset = disk->offset,
        .writable = !disk->read_only, .multi_conn = s->shared != 1, .allocation_depth = disk->depth,
        .bitmaps = disk->bitmaps.at, .bitmap_count = disk->bitmaps.count,
    };
    struct img_error err = IMG_ERROR_INIT;

    if (!measure_part(disk, &export.length))
        return false;
    if (img_server_export(s->server, &export, &err) == 0)
        return true;
    app_report(&err);
    return false;
}
