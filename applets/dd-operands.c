/* SPDX-License-Identifier: MIT */
/* dd-operands.c - the operands of img-dd, name=value; later ones replace earlier ones. */
#include "dd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Values ------------------------------------------------------------------------------- */

static bool parse_input(struct dd *dd, const char *value)
{
    dd->input = strcmp(value, "-") ? value : NULL;
    return true;
}

static bool parse_output(struct dd *dd, const char *value)
{
    dd->output = strcmp(value, "-") ? value : NULL;
    return true;
}

static bool parse_block(struct dd *dd, const char *value)
{
    return app_number(value, "bs", 1, INT32_MAX, &dd->block);
}

/* A plain number in C notation; the old profile also accepts size suffixes. */
static bool parse_blocks(const char *value, const char *what, uint64_t *blocks)
{
    unsigned long long number;
    char *end;

    if (compat_profile() < COMPAT_10_0)
        return app_size(value, what, blocks);
    errno = 0;
    number = strtoull(value, &end, 0);
    if (end == value || *end) {
        app_error("Invalid %s specified: '%s'.", what, value);
        return false;
    }
    if (errno || number > INT64_MAX) {
        app_error("Invalid %s specified. Must be between 0 and %" PRId64 ".", what, INT64_MAX);
        return false;
    }
    *blocks = number;
    return true;
}

static bool parse_count(struct dd *dd, const char *value)
{
    dd->has_count = true;
    return parse_blocks(value, "count", &dd->count);
}

static bool parse_skip(struct dd *dd, const char *value)
{
    return parse_blocks(value, "skip", &dd->skip);
}

static bool parse_seek(struct dd *dd, const char *value)
{
    return parse_blocks(value, "seek", &dd->seek);
}

static bool parse_output_size(struct dd *dd, const char *value)
{
    dd->has_output_size = true;
    return app_size(value, "osize", &dd->output_size);
}

/* ---- Lists of words ---------------------------------------------------------------------------- */

struct word {
    const char *name;
    bool *flag;
};

/* Set the flags of a comma-separated list. */
static bool parse_words(const char *what, const char *value, const struct word *words, size_t count)
{
    for (const char *at = value; ; ) {
        size_t length = strcspn(at, ","), i = 0;

        while (i < count && (strlen(words[i].name) != length || strncmp(words[i].name, at, length)))
            i++;
        if (i == count) {
            app_error("Invalid %s specified: '%.*s'.", what, (int)length, at);
            return false;
        }
        *words[i].flag = true;
        at += length;
        if (!*at)
            return true;
        at++;
    }
}

static bool parse_conv(struct dd *dd, const char *value)
{
    const struct word words[] = { { "notrunc", &dd->keep }, { "sparse", &dd->sparse }, { "fsync", &dd->sync } };

    return parse_words("conv", value, words, sizeof words / sizeof *words);
}

static bool parse_input_flags(struct dd *dd, const char *value)
{
    return parse_words("iflag", value, &(struct word){ "direct", &dd->direct_input }, 1);
}

static bool parse_output_flags(struct dd *dd, const char *value)
{
    return parse_words("oflag", value, &(struct word){ "direct", &dd->direct_output }, 1);
}

static bool parse_status(struct dd *dd, const char *value)
{
    dd->progress = strcmp(value, "progress") == 0;
    if (dd->progress || strcmp(value, "none") == 0)
        return true;
    app_error("Invalid status specified: '%s'.", value);
    return false;
}

/* ---- Operands ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    bool (*parse)(struct dd *dd, const char *value);
    const char *words;          /* that it takes; NULL: any */
} operands[] = {
    { "bs", parse_block, NULL }, { "count", parse_count, NULL }, { "if", parse_input, NULL },
    { "of", parse_output, NULL }, { "skip", parse_skip, NULL }, { "seek", parse_seek, NULL },
    { "osize", parse_output_size, NULL }, { "conv", parse_conv, "notrunc sparse fsync" },
    { "iflag", parse_input_flags, "direct" }, { "oflag", parse_output_flags, "direct" },
    { "status", parse_status, "none progress" },
};

const char *dd_operand(size_t index, const char **words)
{
    if (index >= sizeof operands / sizeof *operands)
        return NULL;
    *words = operands[index].words;
    return operands[index].name;
}

static void advise_operand(const char *text, size_t length)
{
    CLEANUP_FREE char *name = app_strndup(text, length);
    struct img_guess guess = { .word = name };

    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        img_guess_try(&guess, operands[i].name, operands[i].name);
    if (img_guess_best(&guess))
        app_advise("did you mean '%s='?", img_guess_best(&guess));
}

static bool parse_operand(struct dd *dd, const char *text)
{
    size_t length = strcspn(text, "=");

    for (size_t i = 0; text[length] && i < sizeof operands / sizeof *operands; i++) {
        if (strlen(operands[i].name) == length && strncmp(operands[i].name, text, length) == 0)
            return operands[i].parse(dd, text + length + 1);
    }
    app_error("unrecognized operand %.*s", (int)length, text);
    advise_operand(text, length);
    return false;
}

bool dd_parse_operands(struct dd *dd)
{
    for (int i = 0; i < dd->app->operand_count; i++) {
        if (!parse_operand(dd, dd->app->operands[i]))
            return false;
    }
    return true;
}
