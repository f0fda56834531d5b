/* SPDX-License-Identifier: MIT */
/* advice.c - what is known about an image that helps with an error: its content, its names, the place of its files. */
#include "chain.h"
#include "util/cleanup.h"
#include "util/printable.h"
#include "util/strbuf.h"

#include <string.h>
#include <sys/stat.h>

/* An image may have thousands of names, and they may be long. */
enum { SHOWN_NAMES = 8, SHOWN_BYTES = 64 };

struct names {
    struct img_strbuf text;
    size_t count;
};

static void add_name(struct names *names, const char *name)
{
    if (names->count++ >= SHOWN_NAMES)
        return;
    img_strbuf_add(&names->text, names->count > 1 ? ", '" : "'");
    for (size_t i = 0; name[i] && i < SHOWN_BYTES; i++)
        img_strbuf_add_char(&names->text, img_printable(name[i]));
    img_strbuf_add(&names->text, strlen(name) > SHOWN_BYTES ? "...'" : "'");
}

static void advise_names(struct names *names, const char *what, struct img_error *err)
{
    if (names->count == 0)
        img_error_advise(err, "the image has no %s", what);
    else if (names->count > SHOWN_NAMES && !names->text.failed)
        img_error_advise(err, "the %s of the image: %s and %zu more", what, names->text.text,
                         names->count - SHOWN_NAMES);
    else if (!names->text.failed)
        img_error_advise(err, "the %s of the image: %s", what, names->text.text);
    img_strbuf_free(&names->text);
}

void img_snapshots_advise(struct img *image, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    struct img_snapshot *list = NULL;
    struct names names = { .count = 0 };
    int count = img_advice_wanted() ? img_snapshots(image, &list, &ignored) : -1;

    img_error_clear(&ignored);
    for (int i = 0; i < count; i++)
        add_name(&names, list[i].name);
    if (count >= 0)
        advise_names(&names, "snapshots", err);
    img_snapshots_free(list, count > 0 ? (size_t)count : 0);
}

void img_bitmaps_advise(struct img *image, struct img_error *err)
{
    struct img_bitmap *list = NULL;
    struct names names = { .count = 0 };
    int count = img_advice_wanted() ? img_bitmaps(image, &list) : -1;

    for (int i = 0; i < count; i++)
        add_name(&names, list[i].name);
    if (count >= 0)
        advise_names(&names, "bitmaps", err);
    img_bitmaps_free(list, count > 0 ? (size_t)count : 0);
}

void img_chain_advise(struct img *image, struct img_error *err)
{
    struct names names = { .count = 0 };

    for (image = img_behind_filters(image); image->backing; image = img_behind_filters(image->backing))
        add_name(&names, img_backing_name(image));
    advise_names(&names, "backing files", err);
}

void chain_advise_format(struct img *image, const char *name, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    const struct img_driver *seen = NULL;
    struct img_head head;

    if (!img_advice_wanted() || !image->file || img_size(image->file) == 0)
        return;
    if (img_probe_read(image->file, &head, &ignored) == 0)
        seen = img_probe(image->file, &head, name ? name : "", &ignored);
    img_error_clear(&ignored);
    /* Raw is said of whatever has no mark at its beginning. */
    if (seen && seen != image->driver && !img_driver_is_plain(seen))
        img_error_advise(err, "by its content it is a %s image", seen->name);
}

void chain_advise_backing(const struct img *image, const char *resolved, struct img_error *err)
{
    struct stat status;

    if (!img_advice_wanted() || img_name_prefix(resolved) != SIZE_MAX)
        return;
    if (stat(resolved, &status) == 0 || errno != ENOENT)
        return;
    if (img_name_is_relative(image->backing_name))
        img_error_advise(err, "the backing file '%s' of '%s' is missing: the name is relative to the image, so '%s' is "
                         "meant", image->backing_name, img_filename(image), resolved);
    else
        img_error_advise(err, "the backing file '%s' of '%s' is missing", resolved, img_filename(image));
    img_error_advise(err, "if it was moved: 'rebase -u -b NAME -F FORMAT IMAGE' stores another name");
}

/* ---- Words that an option takes ------------------------------------------------------ */

/* Try each of the words; true: it is one of them. */
static bool is_choice(struct img_guess *guess, const char *choices)
{
    while (*choices) {
        size_t length = strcspn(choices, " ");
        CLEANUP_FREE char *word = img_strndup(choices, length);

        if (!word || !strcmp(word, guess->word))
            return true;
        img_guess_try(guess, word, choices);
        choices += length + (choices[length] == ' ');
    }
    return false;
}

void img_choices_advise(const struct img_option *table, unsigned when, const struct img_doc *options,
                        struct img_error *err)
{
    for (; table && table->name; table++) {
        const char *value = table->choices && table->when & when ? img_doc_string_at(options, table->name) : NULL;
        struct img_guess guess = { .word = value };
        const char *best;

        /* (the error is about this value) */
        if (!value || !*value || !err->text || !strstr(err->text, value) || is_choice(&guess, table->choices))
            continue;
        best = img_guess_best(&guess);
        if (best)
            img_error_advise(err, "did you mean '%.*s'?", (int)strcspn(best, " "), best);
        else
            img_error_advise(err, "'%s' takes one of: %s", table->name, table->choices);
        return;
    }
}
