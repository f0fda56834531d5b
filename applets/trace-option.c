/* SPDX-License-Identifier: MIT */
/*
 * -T [enable=]PATTERN,events=FILE,file=FILE: imgbox's own events, enabled with the syntax of qemu-img.
 */
#include "face.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `where` is "FILE:LINE: " for an events file, or "". */
static void enable(const char *pattern, const char *where)
{
    if (!img_trace_enable(pattern))
        app_tell("%s:%s%swarning: trace event '%s' does not exist\n", app_name, where, *where ? "" : " ",
                 pattern + (*pattern == '-'));
}

/* One pattern per line; empty lines and lines that start with # are skipped. */
static bool read_events(const char *name)
{
    FILE *file = fopen(name, "re");
    CLEANUP_FREE char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    if (!file) {
        app_tell("%s:%s: %s\n", app_name, name, img_strerror(errno));
        return false;
    }
    for (unsigned number = 1; (length = getline(&line, &capacity, file)) >= 0; number++) {
        CLEANUP_FREE char *where = app_asprintf("%s:%u: ", name, number);

        if (length > 0 && line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (*line && *line != '#')
            enable(line, where);
    }
    fclose(file);
    return true;
}

/* The file stays open until the process ends, because events may still occur. */
static bool write_to(const char *name)
{
    FILE *file = fopen(name, "we");

    if (!file) {
        app_error("Error opening logfile %s: %s", name, img_strerror(errno));
        return false;
    }
    setvbuf(file, NULL, _IOLBF, 0);
    img_trace_to(file);
    return true;
}

static void list(void)
{
    const char *name;

    app_output_is_help();
    for (size_t i = 0; (name = img_trace_name(i)); i++)
        printf("%s\n", name);
}

enum app_trace app_trace(const char *text)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *options;
    enum app_trace done = APP_TRACE_GOOD;
    const char *pattern, *events, *file;

    if (img_options_want_help(text) || !strcmp(text, "?")) {
        list();
        return APP_TRACE_LISTED;
    }
    options = img_options_parse(text, "enable", &err);
    if (!options) {
        app_report(&err);
        return APP_TRACE_BAD;
    }
    for (size_t i = 0; i < img_doc_count(options); i++) {
        const char *key = img_doc_key_at(options, i);

        if (strcmp(key, "enable") && strcmp(key, "events") && strcmp(key, "file")) {
            app_error("Invalid parameter '%s'", key);
            img_doc_free(options);
            return APP_TRACE_BAD;
        }
    }
    pattern = img_doc_string_at(options, "enable");
    events = img_doc_string_at(options, "events");
    file = img_doc_string_at(options, "file");
    if (pattern)
        enable(pattern, "");
    if ((events && !read_events(events)) || (file && !write_to(file)))
        done = APP_TRACE_BAD;
    img_doc_free(options);
    return done;
}
