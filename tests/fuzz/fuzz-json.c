/* SPDX-License-Identifier: MIT */
/* Fuzz target: JSON text is parsed and printed, and the output must parse again. */
#include "libimg/img.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Print, parse and print: 2.5e3 is read back as the integer 2500, but after that nothing may change. */
static void again(const struct img_doc *doc, int indent)
{
    struct img_error err = IMG_ERROR_INIT;
    char *text = img_doc_json(doc, indent);
    struct img_doc *back = img_doc_parse(text, &err);
    /* Only an infinite number is printed in a form that JSON does not have. */
    if (!back && !strstr(text, "inf"))
        abort();
    free(text);
    img_error_clear(&err);
    if (back) {
        text = img_doc_json(back, indent);
        struct img_doc *last = img_doc_parse(text, &err);
        if (!last || !img_doc_equal(back, last))
            abort();
        img_doc_free(last);
        free(text);
    }
    img_doc_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct img_error err = IMG_ERROR_INIT;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';

    struct img_doc *doc = img_doc_parse(text, &err);
    if (!doc != (err.text != NULL))
        abort();
    if (doc) {
        again(doc, -1);
        again(doc, 4);
        struct img_doc *copy = img_doc_copy(doc);
        if (!img_doc_equal(doc, copy))
            abort();
        img_doc_free(copy);
    }
    img_doc_free(doc);
    img_error_clear(&err);

    doc = img_doc_parse_options(text, &err);
    if (doc) {
        struct img_doc *flat = img_options_flatten(doc);
        img_doc_free(flat);
    }
    img_doc_free(doc);
    img_error_clear(&err);
    free(text);
    return 0;
}
