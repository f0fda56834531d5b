/* SPDX-License-Identifier: MIT */
/*
 * serve-overlay.c - -s: writes go to a temporary image over the disk.  It has no name from the moment it is
 * open, so it is gone with the process, however that ends.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The format of the overlay: one with backing files, and the most complete of them; NULL: there is none. */
static const struct img_driver *overlay_format(void)
{
    const struct img_driver *driver = NULL;

    while ((driver = img_driver_next(driver)))
        if (img_driver_usable(driver) && img_driver_can_create(driver) && img_driver_can_back(driver) &&
            img_driver_can_bitmap(driver))
            break;
    return driver;
}

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

/* Look at the disk: its format and size.  The format is then known, so that it is not probed again. */
static int look(const char *name, struct img_doc *base, const struct img_open *how, uint64_t *size,
                const char **format, struct img_error *err)
{
    struct img *image;
    int ret = base ? img_open_options(&image, NULL, base, how, err) : img_open(&image, name, how, err);

    if (ret < 0)
        return base ? img_error_prefix(err, "Could not open '%s': ", name) : ret;
    *size = img_size(image);
    /* In a compressed file or an archive it is found by probing only. */
    *format = img_unwrapped(image) ? NULL : img_driver_name(img_driver_of(image));
    if (base && *format)
        img_doc_put_string(base, "driver", *format);
    return img_close(image, err);
}

/* `backing` NULL: the options that open the image say what is below it. */
static int create(const struct img_driver *driver, const char *name, uint64_t size, const char *backing,
                  const char *format, struct img_error *err)
{
    struct img_doc *options = app_whole(img_doc_object());
    CLEANUP_FREE char *text = app_asprintf("%llu", (unsigned long long)size);
    int ret;

    img_doc_put_string(options, "size", text);
    if (backing) {
        img_doc_put_string(options, "backing_file", backing);
        if (format)
            img_doc_put_string(options, "backing_fmt", format);
    }
    ret = img_create(driver, name, options, err);
    img_doc_free(options);
    return ret;
}

int serve_open_overlay(struct img **image, const char *name, struct img_doc *base, const struct img_open *how,
                       struct img_error *err)
{
    struct img_open top = { .flags = IMG_RDWR, .cache = IMG_CACHE_UNSAFE };
    struct img_open below = { .format = base ? NULL : how->format, .cache = how->cache };
    const struct img_driver *driver = overlay_format();
    struct img_doc *options, *file;
    CLEANUP_FREE char *temporary = NULL;
    const char *format = NULL;
    uint64_t size = 0;
    int ret = look(name, base, &below, &size, &format, err);

    if (ret < 0)
        return ret;
    if (!driver)
        return img_error_set(err, ENOTSUP, "A temporary image needs a format with backing files");
    temporary = new_file(err);
    if (!temporary)
        return -err->code;
    ret = create(driver, temporary, size, base ? NULL : name, format, err);
    if (ret == 0) {
        options = app_whole(img_doc_object());
        file = app_whole(img_doc_object());
        img_doc_put_string(file, "driver", "file");
        img_doc_put_string(file, "filename", temporary);
        img_doc_put_string(options, "driver", img_driver_name(driver));
        img_doc_put(options, "file", file);
        if (base)
            img_doc_put(options, "backing", img_doc_copy(base));
        ret = img_open_options(image, NULL, options, &top, err);
        img_doc_free(options);
    }
    unlink(temporary);
    return ret;
}
