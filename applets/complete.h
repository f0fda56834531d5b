/* SPDX-License-Identifier: MIT */
/* complete.h - what a shell may complete; shared by the files of `--complete`. */
#ifndef COMPLETE_H
#define COMPLETE_H

#include "applet.h"

/* The command line that is being completed. */
struct complete {
    char **words;               /* without the program and the command */
    int count, index;           /* words[index] is completed; words behind it count too */
    const struct applet *applet;

    /* What the other words say; NULL: nothing. */
    const char *format, *target_format, *source;
    const char **operands;
    int operand_count, operand_at;      /* operand_at: which one is completed; -1: none */
    bool image_opts, only_operands;
    bool adds;                  /* what comes gets a new name */
    const struct app_option *option;    /* the completed word has its argument, from typed[skip] on; NULL: none has */

    /* The answer. */
    const char *typed;          /* the completed word */
    size_t skip;                /* what stands before the part that is completed: "--output=", "compat=1.1," */
    const char *kind;           /* "words", "part": no blank follows them, "files": those of the shell */
    struct img_strbuf answer;
};

/* Add a candidate for typed[skip...], if it fits what is typed.  `about` may be NULL; of lines the first counts. */
void complete_offer(struct complete *line, const char *word, const char *about);
/* Let the shell complete the name of a file from typed[skip] on. */
void complete_files(struct complete *line);

/* complete-values.c: candidates for the argument of line->option, or for an operand. */
void complete_argument(struct complete *line);
void complete_operand(struct complete *line);

/*
 * complete.c: `PROGRAM --complete [bash] INDEX PROGRAM WORD...`.  The answer on standard output: a line "KIND SKIP", then
 * a line "WORD" or "WORD<tab>about it" for each candidate, which stands for the whole word.  If bash asks, the words are
 * as they were typed, with quotes.  Anything that is wrong gives no answer.
 */
int app_complete(int argc, char **argv);
/* The same for a program that has this tool only. */
int app_complete_tool(int argc, char **argv, const struct applet *applet);

/* The words of the faces (qemu-img.c, qemu-nbd.c). */
const struct applet *app_global_face(void);
const struct applet *app_nbd_face(void);

#endif
