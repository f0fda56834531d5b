/* SPDX-License-Identifier: MIT */
/* trace.c - which events are enabled, and writing their lines. */
#include "trace.h"
#include "util/glob.h"
#include "util/strbuf.h"
#include <string.h>

#define TRACE_NAME(name, format) "img_" #name,
#define TRACE_FORMAT(name, format) format,
static const char *const names[] = { IMG_TRACES(TRACE_NAME) NULL };
static const char *const formats[] = { IMG_TRACES(TRACE_FORMAT) };

bool img_trace_on[IMG_TRACE_COUNT];
static FILE *output;

const char *img_trace_name(size_t index)
{
    return index < IMG_TRACE_COUNT ? names[index] : NULL;
}

bool img_trace_enable(const char *pattern)
{
    bool on = *pattern != '-', found = false;

    pattern += !on;
    for (size_t i = 0; i < IMG_TRACE_COUNT; i++) {
        if (img_glob(pattern, names[i], false)) {
            img_trace_on[i] = on;
            found = true;
        }
    }
    return found || strchr(pattern, '*');
}

void img_trace_to(FILE *stream)
{
    output = stream;
}

void img_trace_line(enum img_trace_event event, const struct img *node, uint64_t first, uint64_t second)
{
    FILE *stream = output ? output : stderr;
    struct img_strbuf line = { 0 };

    img_strbuf_printf(&line, "%s %s \"%s\"", names[event], node->driver->name,
                      *img_filename(node) ? img_filename(node) : node->filename ? node->filename : "");
    if (formats[event]) {
        img_strbuf_add_char(&line, ' ');
        img_strbuf_printf(&line, formats[event], (unsigned long long)first, (unsigned long long)second);
    }
    img_strbuf_add_char(&line, '\n');
    if (!line.failed)
        fwrite(line.text, 1, line.length, stream);      /* one write, so that lines of threads do not mix */
    img_strbuf_free(&line);
}
