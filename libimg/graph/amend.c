/* SPDX-License-Identifier: MIT */
/* amend.c - changes options of an existing image: lists them, and checks their values. */
#include "graph.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

static int check_driver(const struct img_driver *driver, struct img_error *err)
{
    if (driver->amend)
        return 0;
    return img_error_set(err, ENOTSUP, "Format driver '%s' does not support option amendment", driver->name);
}

char *img_amend_help(const struct img_driver *driver, struct img_error *err)
{
    if (check_driver(driver, err) < 0)
        return NULL;
    CLEANUP_FREE char *lines = img_options_help(&driver->options, 1, IMG_AT_AMEND);
    char *text = lines ? img_asprintf("Amend options for '%s':\n%s", driver->name, lines) : NULL;
    if (!text)
        img_error_memory(err);
    return text;
}

static int check_options(const struct img_driver *driver, const struct img_doc *options, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    int status = img_options_check(&driver->options, 1, IMG_AT_AMEND, options, err);

    if (status < 0 && img_options_check(&driver->options, 1, IMG_AT_CREATE, options, &ignored) == 0)
        img_error_hint(err, "This option is only supported for image creation");
    img_error_clear(&ignored);
    return status;
}

int img_amend(struct img *image, const struct img_doc *options, const struct img_amend *how, struct img_error *err)
{
    const struct img_driver *driver = image->driver;
    int status = check_driver(driver, err);

    if (status < 0)
        return status;
    if (img_read_only(image))
        return img_error_set(err, EPERM, "Image is read-only");
    if ((status = check_options(driver, options, err)) < 0)
        return status;

    struct img_doc *own = img_options_copy(options);
    void *given = img_options_new(driver->options, IMG_AT_AMEND, driver->create_size, own, err);
    img_doc_free(own);
    if (!given)
        return -err->code;
    status = driver->amend(image, given, how, err);
    img_options_free(driver->options, IMG_AT_AMEND, given);
    if (status < 0 && !err->text)
        img_error_errno(err, -status, "Error while amending options");
    return status;
}
