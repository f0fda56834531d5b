/* SPDX-License-Identifier: MIT */
/*
 * The qemu-img command: its global options, its list of commands, and its usage
 * errors.  The commands are the applets.
 */
#include "complete.h"
#include "face.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct app_option global_options[] = {
    { 'h', "help", NULL, "show this help; after a command, the help of the command" },
    { 'V', "version", NULL, "show the version" },
    { 'T', "trace", "[[enable=]PATTERN][,events=FILE][,file=FILE]", "print events (`-T help` lists their names)" },
    { 0, NULL, NULL, NULL }
};

static const struct applet global_face = {
    .name = "qemu-img",
    .options = global_options,
};

const struct applet *app_global_face(void)
{
    return &global_face;
}

static void print_version(void)
{
    printf("qemu-img version %s (imgbox %s)\n"
           "An independent implementation under the MIT licence\n",
           compat_profile() < COMPAT_10_0 ? "7.2.22" : "10.0.2", app_version);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_formats(void)
{
    const char *names[64];
    size_t count = 0;

    for (const struct img_driver *driver = img_driver_next(NULL); driver; driver = img_driver_next(driver))
        if (img_driver_usable(driver) && count < sizeof names / sizeof *names)
            names[count++] = img_driver_name(driver);
    qsort(names, count, sizeof *names, by_name);
    printf("Supported formats:");
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
}

static void print_help(void)
{
    app_output_is_help();
    print_version();
    printf("usage: qemu-img [standard options] COMMAND [--help | command options]\n\nStandard options:\n");
    for (const struct app_option *option = global_options; option->letter; option++)
        printf("  -%c, --%s%s%s\n     %s\n", option->letter, option->name, option->argument ? " " : "",
               option->argument ? option->argument : "", option->help);
    printf("\nCommands (see COMMAND --help):\n");
    /* Scripts look for an option on the line of its command. */
    for (size_t i = 0; applets[i]; i++) {
        printf("  %s %s\n", applets[i]->name, applets[i]->synopsis);
        if (!compat_pinned())
            printf("     %s\n", applets[i]->title);
    }
    printf("\n");
    print_formats();
}

static const struct applet *find_applet(const char *name)
{
    for (size_t i = 0; applets[i]; i++)
        if (!strcmp(applets[i]->name, name))
            return applets[i];
    return NULL;
}

static _Noreturn void unknown_command(struct app *app, const char *name)
{
    struct img_guess guess = { .word = name };

    for (size_t i = 0; applets[i]; i++)
        img_guess_try(&guess, applets[i]->name, applets[i]->name);
    img_guess_try(&guess, "help", "--help");
    app->meant = img_guess_best(&guess);
    app_usage(app, "Command not found: %s", name);
}

int app_qemu_img(int argc, char **argv, app_run_fn *run)
{
    struct app app;
    const struct applet *applet;
    int letter, status;
    char *called;

    app_start(&app, &global_face, argv[0], argc, argv);
    app.stop_at_operand = true;
    while ((letter = app_next(&app)) != -1) {
        enum app_trace traced = letter == 'T' ? app_trace(app.argument) : APP_TRACE_GOOD;

        if (letter == 'T' && traced == APP_TRACE_GOOD)
            continue;
        if (letter == 'h')
            print_help();
        else if (letter == 'V')
            print_version();
        free(app.operands);
        return traced == APP_TRACE_BAD ? 1 : 0;
    }
    if (!app.operand_count)
        app_usage(&app, "Not enough arguments");
    applet = find_applet(app.operands[0]);
    if (!applet)
        unknown_command(&app, app.operands[0]);
    called = app_asprintf("%s %s", argv[0], applet->name);
    status = run(applet, called, app.operand_count, app.operands);
    free(called);
    free(app.operands);
    return status;
}
