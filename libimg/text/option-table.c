/* SPDX-License-Identifier: MIT */
/*
 * Functions over the option tables of drivers: reading values into a driver's
 * structure, checking them in advance, the help text and the line "Formatting ...".
 */
#include "img.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Values ------------------------------------------------------------------------- */

int img_option_bool(const char *name, const char *text, bool *value, struct img_error *err)
{
    static const char *const words[] = { "on", "yes", "true", "y", "off", "no", "false", "n" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value = i < 4;
            return 0;
        }
    }
    return img_error_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
}

/* 64 bits, in any base of C; a sign is accepted and wraps around, as in qemu-img. */
static int parse_number(const char *name, const char *text, uint64_t *value, struct img_error *err)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 0);
    int code = errno;
    if (end == text || *end)
        return img_error_set(err, EINVAL, "Parameter '%s' expects a number", name);
    if (code == ERANGE || number > UINT64_MAX)
        return img_error_set(err, ERANGE, "Value '%s' is too large for parameter '%s'", text, name);
    *value = number;
    return 0;
}

int img_options_bad_size(const char *name, const char *text, int code, struct img_error *err)
{
    if (code == -ERANGE)
        return img_error_set(err, ERANGE, "Value '%s' is out of range for parameter '%s'", text, name);
    img_error_set(err, EINVAL, "Parameter '%s' expects a non-negative number below 2^64", name);
    img_error_hint(err, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                   "and exabytes, respectively.");
    if (*text)
        img_size_advise(text, err);
    return code;
}

static int parse_size(const char *name, const char *text, uint64_t *value, struct img_error *err)
{
    int status = img_parse_size(text, 'b', value);
    return status < 0 ? img_options_bad_size(name, text, status, err) : 0;
}

static bool kept_as_text(const struct img_option *option)
{
    return option->type == IMG_OPT_STRING || option->type == IMG_OPT_BOOL_WORD;
}

/* Parse one value by its type.  STRING does not set *number. */
static int parse_value(const struct img_option *option, const char *text, uint64_t *number, struct img_error *err)
{
    bool flag = false;
    int status = 0;
    switch (option->type) {
    case IMG_OPT_STRING:
        break;
    case IMG_OPT_BOOL:
    case IMG_OPT_BOOL_WORD:
        status = img_option_bool(option->name, text, &flag, err);
        if (status == 0)
            *number = flag;
        break;
    case IMG_OPT_NUMBER:
        status = parse_number(option->name, text, number, err);
        break;
    case IMG_OPT_SIZE:
        status = parse_size(option->name, text, number, err);
        break;
    }
    return status;
}

int img_options_text(const struct img_doc *value, char **text)
{
    *text = NULL;
    switch (img_doc_type(value)) {
    case IMG_DOC_STRING:
        *text = img_strdup(img_doc_get_string(value));
        break;
    case IMG_DOC_BOOL:
        *text = img_strdup(img_doc_get_bool(value) ? "on" : "off");
        break;
    case IMG_DOC_INT:
    case IMG_DOC_UINT:
    case IMG_DOC_DOUBLE:
        *text = img_doc_json(value, -1);
        break;
    default:
        return 0;
    }
    return *text ? 0 : -ENOMEM;
}

int img_options_take_text(struct img_doc *options, const char *key, char **text, struct img_error *err)
{
    struct img_doc *value = img_doc_take(options, key);
    int ret = 0;

    *text = NULL;
    if (value && img_options_text(value, text) < 0)
        ret = img_error_memory(err);
    img_doc_free(value);
    return ret;
}

/* ---- Reading into a structure --------------------------------------------------------- */

static void *field(const struct img_option *option, void *into)
{
    return (char *)into + option->offset;
}

static void store_unset(const struct img_option *option, void *into)
{
    static const int64_t none = -1;
    if (kept_as_text(option))
        *(char **)field(option, into) = NULL;
    else if (option->type == IMG_OPT_BOOL)
        *(int8_t *)field(option, into) = -1;
    else
        memcpy(field(option, into), &none, sizeof none);
}

