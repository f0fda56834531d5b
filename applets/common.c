/* SPDX-License-Identifier: MIT */
/* Functions that all tools share: messages, and arguments of several tools. */
#include "applet.h"
#include "../libimg/net.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *app_name = "imgbox";
bool app_quiet;

/*
 * Lines of several threads, or of several programs with one standard error, must not mix: each is put together first
 * and written as a whole.  What was said on standard output before comes out before, also when both are one file.
 */
static void write_whole(struct img_strbuf *text)
{
    app_progress_break();
    app_flush();
    if (text->failed) {
        fprintf(stderr, "%s: %s\n", app_name, img_strerror(ENOMEM));
    } else if (text->text) {
        img_hide_passwords(text->text);
        fwrite(text->text, 1, strlen(text->text), stderr);
    }
    img_strbuf_free(text);
}

void app_tell(const char *format, ...)
{
    struct img_strbuf text = { 0 };
    va_list arguments;

    va_start(arguments, format);
    img_strbuf_vprintf(&text, format, arguments);
    va_end(arguments);
    write_whole(&text);
}

void app_tell_text(const char *text)
{
    app_progress_break();
    app_flush();
    fwrite(text, 1, strlen(text), stderr);
}

void app_tell_line(const char *who, const char *kind, const char *format, va_list arguments)
{
    struct img_strbuf line = { 0 };

    img_strbuf_printf(&line, "%s: %s", who, kind);
    img_strbuf_vprintf(&line, format, arguments);
    img_strbuf_add_char(&line, '\n');
    write_whole(&line);
}

void app_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    app_tell_line(app_name, "", format, arguments);
    va_end(arguments);
}

void app_warning(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    app_tell_line(app_name, "warning: ", format, arguments);
    va_end(arguments);
}

/*
 * Programs take a second line, or any line of a command that succeeds, for a failure.  So only a person gets advice, or who
 * asks for it.
 */
bool app_gives_advice(void)
{
    const char *wanted = getenv("IMGBOX_HINTS");

    if (wanted && *wanted)
        return strcmp(wanted, "0") != 0;
    return !compat_pinned() && isatty(STDERR_FILENO);
}

/* Each line of `advice` as "hint: LINE".  It is for terminals, and may have names that an image chose. */
static void add_advice(struct img_strbuf *to, const char *advice)
{
    while (advice && *advice) {
        img_strbuf_add(to, "hint: ");
        while (*advice && *advice != '\n')
            img_strbuf_add_char(to, img_printable(*advice++));
        img_strbuf_add_char(to, '\n');
        advice += *advice == '\n';
    }
}

void app_advise(const char *format, ...)
{
    struct img_strbuf text = { 0 }, lines = { 0 };
    va_list arguments;

    if (!app_gives_advice())
        return;
    va_start(arguments, format);
    img_strbuf_vprintf(&text, format, arguments);
    va_end(arguments);
    add_advice(&lines, text.text);
    img_strbuf_free(&text);
    write_whole(&lines);
}

void app_advise_sizes(const char *first, uint64_t size, const char *second, uint64_t other)
{
    char one[64], two[64];

    app_advise("the %s has %s, the %s %s", first, img_size_words(one, sizeof one, size), second,
               img_size_words(two, sizeof two, other));
}

void app_advise_all(struct img_error *err)
{
    if (err->advice)
        app_advise("%s", err->advice);
    img_error_clear(err);
}

/* `line` is what comes in front of the error's own text. */
static void report(struct img_strbuf *line, struct img_error *err)
{
    /* The old profile prints this line without a newline. */
    bool open_ended = compat_profile() < COMPAT_10_0 && err->hint && !strncmp(err->hint, "Detected format of ", 19);

    img_strbuf_printf(line, "%s\n", err->text ? err->text : "Unknown error");
    if (err->hint)
        img_strbuf_printf(line, "%s%s", err->hint, open_ended ? "" : "\n");
    if (err->advice && app_gives_advice()) {
        if (open_ended)
            img_strbuf_add_char(line, '\n');
        add_advice(line, err->advice);
    }
    write_whole(line);
    img_error_clear(err);
}

void app_report(struct img_error *err)
{
    struct img_strbuf line = { 0 };

    img_strbuf_printf(&line, "%s: ", app_name);
    report(&line, err);
}

void app_report_with(struct img_error *err, const char *format, ...)
{
    struct img_strbuf line = { 0 };
    va_list arguments;

    img_strbuf_printf(&line, "%s: ", app_name);
    va_start(arguments, format);
    img_strbuf_vprintf(&line, format, arguments);
    va_end(arguments);
    report(&line, err);
}

void app_say(const char *format, ...)
{
    va_list arguments;

    if (app_quiet)
        return;
    app_progress_break();
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}

/* Milliseconds that the last bytes of connections with TLS get to leave the process. */
enum { LAST_BYTES = 5000 };

int app_finish(int status)
{
    status = app_output_end(status);
    img_tls_drain(LAST_BYTES);
    img_objects_free();
    img_protect_end();
    app_partial_fail();
    return status;
}

enum app_output app_output_format(const struct app *app)
{
    if (!strcmp(app->argument, "json"))
        return APP_JSON;
    if (!strcmp(app->argument, "human"))
        return APP_HUMAN;
    if (compat_profile() < COMPAT_10_0) {
        app_error("--output must be used with human or json as argument.");
        exit(app_finish(1));
    }
    app_usage(app, "--output expects 'human' or 'json' not '%s'", app->argument);
}

