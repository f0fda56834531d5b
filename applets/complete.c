/* SPDX-License-Identifier: MIT */
/*
 * complete.c - what a shell may complete, from the tables of the tools.  The files in packaging/completions only pass on
 * the words and the answer.
 */
#include "complete.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An answer that takes longer is no help; a storage may not answer at all. */
enum { SECONDS = 3 };

/* ---- The answer -------------------------------------------------------------------- */

/* Names that an image has may be made to play tricks on a terminal. */
static bool is_printable(const char *word)
{
    for (; *word; word++)
        if (img_printable(*word) != *word)
            return false;
    return true;
}

/* The same of the first line. */
static bool is_printable_line(const char *about)
{
    CLEANUP_FREE char *first = app_strndup(about, strcspn(about, "\n"));

    return *first && is_printable(first);
}

void complete_offer(struct complete *line, const char *word, const char *about)
{
    const char *part = line->typed + line->skip;

    if (strncmp(word, part, strlen(part)) != 0 || !*word || !is_printable(word))
        return;
    img_strbuf_printf(&line->answer, "%.*s%s", (int)line->skip, line->typed, word);
    if (about && is_printable_line(about))
        img_strbuf_printf(&line->answer, "\t%.*s", (int)strcspn(about, "\n"), about);
    img_strbuf_add_char(&line->answer, '\n');
}

void complete_files(struct complete *line)
{
    line->kind = "files";
}

static int print_answer(struct complete *line)
{
    if (!line->answer.failed)
        printf("%s %zu\n%s", line->kind ? line->kind : "words", line->skip, line->answer.text ? line->answer.text : "");
    img_strbuf_free(&line->answer);
    free(line->operands);
    return 0;
}

/* ---- Words as bash passes them ------------------------------------------------------- */

/* Take the quotes away, in place.  Nothing is expanded. */
static void unquote(char *word)
{
    char *to = word, quote = 0;

    for (; *word; word++) {
        if (quote == '\'' ? *word == quote : (*word == '"' && quote != '\'')) {
            quote = quote ? 0 : *word;
        } else if (!quote && *word == '\'') {
            quote = *word;
        } else {
            if (*word == '\\' && quote != '\'' && word[1] && (!quote || strchr("\\\"$`", word[1])))
                word++;
            *to++ = *word;
        }
    }
    *to = '\0';
}

/* ---- What the line says ---------------------------------------------------------------- */

/* Are the first `length` letters the name of one option, or the beginning of only one? */
static const struct app_option *find_long(const struct applet *applet, const char *name, size_t length)
{
    const struct app_option *option, *found = NULL;
    bool doubt = false;

    for (size_t i = 0; (option = app_row(applet, i)); i++) {
        if (!option->name || strncmp(option->name, name, length) != 0)
            continue;
        if (!option->name[length])
            return option;
        doubt |= found && found->letter != option->letter;
        found = option;
    }
    return doubt ? NULL : found;
}

static void take(struct complete *line, const struct app_option *option, const char *value)
{
    bool creates = !strcmp(line->applet->name, "create");

    if (option->letter == APP_IMAGE_OPTS)
        line->image_opts = true;
    else if (option->name && !strcmp(option->name, "add"))
        line->adds = true;
    else if (option->letter == 'O' || (option->letter == 'f' && creates))
        line->target_format = value;
    else if (option->letter == 'f')
        line->format = value;
    else if (option->name && !strcmp(option->name, "source-file"))
        line->source = value;
}

/* The option of this word; *value: its argument in the same word, or NULL.  Letters before it are taken. */
static const struct app_option *option_in(struct complete *line, const char *word, const char **value)
{
    const struct app_option *option = NULL;

    *value = NULL;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");

        *value = word[2 + length] ? word + 2 + length + 1 : NULL;
        return find_long(line->applet, word + 2, length);
    }
    while (*++word && (option = app_find_short(line->applet, *word)) && !option->argument)
        take(line, option, NULL);
    if (option && option->argument && word[1])
        *value = word + 1;
    return option;
}

/* Does the argument of the option stand in the next word? */
static bool look_at_option(struct complete *line, int at)
{
    const char *word = line->words[at], *value;
    const struct app_option *option = option_in(line, word, &value);

    if (!option)
        return false;
    if (at == line->index) {
        if (option->argument && value) {
            line->option = option;
            line->skip = (size_t)(value - word);
        }
        return false;
    }
    if (!option->argument || value)
        take(line, option, value);
    return option->argument && !value;
}

static void look_at_operand(struct complete *line, int at)
{
    if (at == line->index)
        line->operand_at = line->operand_count;
    line->operands[line->operand_count++] = line->words[at];
}

/* The word behind an option that takes an argument. */
static void look_at_argument(struct complete *line, int at)
{
    const char *value;
    const struct app_option *option = option_in(line, line->words[at - 1], &value);

    if (at == line->index)
        line->option = option;
    else
        take(line, option, line->words[at]);
}

static void look(struct complete *line)
{
    bool argument = false;

    line->operand_at = -1;
    line->operands = app_calloc((size_t)line->count + 1, sizeof *line->operands);
    for (int at = 0; at < line->count; at++) {
        const char *word = line->words[at];

        if (argument) {
            look_at_argument(line, at);
            argument = false;
        } else if (line->only_operands || *word != '-' || (!word[1] && at != line->index)) {
            look_at_operand(line, at);
        } else if (!strcmp(word, "--") && at != line->index) {
            line->only_operands |= at < line->index;
        } else {
            argument = look_at_option(line, at);
        }
    }
}