static int store(const struct img_option *option, const char *text, void *into, struct img_error *err)
{
    uint64_t number = 0;
    int status = parse_value(option, text, &number, err);
    if (status < 0)
        return status;
    if (kept_as_text(option)) {
        char **string = field(option, into);
        return img_replace_text(string, text) < 0 ? img_error_memory(err) : 0;
    }
    if (option->type == IMG_OPT_BOOL) {
        *(int8_t *)field(option, into) = (int8_t)number;
        return 0;
    }
    /* A value too large for the field (or negative) stays too large for any driver. */
    int64_t value = number > INT64_MAX ? INT64_MAX : (int64_t)number;
    memcpy(field(option, into), &value, sizeof value);
    return 0;
}

/*
 * Take the member `name` of a table from options in which dotted keys may be nested.
 * An object that becomes empty is removed too.  A container with members stays: it is not a value of this option.
 */
static struct img_doc *take_value(struct img_doc *options, const char *name)
{
    struct img_doc *value = img_doc_get(options, name);
    if (value)
        return img_doc_count(value) > 0 ? NULL : img_doc_take(options, name);
    const char *dot = strchr(name, '.');
    if (!dot)
        return NULL;
    CLEANUP_FREE char *head = img_strndup(name, (size_t)(dot - name));
    if (!head)
        img_doc_break(options);
    struct img_doc *inner = head ? img_doc_get(options, head) : NULL;
    if (img_doc_type(inner) != IMG_DOC_OBJECT)
        return NULL;
    value = take_value(inner, dot + 1);
    if (value && img_doc_count(inner) == 0)
        img_doc_remove(options, head);
    return value;
}

static int read_one(const struct img_option *option, unsigned when, struct img_doc *options, void *into,
                    struct img_error *err)
{
    struct img_doc *value = take_value(options, option->name);
    CLEANUP_FREE char *text = NULL;
    int status = img_options_text(value, &text);
    img_doc_free(value);
    if (status < 0)
        return img_error_memory(err);
    if (text)
        return store(option, text, into, err);
    /* Amending changes only the given options. */
    if (option->standard && when != IMG_AT_AMEND)
        return store(option, option->standard, into, err);
    return 0;
}

int img_options_read(const struct img_option *table, unsigned when, struct img_doc *options,
                     void *into, struct img_error *err)
{
    if (!table)
        return 0;
    for (const struct img_option *option = table; option->name; option++) {
        if (option->when & when)
            store_unset(option, into);
    }
    int status = 0;
    for (const struct img_option *option = table; option->name && status == 0; option++) {
        if (option->when & when)
            status = read_one(option, when, options, into, err);
    }
    if (status == 0 && options && img_doc_broken(options))
        status = img_error_memory(err);
    if (status < 0)
        img_options_release(table, when, into);
    return status;
}

void img_options_release(const struct img_option *table, unsigned when, void *from)
{
    for (const struct img_option *option = table; option && option->name; option++) {
        if (kept_as_text(option) && option->when & when) {
            char **string = field(option, from);
            free(*string);
            *string = NULL;
        }
    }
}

struct img_doc *img_options_copy(const struct img_doc *options)
{
    return options ? img_doc_copy(options) : img_doc_object();
}

void *img_options_new(const struct img_option *table, unsigned when, size_t size, struct img_doc *options,
                      struct img_error *err)
{
    void *parsed = img_calloc(1, size ? size : 1);

    if (!parsed || img_doc_broken(options))
        img_error_memory(err);
    else if (img_options_read(table, when, options, parsed, err) == 0)
        return parsed;
    free(parsed);
    return NULL;
}

void img_options_free(const struct img_option *table, unsigned when, void *parsed)
{
    img_options_release(table, when, parsed);
    free(parsed);
}

/* ---- Several tables together ------------------------------------------------------------ */

/* The first entry with this name in the tables, if it is for `when`. */
static const struct img_option *find(const struct img_option *const *tables, size_t count, unsigned when,
                                     const char *name)
{
    for (size_t i = 0; i < count; i++) {
        for (const struct img_option *option = tables[i]; option && option->name; option++) {
            if (option->when & when && strcmp(option->name, name) == 0)
                return option;
        }
    }
    return NULL;
}

