/* SPDX-License-Identifier: MIT */
/* Memory for the tools themselves: without it they end.  libimg returns -ENOMEM instead. */
#include "applet.h"

#include <errno.h>
#include <stdlib.h>

void *app_need(void *memory)
{
    if (memory)
        return memory;
    app_error("%s", img_strerror(ENOMEM));
    exit(app_finish(1));
}

void *app_calloc(size_t count, size_t size)
{
    return app_need(img_calloc(count, size));
}

char *app_strdup(const char *text)
{
    return app_need(img_strdup(text));
}

char *app_strndup(const char *text, size_t length)
{
    return app_need(img_strndup(text, length));
}

char *app_asprintf(const char *format, ...)
{
    struct img_strbuf text = { 0 };
    va_list arguments;

    va_start(arguments, format);
    img_strbuf_vprintf(&text, format, arguments);
    va_end(arguments);
    return app_need(img_strbuf_take(&text));
}

struct img_doc *app_whole(struct img_doc *doc)
{
    return app_need(img_doc_broken(doc) ? NULL : doc);
}
