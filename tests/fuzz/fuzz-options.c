/* SPDX-License-Identifier: MIT */
/* Fuzz target: option texts (--image-opts, -o) through the parser and a table of every type, and sizes. */
#include "libimg/img.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct values {
    char *text, *choice;
    int8_t flag;
    int64_t number, size;
};

#define ENTRY(name_, type_, standard_, field) \
    { .name = name_, .help = "help", .type = type_, .standard = standard_, .when = IMG_AT_OPEN | IMG_AT_CREATE, \
      .offset = offsetof(struct values, field) }
static const struct img_option table[] = {
    ENTRY("file.filename", IMG_OPT_STRING, NULL, text),
    ENTRY("preallocation", IMG_OPT_STRING, "off", choice),
    ENTRY("lazy_refcounts", IMG_OPT_BOOL, "off", flag),
    ENTRY("refcount_bits", IMG_OPT_NUMBER, "16", number),
    ENTRY("cluster_size", IMG_OPT_SIZE, "64k", size),
    { .name = NULL }
};

static void read_table(struct img_doc *options, unsigned when)
{
    struct img_error err = IMG_ERROR_INIT;
    struct values values;
    int status = img_options_read(table, when, options, &values, &err);
    if ((status < 0) != (err.text != NULL))
        abort();
    img_options_release(table, when, &values);
    img_error_clear(&err);
}

static void as_create_options(const char *text)
{
    const struct img_option *tables[] = { table, NULL };
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *options = img_doc_object();
    if (img_options_add(options, text, &err) == 0) {
        (void)img_options_check(tables, 2, IMG_AT_CREATE, options, &err);
        free(img_options_describe(tables, 2, options));
        read_table(options, IMG_AT_CREATE);
    }
    (void)img_options_want_help(text);
    img_doc_free(options);
    img_error_clear(&err);
}

static void as_image_options(const char *text)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *options = img_options_parse(text, "file", &err);
    if (!options != (err.text != NULL))
        abort();
    if (options) {
        img_doc_free(img_options_flatten(options));
        read_table(options, IMG_AT_OPEN);
    }
    img_doc_free(options);
    img_error_clear(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), human[32];
    memcpy(text, data, size);
    text[size] = '\0';

    as_create_options(text);
    as_image_options(text);
    uint64_t number;
    if (img_parse_size(text, 'b', &number) == 0)
        img_human_size(human, sizeof human, number);
    free(text);
    return 0;
}