/* All entries for `when`, each name once, in table order.  Caller frees the list; NULL: out of memory. */
static const struct img_option **merged(const struct img_option *const *tables, size_t count, unsigned when,
                                        size_t *entries)
{
    size_t room = 0;
    for (size_t i = 0; i < count; i++) {
        for (const struct img_option *option = tables[i]; option && option->name; option++)
            room++;
    }
    const struct img_option **list = img_calloc(room, sizeof *list);
    *entries = 0;
    for (size_t i = 0; list && i < count; i++) {
        for (const struct img_option *option = tables[i]; option && option->name; option++) {
            if (find(tables, count, when, option->name) == option)
                list[(*entries)++] = option;
        }
    }
    return list;
}

static int unknown(const struct img_option *const *tables, size_t count, unsigned when, const char *name,
                   struct img_error *err)
{
    struct img_guess guess = { .word = name };

    img_error_set(err, EINVAL, "Invalid parameter '%s'", name);
    for (size_t i = 0; i < count; i++)
        for (const struct img_option *option = tables[i]; option && option->name; option++)
            if (option->when & when)
                img_guess_try(&guess, option->name, option->name);
    if (img_guess_best(&guess))
        img_error_advise(err, "did you mean '%s'?", img_guess_best(&guess));
    else
        img_error_advise(err, "'-o help' lists the options of the format");
    return -EINVAL;
}

int img_options_check(const struct img_option *const *tables, size_t count, unsigned when,
                      const struct img_doc *options, struct img_error *err)
{
    if (options && img_doc_broken(options))
        return img_error_memory(err);
    for (size_t i = 0; i < img_doc_count(options); i++) {
        const char *name = img_doc_key_at(options, i);
        const struct img_option *option = find(tables, count, when, name);
        if (!option)
            return unknown(tables, count, when, name, err);
        CLEANUP_FREE char *text = NULL;
        uint64_t number;
        if (img_options_text(img_doc_at(options, i), &text) < 0)
            return img_error_memory(err);
        int status = text ? parse_value(option, text, &number, err) : 0;
        if (status < 0)
            return status;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct img_option *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

char *img_options_help(const struct img_option *const *tables, size_t count, unsigned when)
{
    static const char *const types[] = { "str", "bool (on/off)", "num", "size", "bool (on/off)" };
    size_t entries;
    const struct img_option **list = merged(tables, count, when, &entries);
    struct img_strbuf out = { 0 };
    if (!list)
        return NULL;
    qsort(list, entries, sizeof *list, by_name);
    for (size_t i = 0; i < entries; i++) {
        CLEANUP_FREE char *left = img_asprintf("%s=<%s>", list[i]->name, types[list[i]->type]);
        if (!left)
            out.failed = true;
        else if (list[i]->help)
            img_strbuf_printf(&out, "  %-22s - %s\n", left, list[i]->help);
        else
            img_strbuf_printf(&out, "  %s\n", left);
    }
    free(list);
    return img_strbuf_take(&out);
}

/* Numbers are printed as signed numbers, as in qemu-img; words as given, with commas doubled. */
static void describe(struct img_strbuf *out, const struct img_option *option, const char *text)
{
    struct img_error unused = IMG_ERROR_INIT;
    uint64_t number = 0;
    img_strbuf_printf(out, "%s%s=", out->length ? " " : "", option->name);
    bool numeric = option->type == IMG_OPT_NUMBER || option->type == IMG_OPT_SIZE;
    if (numeric && parse_value(option, text, &number, &unused) == 0) {
        img_strbuf_printf(out, "%" PRId64, (int64_t)number);
    } else {
        for (; *text; text++)
            img_strbuf_add(out, *text == ',' ? ",," : (char[]){ *text, '\0' });
    }
    img_error_clear(&unused);
}

char *img_options_describe(const struct img_option *const *tables, size_t count, const struct img_doc *options)
{
    size_t entries;
    const struct img_option **list = merged(tables, count, IMG_AT_CREATE, &entries);
    struct img_strbuf out = { 0 };
    out.failed = !list || (options && img_doc_broken(options));
    for (size_t i = 0; i < entries; i++) {
        CLEANUP_FREE char *text = NULL;
        if (img_options_text(img_doc_get(options, list[i]->name), &text) < 0)
            out.failed = true;
        if (text || list[i]->standard)
            describe(&out, list[i], text ? text : list[i]->standard);
    }
    free(list);
    return img_strbuf_take(&out);
}
