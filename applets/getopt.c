/* SPDX-License-Identifier: MIT */
/*
 * The option parser, driven by the option table of an applet.  The messages of
 * getopt_long differ between C libraries; the messages here are those that
 * callers of qemu-img expect.
 */
#include "applet.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct app_option help_option = { 'h', "help", NULL, "show this help" };

/* The applet that was started last: qemu-img starts as one, too. */
static const struct applet *running;

void app_start(struct app *app, const struct applet *applet, const char *called, int argc, char **argv)
{
    running = applet;
    *app = (struct app){ .applet = applet, .called = called, .argc = argc, .argv = argv, .next = 1 };
    app->operands = app_calloc((size_t)argc + 1, sizeof *app->operands);
}

static int usage_status(const struct app *app)
{
    return app->applet->usage_status ? app->applet->usage_status : 1;
}

/* The line after every usage error; the old profile always names the whole tool. */
static _Noreturn void try_help(const struct app *app, int status)
{
    if (app->applet->try_help)
        app->applet->try_help(app->called);
    else if (compat_profile() < COMPAT_10_0)
        app_tell("Try 'qemu-img --help' for more information\n");
    else
        app_tell("Try '%s --help' for more info\n", app->called);
    if (app->meant)
        app_advise("did you mean '%s'?", app->meant);
    exit(app_finish(status));
}

void app_usage(const struct app *app, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    app_tell_line(app_name, "", format, arguments);
    va_end(arguments);
    try_help(app, usage_status(app));
}

/* Report an option that the table does not allow.  `text` is the message of the new profile, `word` the option. */
static _Noreturn void bad_option(const struct app *app, const char *word, const char *format, ...)
    IMG_PRINTF(3, 4);

static _Noreturn void bad_option(const struct app *app, const char *word, const char *format, ...)
{
    va_list arguments;

    if (compat_profile() < COMPAT_10_0 && !app->applet->try_help) {
        app_tell("%s: unrecognized option '%s'\n", app_name, word);
    } else {
        va_start(arguments, format);
        app_tell_line(app->called, "", format, arguments);
        va_end(arguments);
    }
    /* Errors of the parser exit with 1 in every tool. */
    try_help(app, 1);
}

/* Report an option without its argument at the end. */
static _Noreturn void no_argument(const struct app *app, const char *word, const struct app_option *option,
                                  bool is_long)
{
    if (compat_profile() < COMPAT_10_0 && !app->applet->try_help)
        app_tell("%s: missing argument for option '%s'\n", app_name, word);
    else if (is_long)
        app_tell("%s: option '--%s' requires an argument\n", app->called, option->name);
    else
        app_tell("%s: option requires an argument -- '%c'\n", app->called, option->letter);
    try_help(app, 1);
}

static bool has_own_help(const struct applet *applet)
{
    for (const struct app_option *option = applet->options; option && option->letter; option++)
        if (option->letter == 'h')
            return true;
    return false;
}

const struct app_option *app_row(const struct applet *applet, size_t index)
{
    size_t count = 0;

    while (applet->options && applet->options[count].letter)
        count++;
    if (index < count)
        return &applet->options[index];
    return index == count && !has_own_help(applet) ? &help_option : NULL;
}

const struct app_option *app_find_short(const struct applet *applet, char letter)
{
    const struct app_option *option;

    for (size_t i = 0; (option = app_row(applet, i)); i++)
        if (option->letter == (unsigned char)letter)
            return option;
    return NULL;
}

bool app_has_option(int letter)
{
    return running && app_find_short(running, (char)letter);
}

/* Are the first `length` letters of `name` the name of the option, or a beginning of it? */
static bool abbreviates(const struct app_option *option, const char *name, size_t length)
{
    if (!option->name || strncmp(option->name, name, length) != 0)
        return false;
    /* All tools have this one, and qemu-img does not: abbreviations of others keep their meaning. */
    return option->letter != APP_STRICT_FORMAT || !option->name[length];
}

static _Noreturn void ambiguous(const struct app *app, const char *word, size_t length)
{
    struct img_strbuf names = { 0 };
    const struct app_option *option;

    for (size_t i = 0; (option = app_row(app->applet, i)); i++)
        if (abbreviates(option, word + 2, length))
            img_strbuf_printf(&names, " '--%s'", option->name);
    bad_option(app, word, "option '%s' is ambiguous; possibilities:%s", word, names.failed ? "" : names.text);
}

/* An option of all tools that open images.  It is in no table: it must not make another's abbreviation ambiguous. */
static const struct app_option iscsi_config = { APP_ISCSI_CONFIG, "iscsi-config", "FILE", "settings of iSCSI targets" };

