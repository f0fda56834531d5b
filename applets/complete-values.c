/* SPDX-License-Identifier: MIT */
/* complete-values.c - the candidates for the argument of an option and for an operand. */
#include "complete.h"
#include "dd.h"
#include "object.h"
#include "../libimg/digest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Lists of words -------------------------------------------------------------------- */

/* Candidates that `separator` divides. */
static void offer_words(struct complete *line, const char *words, char separator)
{
    const char set[] = { separator, '\0' };

    while (*words) {
        size_t length = strcspn(words, set);
        CLEANUP_FREE char *word = app_strndup(words, length);

        complete_offer(line, word, NULL);
        words += length + (words[length] == separator);
    }
}

/* Go on behind the last comma: the values before it stay. */
static void skip_list(struct complete *line)
{
    const char *comma = strrchr(line->typed + line->skip, ',');

    if (comma)
        line->skip = (size_t)(comma + 1 - line->typed);
    line->kind = "part";
}

/* Go on behind KEY=. */
static bool skip_key(struct complete *line, char *key, size_t room)
{
    const char *part = line->typed + line->skip;
    size_t length = strcspn(part, "=");

    if (!part[length] || length >= room)
        return false;
    memcpy(key, part, length);
    key[length] = '\0';
    line->skip += length + 1;
    return true;
}

/* ---- Names of formats ---------------------------------------------------------------------- */

/* `to_create`: only those that can be written. */
static void offer_formats(struct complete *line, bool to_create)
{
    for (const struct img_driver *driver = img_driver_next(NULL); driver; driver = img_driver_next(driver))
        if (img_driver_kind(driver) == IMG_FORMAT && img_driver_usable(driver) &&
            (!to_create || img_driver_can_create(driver)))
            complete_offer(line, img_driver_name(driver), NULL);
}

static void offer_digests(struct complete *line)
{
    for (const struct img_hash *hash = img_hash_next(NULL); hash; hash = img_hash_next(hash)) {
        CLEANUP_FREE char *tree = app_asprintf("%s-tree", img_hash_name(hash));

        complete_offer(line, img_hash_name(hash), NULL);
        complete_offer(line, tree, "a tree of digests, for many processors");
    }
}

/* ---- What the image on the line has ------------------------------------------------------------ */

/*
 * Open it without locks, without its backing file and whatever else it names.  Only regular files: others may have side
 * effects, or no end.
 */
static struct img *peek(const char *name, const char *format, int *fd)
{
    struct img_open how = { .format = format, .gate = IMG_GATE_CLOSED,
                            .flags = IMG_SHARE | IMG_NO_BACKING | IMG_NO_IO };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    struct stat kind;

    if (stat(name, &kind) < 0 || !S_ISREG(kind.st_mode) ||
        (*fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) < 0)
        return NULL;
    if (fstat(*fd, &kind) < 0 || !S_ISREG(kind.st_mode) || img_open_descriptor(&image, *fd, name, &how, &err) < 0)
        image = NULL;
    img_error_clear(&err);
    return image;
}

static void let_go(struct img *image, int fd)
{
    struct img_error err = IMG_ERROR_INIT;

    img_close(image, &err);
    img_error_clear(&err);
    if (fd >= 0)
        close(fd);
}

/* The shell knows what ~ means, and passes it as it is. */
static char *real_name(const char *name)
{
    const char *home = getenv("HOME");

    return home && !strncmp(name, "~/", 2) ? app_asprintf("%s%s", home, name + 1) : app_strdup(name);
}

static void offer_snapshots_of(struct complete *line, struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_snapshot *list = NULL;
    int count = image ? img_snapshots(image, &list, &err) : 0;

    for (int i = 0; i < count; i++) {
        CLEANUP_FREE char *about = app_asprintf("snapshot %s", list[i].id);

        complete_offer(line, list[i].name, about);
    }
    img_snapshots_free(list, count > 0 ? (size_t)count : 0);
    img_error_clear(&err);
}

static void offer_bitmaps_of(struct complete *line, struct img *image)
{
    struct img_bitmap *list = NULL;
    int count = image ? img_bitmaps(image, &list) : 0;

    for (int i = 0; i < count; i++)
        complete_offer(line, list[i].name, list[i].inconsistent ? "can only be removed" : NULL);
    img_bitmaps_free(list, count > 0 ? (size_t)count : 0);
}

/* The operand with the image: the first that is not completed now. */
static const char *image_on(const struct complete *line)
{
    return line->operand_count > (line->operand_at == 0) ? line->operands[line->operand_at == 0] : NULL;
}

