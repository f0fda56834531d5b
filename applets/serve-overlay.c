/* SPDX-License-Identifier: MIT */
/*
 * serve-overlay.c - -s: writes go to a temporary qcow2 image over the disk.  It has no name from the moment it is
 * open, so it is gone with the process, however that ends.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OVERLAY_FORMAT "qcow2"

/* A new file; caller frees the name.  NULL with *err set. */
static char *new_file(struct img_error *err)
{
    const char *folder = getenv("TMPDIR");
    char *name = app_asprintf("%s/vl.XXXXXX", folder && *folder ? folder : "/var/tmp");
    int fd = mkostemp(name, O_CLOEXEC);

    if (fd >= 0) {
        close(fd);
        return name;
    }
    img_error_errno(err, errno, "Could not open temporary file '%s'", name);
    free(name);
    return NULL;
}

/* Look at the disk: its format and size.  The format is then part of the options, so that it is not probed again. */
static int look(const char *name, struct img_doc *base, const struct img_open *how, uint64_t *size,
                struct img_error *err)
{
    struct img *image;
    int ret;

    ret = img_open_options(&image, NULL, base, how, err);
    if (ret < 0)
        return img_error_prefix(err, "Could not open '%s': ", name);
    *size = img_size(image);
    img_doc_put_string(base, "driver", img_driver_name(img_driver_of(image)));
    return img_close(image, err);
}

static int create(const char *name, uint64_t size, struct img_error *err)
{
    const struct img_driver *driver = img_driver_find(OVERLAY_FORMAT);
    struct img_doc *options = app_whole(img_doc_object());
    CLEANUP_FREE char *text = app_asprintf("%llu", (unsigned long long)size);
    int ret;

    img_doc_put_string(options, "size", text);
    ret = driver ? img_create(driver, name, options, err)
                 : img_error_set(err, ENOTSUP, "A temporary image needs " OVERLAY_FORMAT);
    img_doc_free(options);
    return ret;
}

int serve_open_overlay(struct img **image, const char *name, struct img_doc *base, const struct img_open *how,
                       struct img_error *err)
{
    struct img_open top = { .flags = IMG_RDWR, .cache = IMG_CACHE_UNSAFE }, below = { .cache = how->cache };
    struct img_doc *options, *file;
    CLEANUP_FREE char *temporary = NULL;
    uint64_t size = 0;
    int ret = look(name, base, &below, &size, err);

    if (ret < 0)
        return ret;
    temporary = new_file(err);
    if (!temporary)
        return -err->code;
    ret = create(temporary, size, err);
    if (ret == 0) {
        options = app_whole(img_doc_object());
        file = app_whole(img_doc_object());
        img_doc_put_string(file, "driver", "file");
        img_doc_put_string(file, "filename", temporary);
        img_doc_put_string(options, "driver", OVERLAY_FORMAT);
        img_doc_put(options, "file", file);
        img_doc_put(options, "backing", img_doc_copy(base));
        ret = img_open_options(image, NULL, options, &top, err);
        img_doc_free(options);
    }
    unlink(temporary);
    return ret;
}