static bool opens_images(const struct applet *applet)
{
    for (const struct app_option *option = applet->options; option && option->letter; option++)
        if (option->letter == APP_OBJECT)
            return true;
    return false;
}

/* Find an option by its name or by a unique abbreviation. */
static const struct app_option *find_long(const struct app *app, const char *word)
{
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const struct app_option *option, *found = NULL;
    bool doubt = false;

    if (length == strlen(iscsi_config.name) && !strncmp(name, iscsi_config.name, length) && opens_images(app->applet))
        return &iscsi_config;
    for (size_t i = 0; (option = app_row(app->applet, i)); i++) {
        if (!abbreviates(option, name, length))
            continue;
        if (!option->name[length])
            return option;
        if (found && (found->letter != option->letter || !found->argument != !option->argument))
            doubt = true;
        else
            found = option;
    }
    if (doubt)
        ambiguous(app, word, length);
    return found;
}

static int accept(struct app *app, const struct app_option *option, char *argument)
{
    app->argument = argument;
    if (option == &help_option) {
        app_help(app);
        exit(app_finish(0));
    }
    return option->letter;
}

static _Noreturn void unknown_long(struct app *app, const char *word)
{
    CLEANUP_FREE char *name = app_strndup(word + 2, strcspn(word + 2, "="));
    struct img_guess guess = { .word = name };
    const struct app_option *option;

    for (size_t i = 0; (option = app_row(app->applet, i)); i++)
        if (option->name)
            img_guess_try(&guess, option->name, option->name);
    if (img_guess_best(&guess))
        app->meant = app_asprintf("--%s", img_guess_best(&guess));
    bad_option(app, word, "unrecognized option '%s'", word);
}

static bool is_progress(const struct app_option *option)
{
    return option->name && !strcmp(option->name, "progress");
}

static int next_long(struct app *app, char *word)
{
    const struct app_option *option = find_long(app, word);
    char *argument = strchr(word, '=');

    if (!option)
        unknown_long(app, word);
    if (!option->argument) {
        if (argument && is_progress(option) && app_progress_wish(argument + 1))
            return accept(app, option, NULL);
        if (argument && is_progress(option))
            app->meant = "--progress=json[,fd=N]";
        if (argument)
            bad_option(app, word, "option '--%s' doesn't allow an argument", option->name);
        return accept(app, option, NULL);
    }
    if (argument)
        return accept(app, option, argument + 1);
    if (app->next >= app->argc)
        no_argument(app, word, option, true);
    return accept(app, option, app->argv[app->next++]);
}

static int next_short(struct app *app)
{
    char *word = app->argv[app->next - 1];
    char letter = *app->cluster++;
    const struct app_option *option = app_find_short(app->applet, letter);
    const char *rest = app->cluster;

    if (!option)
        bad_option(app, word, "invalid option -- '%c'", letter);
    if (!*rest)
        app->cluster = NULL;
    if (!option->argument)
        return accept(app, option, NULL);
    app->cluster = NULL;
    if (*rest)
        return accept(app, option, word + (rest - word));
    if (app->next >= app->argc)
        no_argument(app, word, option, false);
    return accept(app, option, app->argv[app->next++]);
}

/* Is it a negative number in a place where the applet takes one as its second operand? */
static bool is_minus_number(const struct app *app, const char *word)
{
    return app->applet->minus_number && app->operand_count == 1 && app->argv[app->next - 2] == app->operands[0] &&
           word[1] >= '0' && word[1] <= '9';
}

static int next_option(struct app *app)
{
    if (app->cluster)
        return next_short(app);
    while (app->next < app->argc) {
        char *word = app->argv[app->next++];

        if (app->only_operands || word[0] != '-' || !word[1] || is_minus_number(app, word)) {
            app->operands[app->operand_count++] = word;
            app->only_operands |= app->stop_at_operand;
        } else if (word[1] != '-') {
            app->cluster = word + 1;
            return next_short(app);
        } else if (!word[2]) {
            app->only_operands = true;
        } else {
            return next_long(app, word);
        }
    }
    app->operands[app->operand_count] = NULL;
    return -1;
}

int app_next(struct app *app)
{
    int letter;

    while ((letter = next_option(app)) == APP_OBJECT || letter == APP_STRICT_FORMAT || letter == APP_ISCSI_CONFIG) {
        if (letter == APP_OBJECT)
            app_object(app->argument);
        else if (letter == APP_STRICT_FORMAT)
            img_set_strict_format(true);
        else
            app_need(setenv("IMGBOX_ISCSI_CONF", app->argument, 1) == 0 ? app : NULL);
    }
    return letter;
}