static void advise_cache(const char *text)
{
    struct img_guess guess = { .word = text };
    const char *name;

    for (size_t i = 0; (name = img_cache_name(i)); i++)
        img_guess_try(&guess, name, name);
    if (img_guess_best(&guess))
        app_advise("did you mean '%s'?", img_guess_best(&guess));
}

bool app_cache(const char *text, const char *what, enum img_cache *mode)
{
    if (img_cache_parse(text, mode) == 0)
        return true;
    app_error("Invalid %s option: %s", what, text);
    advise_cache(text);
    return false;
}

static void say_malformed(const char *text, const char *what)
{
    if (compat_profile() >= COMPAT_10_0) {
        app_error("Invalid %s specified: '%s'.", what, text);
        return;
    }
    app_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
    app_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
}

int app_parse_size(const char *text, uint64_t *number)
{
    if (compat_profile() < COMPAT_10_0 && text[strspn(text, " \t")] == '-')
        return -EINVAL;
    return img_parse_size(text, 'b', number);
}

bool app_number(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *number)
{
    int rc = app_parse_size(text, number);

    if (rc == 0 && *number >= min && *number <= max)
        return true;
    if (rc == -EINVAL)
        say_malformed(text, what);
    else
        app_error("Invalid %s specified. Must be between %llu and %llu.", what,
                  (unsigned long long)min, (unsigned long long)max);
    return false;
}

bool app_size(const char *text, const char *what, uint64_t *size)
{
    struct img_error err = IMG_ERROR_INIT;

    if (app_number(text, what, 0, INT64_MAX, size))
        return true;
    if (app_parse_size(text, size) == -EINVAL)
        img_size_advise(text, &err);
    app_advise_all(&err);
    return false;
}

bool app_one_format(bool image_opts, const char *format)
{
    return !(image_opts && format) || app_refuse("--image-opts and --format are mutually exclusive");
}

void app_advise_share(const struct img_open *how, struct img_error *err)
{
    /* (only that of a lock has this code and a hint) */
    if (err->code == EAGAIN && err->hint && !(how->flags & (IMG_RDWR | IMG_SHARE)) && app_has_option('U'))
        img_error_advise(err, "-U (--force-share) reads it nevertheless, perhaps in the middle of a change");
}

void app_advise_beside(const char *backing, const char *full, struct img_error *err)
{
    if (err->code == ENOENT && strcmp(backing, full) && access(full, F_OK) < 0 && access(backing, F_OK) == 0)
        img_error_advise(err, "the name of a backing file is relative to the image, so '%s' means '%s'", backing, full);
}

struct img *app_open(const char *name, const struct img_open *how)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;

    if (!app_one_format(how->image_opts, how->format))
        return NULL;
    if (img_open(&image, name, how, &err) < 0) {
        app_advise_share(how, &err);
        app_report(&err);
        return NULL;
    }
    return image;
}

void app_protect(struct img *image)
{
    if (img_protect(image) < 0)
        app_need(NULL);
}

void app_protect_descriptor(int fd, const char *name)
{
    if (img_protect_descriptor(fd, name) < 0)
        app_need(NULL);
}

void app_cut_prefix(struct img_error *err, const char *name)
{
    CLEANUP_FREE char *prefix = app_asprintf("Could not open '%s': ", name);
    size_t length = strlen(prefix);

    if (err->text && strncmp(err->text, prefix, length) == 0)
        memmove(err->text, err->text + length, strlen(err->text + length) + 1);
}

int app_close(struct img *image, int status)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_close(image, &err) == 0)
        return status;
    app_report(&err);
    return status ? status : 1;
}

int app_close_after(struct img *image, int status)
{
    struct img_error ignored = IMG_ERROR_INIT;

    if (status == 0)
        return app_close(image, 0);
    img_close(image, &ignored);
    img_error_clear(&ignored);
    return status;
}

bool app_refuse(const char *why)
{
    app_error("%s", why);
    return false;
}

bool app_is_whole(struct img *image, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_check_whole(image, &err) == 0)
        return true;
    app_report_with(&err, "Could not open '%s': ", name);
    return false;
}

bool app_add_options(struct img_doc **options, const char *text, bool *want_help)
{
    struct img_error err = IMG_ERROR_INIT;

    if (want_help && img_options_want_help(text)) {
        *want_help = true;
        return true;
    }
    if (!*options)
        *options = app_whole(img_doc_object());
    if (img_options_add(*options, text, &err) == 0)
        return true;
    app_report(&err);
    return false;
}

bool app_is_plain(const char *format)
{
    const struct img_driver *driver = img_driver_find(format);

    return driver && img_driver_is_plain(driver);
}

void app_unknown_format(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;

    img_error_set(&err, EINVAL, "Unknown file format '%s'", name);
    img_driver_advise(name, true, &err);
    app_report(&err);
}

bool app_can_create(const struct img_driver *driver)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_driver_need(driver, &err) < 0) {
        app_report(&err);
        return false;
    }
    if (!img_driver_can_create(driver)) {
        app_error("Format driver '%s' does not support image creation", img_driver_name(driver));
        return false;
    }
    return true;
}

void app_print_json(const struct img_doc *doc)
{
    CLEANUP_FREE char *text = app_need(img_doc_json(doc, 4));

    puts(text);
}