static void offer_from_image(struct complete *line, const char *name, const char *format,
                             void (*offer)(struct complete *line, struct img *image))
{
    CLEANUP_FREE char *real = name && !line->image_opts ? real_name(name) : NULL;
    struct img *image;
    int fd = -1;

    if (!real)
        return;
    image = peek(real, format, &fd);
    offer(line, image);
    let_go(image, fd);
}

/* ---- Options of formats --------------------------------------------------------------------------- */

static const struct img_option *find_option(const struct img_option *table, const char *key, unsigned when)
{
    for (; table && table->name; table++)
        if (table->when & when && !strcmp(table->name, key))
            return table;
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), other = strlen(end);

    return length >= other && !strcmp(text + length - other, end);
}

static void offer_value(struct complete *line, const char *key, const struct img_option *option)
{
    if (option && option->choices)
        offer_words(line, option->choices, ' ');
    else if (option && (option->type == IMG_OPT_BOOL || option->type == IMG_OPT_BOOL_WORD))
        offer_words(line, "on off", ' ');
    else if (ends_with(key, "_fmt") || ends_with(key, "driver"))
        offer_formats(line, false);
    else if (ends_with(key, "_file") || ends_with(key, "filename"))
        complete_files(line);
}

/* Is `key=` in the list already? */
static bool has_key(const struct complete *line, const char *key)
{
    size_t length = strlen(key);

    for (const char *at = line->typed; (at = strstr(at, key)); at += length)
        if (at < line->typed + line->skip && at[length] == '=' && (at == line->typed || strchr(",=", at[-1])))
            return true;
    return false;
}

static void offer_key(struct complete *line, const char *key, const char *about)
{
    CLEANUP_FREE char *text = app_asprintf("%s=", key);

    if (!has_key(line, key))
        complete_offer(line, text, about);
}

static void offer_keys(struct complete *line, const struct img_option *table, unsigned when,
                       const struct img_option *before)
{
    for (; table && table->name; table++)
        if (table->when & when && !find_option(before, table->name, when))
            offer_key(line, table->name, table->help);
}

/* A list key=value,...; `second` are the options of the storage. */
static void offer_list(struct complete *line, const struct img_option *table, const struct img_option *second,
                       unsigned when)
{
    char key[128];

    skip_list(line);
    if (skip_key(line, key, sizeof key)) {
        const struct img_option *option = find_option(table, key, when);

        offer_value(line, key, option ? option : find_option(second, key, when));
        return;
    }
    offer_keys(line, table, when, NULL);
    offer_keys(line, second, when, table);
}

static void take_format(struct complete *line, struct img *image)
{
    if (image && !line->format)
        line->format = img_driver_name(img_driver_of(image));
}

/* Of the format that amend finds in the image, or that a new one will have. */
static void offer_format_options(struct complete *line)
{
    bool amends = !strcmp(line->applet->name, "amend");
    const char *target = line->operand_count ? line->operands[line->operand_count - 1] : "";
    const struct img_driver *driver, *storage = img_driver_for_name(target);
    const char *format;

    if (amends && !line->format)
        offer_from_image(line, image_on(line), NULL, take_format);
    format = amends ? line->format : line->target_format ? line->target_format : IMG_PLAIN_FORMAT;
    driver = format ? img_driver_find(format) : NULL;
    if (driver)
        offer_list(line, img_driver_options(driver), amends || !storage ? NULL : img_driver_options(storage),
                   amends ? IMG_AT_AMEND : IMG_AT_CREATE);
}

/* driver=FORMAT,file.filename=NAME, and what the format takes. */
static void offer_image_options(struct complete *line)
{
    static const struct img_option basic[] = {
        { .name = "driver", .help = "format", .when = IMG_AT_OPEN },
        { .name = "file.filename", .help = "file with the image", .when = IMG_AT_OPEN },
        { .name = "file.driver", .help = "protocol of the storage", .when = IMG_AT_OPEN },
        { .name = NULL }
    };
    const char *given = !strncmp(line->typed, "driver=", 7) ? line->typed + 7 : "";
    CLEANUP_FREE char *name = app_strndup(given, strcspn(given, ","));
    const struct img_driver *driver = img_driver_find(name);

    offer_list(line, basic, driver ? img_driver_options(driver) : NULL, IMG_AT_OPEN);
}

/* ---- Objects ------------------------------------------------------------------------------------------ */