/* ---- Candidates --------------------------------------------------------------------------- */

static void offer_options(struct complete *line)
{
    const struct app_option *option;

    for (size_t i = 0; (option = app_row(line->applet, i)); i++) {
        char text[64];

        if (!option->help)
            continue;
        if (option->name)
            snprintf(text, sizeof text, "--%s", option->name);
        else
            snprintf(text, sizeof text, "-%c", option->letter);
        complete_offer(line, text, option->help);
    }
}

static void complete_applet(struct complete *line)
{
    line->typed = line->words[line->index];
    look(line);
    if (line->option)
        complete_argument(line);
    else if (line->operand_at >= 0)
        complete_operand(line);
    else
        offer_options(line);
}

/* ---- Commands -------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static const struct applet *find_applet(const char *name)
{
    for (size_t i = 0; applets[i]; i++)
        if (!strcmp(applets[i]->name, name))
            return applets[i];
    return NULL;
}

static void offer_tools(struct complete *line)
{
    for (size_t i = 0; applets[i]; i++)
        complete_offer(line, applets[i]->name, applets[i]->title);
}

/* `words` are behind the command. */
static void complete_tool(struct complete *line, const struct applet *applet, char **words, int count, int index)
{
    *line = (struct complete){ .words = words, .count = count, .index = index, .applet = applet, .kind = "words" };
    complete_applet(line);
}

static void complete_qemu_img(struct complete *line, char **words, int count, int index)
{
    int at = 0;

    while (at < count && *words[at] == '-')
        at += !strcmp(words[at], "-T") || !strcmp(words[at], "--trace") ? 2 : 1;
    if (index > at) {
        const struct applet *applet = find_applet(words[at]);

        if (applet)
            complete_tool(line, applet, words + at + 1, count - at - 1, index - at - 1);
        return;
    }
    complete_tool(line, app_global_face(), words, index + 1, index);
    if (line->operand_at >= 0)
        offer_tools(line);
}

static void complete_imgbox(struct complete *line, char **words, int count, int index)
{
    static const char *const others[] = { "qemu-img", "qemu-nbd", "help", "--help", "--version", "--list", "--install" };
    const char *tool = strncmp(words[0], "img-", 4) ? words[0] : words[0] + 4;

    *line = (struct complete){ .kind = "words", .typed = words[index] };
    if (index == 0 || (index == 1 && !strcmp(words[0], "help"))) {
        offer_tools(line);
        for (size_t i = 0; i < (index ? 2 : sizeof others / sizeof *others); i++)
            complete_offer(line, others[i], NULL);
    } else if (!strcmp(words[0], "--install")) {
        complete_files(line);
    } else if (!strcmp(words[0], "qemu-img")) {
        complete_qemu_img(line, words + 1, count - 1, index - 1);
    } else if (!strcmp(words[0], "qemu-nbd")) {
        complete_tool(line, app_nbd_face(), words + 1, count - 1, index - 1);
    } else if (find_applet(tool)) {
        complete_tool(line, find_applet(tool), words + 1, count - 1, index - 1);
    }
}

static void complete_command(struct complete *line, const char *program, char **words, int count, int index)
{
    const char *name = base_name(program);
    const struct applet *applet = strncmp(name, "img-", 4) ? NULL : find_applet(name + 4);

    if (!strcmp(name, "qemu-img"))
        complete_qemu_img(line, words, count, index);
    else if (!strcmp(name, "qemu-nbd"))
        complete_tool(line, app_nbd_face(), words, count, index);
    else if (applet)
        complete_tool(line, applet, words, count, index);
    else
        complete_imgbox(line, words, count, index);
}

/* ---- The call -------------------------------------------------------------------------------- */

/* Without a word from the shell about how it ended. */
static void give_up(int number)
{
    (void)number;
    _exit(1);
}

/* The index of the first WORD; 0: that is not what there is. */
static int start(int argc, char **argv, int *index)
{
    bool bash = argc > 2 && !strcmp(argv[2], "bash");
    int at = 2 + bash;
    char *end = NULL;
    long number = argc > at + 2 ? strtol(argv[at], &end, 10) : 0;

    if (number < 1 || *end || number > argc - at - 2)
        return 0;
    *index = (int)number - 1;
    for (int i = at + 1; bash && i < argc; i++)
        unquote(argv[i]);
    signal(SIGALRM, give_up);
    alarm(SECONDS);
    img_set_notice(NULL);
    img_set_unwrapping(false);
    return at + 2;
}

int app_complete_tool(int argc, char **argv, const struct applet *applet)
{
    struct complete line = { 0 };
    int index, first = start(argc, argv, &index);

    if (!first)
        return 1;
    complete_tool(&line, applet, argv + first, argc - first, index);
    return print_answer(&line);
}

int app_complete(int argc, char **argv)
{
    struct complete line = { 0 };
    int index, first = start(argc, argv, &index);

    if (!first)
        return 1;
    complete_command(&line, argv[first - 1], argv + first, argc - first, index);
    return print_answer(&line);
}
