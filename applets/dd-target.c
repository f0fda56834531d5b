/* SPDX-License-Identifier: MIT */
/*
 * dd-target.c - the output image of img-dd.  By default it is created.  With conv=notrunc an existing image is kept and
 * grows if necessary; with only seek= it is first truncated there, as in dd(1).  All checks
 * are done before an existing output is touched.
 */
#include "dd.h"

#include <errno.h>
#include <sys/stat.h>

enum { SECTOR = 512 };

/* ---- Refusals ----------------------------------------------------------------------------- */

static const struct img_driver *find_driver(const struct dd *dd)
{
    const struct img_driver *driver = img_driver_find(dd->output_format);
    struct img_error err = IMG_ERROR_INIT;

    if (!driver) {
        img_error_set(&err, EINVAL, "Unknown file format");
        img_driver_advise(dd->output_format, true, &err);
        app_report(&err);
    }
    return driver && app_can_create(driver) ? driver : NULL;
}

static int refuse_size(uint64_t needed, uint64_t size)
{
    app_error("output file is smaller than input file");
    app_advise_sizes("data to write", needed, "output", size);
    return -1;
}

/* ---- A new output --------------------------------------------------------------------------- */

static int open_target(struct dd *dd)
{
    struct img_open how = { .format = dd->output_format, .flags = IMG_RDWR | IMG_RESIZE,
                            .cache = dd->direct_output ? IMG_CACHE_NONE : IMG_CACHE_WRITEBACK };

    dd->target = app_open(dd->output, &how);
    return dd->target ? 0 : -1;
}

static int create_target(struct dd *dd, const struct img_driver *driver, uint64_t end)
{
    uint64_t size = dd->has_output_size ? dd->output_size : end;
    struct img_doc *options;
    struct img_error err = IMG_ERROR_INIT;
    int ret;

    if (size < end)
        return refuse_size(end, size);
    options = img_doc_object();
    img_doc_put_uint(options, "size", img_align_up(size, SECTOR));
    ret = img_create(driver, dd->output, options, &err);
    img_doc_free(options);
    if (ret < 0) {
        app_report_with(&err, "%s: error while creating output image: ", dd->output);
        return -1;
    }
    dd->created = true;
    dd->fixed = dd->has_output_size;
    return open_target(dd);
}

/* ---- An existing output ----------------------------------------------------------------------- */

static int resize(struct dd *dd, uint64_t size)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_size(dd->target) == size || img_resize(dd->target, size, NULL, &err) == 0)
        return 0;
    app_report_with(&err, "%s: ", dd->output);
    return -1;
}

static int keep_target(struct dd *dd, uint64_t end, bool cut)
{
    uint64_t start = img_align_up(dd->to, SECTOR);
    struct img_error err = IMG_ERROR_INIT;

    if (dd->has_output_size) {
        app_error("osize= is for an output that is created");
        return -1;
    }
    if (open_target(dd) < 0)
        return -1;
    if (img_check_protected(dd->target, &err) < 0) {
        app_report_with(&err, "%s: ", dd->output);
        return -1;
    }
    if (cut && start < img_size(dd->target) && resize(dd, start) < 0)
        return -1;
    end = img_align_up(end, SECTOR);
    if (end <= img_size(dd->target))
        return 0;
    return dd->fixed ? refuse_size(end, img_size(dd->target)) : resize(dd, end);
}

int dd_prepare_target(struct dd *dd)
{
    const struct img_driver *driver = find_driver(dd);
    uint64_t end = dd->to + (dd->from_stream ? 0 : dd->length);
    struct stat st;
    bool exists, device;

    if (!driver)
        return -1;
    exists = stat(dd->output, &st) == 0;
    device = exists && !S_ISREG(st.st_mode);
    dd->fixed = dd->no_create || device;
    if (dd->no_create || (exists && (dd->keep || dd->seek)))
        return keep_target(dd, end, !dd->fixed && !dd->keep);
    return create_target(dd, driver, end);
}

/* ---- A stream --------------------------------------------------------------------------------- */

int dd_prepare_stream(struct dd *dd)
{
    const struct img_driver *driver = find_driver(dd);
    const char *name = dd->output ? dd->output : "-";
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *options;
    int ret;

    if (!driver || !app_can_stream(driver))
        return -1;
    options = img_doc_object();
    img_doc_put_uint(options, "size", img_align_up(dd->length, SECTOR));
    ret = img_stream_open(&dd->stream, driver, options, false, &err);
    img_doc_free(options);
    if (ret < 0)
        app_report_with(&err, "%s: error while creating output image: ", name);
    return ret;
}