static void offer_objects(struct complete *line)
{
    const char *part = line->typed + line->skip;
    const char *word;
    char key[32];

    line->kind = "part";
    if (!strchr(part, ',')) {
        for (size_t i = 0; (word = object_type_name(i)); i++) {
            CLEANUP_FREE char *text = app_asprintf("%s,id=", word);

            complete_offer(line, text, NULL);
        }
        return;
    }
    bool secret = !strncmp(part, "secret,", 7);
    skip_list(line);
    if (skip_key(line, key, sizeof key)) {
        if (!strcmp(key, "file") || !strcmp(key, "dir"))
            complete_files(line);
        else if (secret && !strcmp(key, "format"))
            offer_words(line, "raw base64", ' ');
        return;
    }
    offer_key(line, "id", "the name by which options refer to it");
    for (size_t i = 0; secret && (word = object_secret_key(i)); i++)
        offer_key(line, word, NULL);
}

static void offer_events(struct complete *line)
{
    const char *name;

    skip_list(line);
    if (!strncmp(line->typed + line->skip, "enable=", 7))
        line->skip += 7;
    for (size_t i = 0; (name = img_trace_name(i)); i++)
        complete_offer(line, name, NULL);
}

/* ---- Arguments ------------------------------------------------------------------------------------------- */

/* Options whose arguments are words of a kind, by their long names. */
static const struct {
    const char *name, *words;
} kinds[] = {
    { "aio", "threads native io_uring" },
    { "detect-zeroes", "off on unmap" },
    { "discard", "ignore unmap" },
    { "preallocation", "off metadata falloc full" },
};

static bool offer_kind(struct complete *line, const char *name)
{
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name)) {
            offer_words(line, kinds[i].words, ' ');
            return true;
        }
    return false;
}

static bool is_file(const char *argument)
{
    static const char *const words[] = { "FILE", "PATH", "DIR", "BASE_IMG", "DEV" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(argument, words[i]))
            return true;
    return false;
}

static void offer_caches(struct complete *line)
{
    const char *name;

    for (size_t i = 0; (name = img_cache_name(i)); i++)
        complete_offer(line, name, NULL);
}

static void offer_bitmaps(struct complete *line, const char *file, const char *format)
{
    offer_from_image(line, file, format, offer_bitmaps_of);
}

/* The names of arguments in the tables say what they are. */
void complete_argument(struct complete *line)
{
    const char *argument = line->option->argument, *name = line->option->name ? line->option->name : "";

    if (strchr(argument, '|'))
        offer_words(line, argument, '|');
    else if (offer_kind(line, name))
        return;
    else if (!strcmp(name, "trace"))
        offer_events(line);
    else if (ends_with(argument, "FMT") || !strcmp(argument, "FORMAT"))
        offer_formats(line, line->option->letter == 'O' ||
                            (line->option->letter == 'f' && !strcmp(line->applet->name, "create")));
    else if (ends_with(argument, "_OPTS"))
        offer_format_options(line);
    else if (strstr(argument, "CACHE") || !strcmp(name, "cache"))
        offer_caches(line);
    else if (!strcmp(argument, "ALGO"))
        offer_digests(line);
    else if (line->option->letter == APP_OBJECT)
        offer_objects(line);
    else if (!strncmp(argument, "SNAPSHOT", 8) && strcmp(name, "create") != 0)
        offer_from_image(line, image_on(line), line->format, offer_snapshots_of);
    else if (!strcmp(name, "merge"))
        offer_bitmaps(line, line->source ? line->source : image_on(line), line->source ? NULL : line->format);
    else if (!strcmp(name, "bitmap"))
        offer_bitmaps(line, image_on(line), line->format);
    else if (is_file(argument))
        complete_files(line);
}

/* ---- Operands ----------------------------------------------------------------------------------------------- */

/* NAME=VALUE of dd. */
static void offer_dd(struct complete *line)
{
    char key[16];
    const char *name, *words;

    if (!skip_key(line, key, sizeof key)) {
        line->kind = "part";
        for (size_t i = 0; (name = dd_operand(i, &words)); i++)
            offer_key(line, name, NULL);
        return;
    }
    if (!strcmp(key, "if") || !strcmp(key, "of"))
        complete_files(line);
    for (size_t i = 0; (name = dd_operand(i, &words)); i++)
        if (words && !strcmp(name, key)) {
            const char *comma = strrchr(line->typed, ',');

            if (comma)
                line->skip = (size_t)(comma + 1 - line->typed);
            offer_words(line, words, ' ');
        }
}

void complete_operand(struct complete *line)
{
    const char *applet = line->applet->name;

    if (!strcmp(applet, "dd"))
        offer_dd(line);
    else if (!strcmp(applet, "bitmap") && line->operand_at == 1 && !line->adds)
        offer_bitmaps(line, line->operands[0], line->format);
    else if (line->operand_at == 1 && (line->adds || !strcmp(applet, "create") || !strcmp(applet, "resize")))
        return;
    else if (line->image_opts)
        offer_image_options(line);
    else if (strcmp(applet, "qemu-img") != 0)
        complete_files(line);
}
