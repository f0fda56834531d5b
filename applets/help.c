/* SPDX-License-Identifier: MIT */
/* help.c - the help text of an applet, made from its option table. */
#include "applet.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The synopsis ------------------------------------------------------------ */

enum { NARROWEST = 20, USUAL = 80, WIDEST = 1000, INDENT = 8 };

static size_t width(void)
{
    const char *columns = getenv("COLUMNS");
    long number = columns ? strtol(columns, NULL, 10) : 0;

    return number >= NARROWEST && number <= WIDEST ? (size_t)number : USUAL;
}

/* The length of the next word: what brackets hold belongs together, unless that is longer than `room`. */
static size_t word_length(const char *text, size_t room)
{
    size_t depth = 0, length = 0;

    for (; text[length] && text[length] != '\n'; length++) {
        if (strchr("[(", text[length]))
            depth++;
        else if (strchr("])", text[length]) && depth)
            depth--;
        else if (text[length] == ' ' && !depth)
            break;
    }
    return length <= room ? length : strcspn(text, " \n");
}

/* Print the text behind `column` letters of the line.  A newline in it begins a line of its own. */
static void print_wrapped(const char *text, size_t column)
{
    size_t end = width();

    while (*text) {
        size_t length = word_length(text, end - INDENT);

        if (column > INDENT && column + 1 + length > end) {
            printf("\n%*s", INDENT, "");
            column = INDENT;
        } else if (column > INDENT) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            printf("\n");
            column = 0;
            text++;
        }
        for (; *text == ' '; text++, column++)
            if (column < INDENT)
                putchar(' ');
    }
    printf("\n");
}

/* The program's own name and the command: what was called, without its folder. */
static const char *own_name(const char *called)
{
    const char *slash = strrchr(called, '/');

    return slash ? slash + 1 : called;
}

static void print_usage(const struct app *app)
{
    CLEANUP_FREE char *start = app_asprintf("Usage: %s", own_name(app->called));

    if (compat_pinned()) {
        printf("Usage: %s %s\n", app->called, app->applet->synopsis);
        return;
    }
    printf("%s", start);
    print_wrapped(app->applet->synopsis, strlen(start));
}

/* ---- The options --------------------------------------------------------------- */

/* Print lines of text, each with the indent in front. */
static void print_indented(const char *text, const char *indent)
{
    while (*text) {
        size_t length = strcspn(text, "\n");

        printf("%s%.*s\n", indent, (int)length, text);
        text += length + (text[length] == '\n');
    }
}

/* Print row `index` and the other spellings below it. */
static void print_option(const struct applet *applet, size_t index)
{
    const struct app_option *option = app_row(applet, index), *other;

    if (option->letter < APP_LONG)
        printf("  -%c%s", option->letter, option->name ? ", " : "");
    else
        printf("  ");
    if (option->name)
        printf("--%s", option->name);
    if (option->argument)
        printf(" %s", option->argument);
    printf("\n");
    print_indented(option->help, "     ");
    while ((other = app_row(applet, ++index)) && !other->help) {
        if (other->name)
            printf("     (also spelled --%s)\n", other->name);
        else
            printf("     (also spelled -%c)\n", other->letter);
    }
}

void app_help(const struct app *app)
{
    const struct applet *applet = app->applet;
    const struct app_option *option;

    app_output_is_help();
    print_usage(app);
    printf("\n%c%s.\n\nOptions:\n", toupper((unsigned char)*applet->title), applet->title + 1);
    for (size_t i = 0; (option = app_row(applet, i)); i++)
        if (option->help)
            print_option(applet, i);
    if (applet->operands) {
        printf("\n");
        print_indented(applet->operands, "");
    }
}
