/* SPDX-License-Identifier: MIT */
/* measure.c - computes the size of a new image: takes the options of create, but creates nothing. */
#include "graph.h"

/* A target without a name is a file. */
static void find_tables(const struct img_driver *driver, const struct img_option *tables[2])
{
    const struct img_driver *file = img_protocol_for_plain("");

    tables[0] = driver->options;
    tables[1] = file && file != driver ? file->options : NULL;
}

int img_measure_check(const struct img_driver *driver, const struct img_doc *options, struct img_error *err)
{
    const struct img_option *tables[2];

    find_tables(driver, tables);
    return img_options_check(tables, 2, IMG_AT_CREATE, options, err);
}

int img_measure(const struct img_driver *driver, const struct img_doc *options, struct img *source, uint64_t size,
                struct img_measure *result, struct img_error *err)
{
    struct img_doc *own;
    void *parsed;
    int ret;

    *result = (struct img_measure){ 0 };
    if (!driver->measure)
        return img_error_set(err, ENOTSUP, "Block driver '%s' does not support size measurement", driver->name);
    ret = img_measure_check(driver, options, err);
    if (ret < 0)
        return ret;
    own = img_options_copy(options);
    parsed = img_options_new(driver->options, IMG_AT_CREATE, driver->create_size, own, err);
    img_doc_free(own);
    if (!parsed)
        return -err->code;
    ret = driver->measure(parsed, source, source ? img_size(source) : size, result, err);
    img_options_free(driver->options, IMG_AT_CREATE, parsed);
    return ret;
}
