/* SPDX-License-Identifier: MIT */
/*
 * --object: definitions as "TYPE,id=ID,key=value" or as JSON.  Callers pass
 * them with every image that may be encrypted, so every valid definition is accepted, and an
 * invalid one is refused with qemu-img's message.  Secrets, throttle groups, TLS credentials and lists of clients are
 * passed to libimg; the other types have no effect in a disk tool.
 */
#include "object.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Types that qemu-img accepts; `needed` is a required key. */
static const struct object_type {
    const char *name, *needed;
} object_types[] = {
    { "authz-list", NULL }, { "authz-list-file", NULL }, { "authz-simple", NULL },
    { "main-loop", NULL }, { "pr-manager-helper", "path" }, { "secret", NULL },
    { "secret_keyring", "serial" }, { "thread-context", NULL }, { "throttle-group", NULL },
    { "tls-creds-anon", NULL }, { "tls-creds-psk", NULL }, { "tls-creds-x509", NULL },
};
enum { TYPE_COUNT = sizeof object_types / sizeof *object_types };

static const char *const secret_keys[] = { "data", "file", "format", "iv", "keyid" };
enum { SECRET_KEY_COUNT = sizeof secret_keys / sizeof *secret_keys };

const char *object_type_name(size_t index)
{
    return index < TYPE_COUNT ? object_types[index].name : NULL;
}

const char *object_secret_key(size_t index)
{
    return index < SECRET_KEY_COUNT ? secret_keys[index] : NULL;
}

/* Exit status if a definition is invalid. */
static int failure_status = 1;

_Noreturn void object_refuse(struct img_error *err)
{
    app_report(err);
    exit(app_finish(failure_status));
}

_Noreturn void object_refuse_text(const char *format, ...)
{
    CLEANUP_FREE char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    app_error("%s", text ? text : format);
    exit(app_finish(failure_status));
}

static const struct object_type *find_type(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (!strcmp(object_types[i].name, name))
            return &object_types[i];
    return NULL;
}

static _Noreturn void refuse_type(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_guess guess = { .word = name };

    img_error_set(&err, EINVAL, "Parameter 'qom-type' does not accept value '%s'", name);
    for (size_t i = 0; i < TYPE_COUNT; i++)
        img_guess_try(&guess, object_types[i].name, object_types[i].name);
    if (img_guess_best(&guess))
        img_error_advise(&err, "did you mean '%s'?", img_guess_best(&guess));
    object_refuse(&err);
}

/* ---- Parsing ------------------------------------------------------------------ */

static void show_help(const struct img_doc *object)
{
    const char *name = img_doc_string_at(object, "qom-type");

    app_output_is_help();
    if (name && !strcmp(name, "secret")) {
        printf("secret options:\n");
        for (size_t i = 0; i < SECRET_KEY_COUNT; i++)
            printf("  %s=<%s>\n", secret_keys[i],
                   strcmp(secret_keys[i], "format") ? "string" : "QCryptoSecretFormat");
    } else if (name && !strcmp(name, "throttle-group")) {
        object_throttle_help();
    } else if (!name || !object_tls_help(name)) {
        printf("List of user creatable objects:\n");
        for (size_t i = 0; i < TYPE_COUNT; i++)
            printf("  %s\n", object_types[i].name);
    }
    exit(app_finish(0));
}

/* One value up to the next single comma; a double comma is a comma. */
static const char *take_value(const char *at, struct img_strbuf *value)
{
    img_strbuf_add(value, "");
    while (*at && (*at != ',' || at[1] == ',')) {
        at += *at == ',';
        img_strbuf_add_char(value, *at++);
    }
    return *at ? at + 1 : at;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Names joined by dots; the first one must not be all digits (an index). */
static bool is_key(const char *key)
{
    const char *first = key;

    for (;;) {
        size_t digits = strspn(key, "0123456789"), length = strcspn(key, ".");
        bool index = length && digits == length && key != first;

        if (!index && !is_letter(*key))
            return false;
        for (size_t i = 1; i < length; i++)
            if (!is_letter(key[i]) && !strchr("0123456789_-", key[i]))
                return false;
        if (!key[length])
            return true;
        key += length + 1;
    }
}

static const char *parse_pair(struct img_doc *object, const char *at, bool first, bool *help)
{
    size_t length = strcspn(at, "=,");
    CLEANUP_FREE char *key = app_strndup(at, length);
    struct img_strbuf value = { 0 };

    if (at[length] != '=') {
        if (!strcmp(key, "help") || !strcmp(key, "?")) {
            *help = true;
            return at + length + (at[length] == ',');
        }
        if (!length || (!first && !is_key(key)))
            object_refuse_text("Invalid parameter '%s'", key);
        if (!first)
            object_refuse_text("Expected '=' after parameter '%s'", key);
        img_doc_put_string(object, "qom-type", key);
        return at + length + (at[length] == ',');
    }
    if (!is_key(key))
        object_refuse_text("Invalid parameter '%s'", key);
    at = take_value(at + length + 1, &value);
    img_doc_put_string(object, key, value.text);
    img_strbuf_free(&value);
    return at;
}

static struct img_doc *parse_keys(const char *text)
{
    struct img_doc *object = app_whole(img_doc_object());
    bool help = false;

    for (const char *at = text; *at; )
        at = parse_pair(object, at, at == text, &help);
    app_whole(object);
    if (help)
        show_help(object);
    return object;
}

static struct img_doc *parse_definition(const char *text)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *object;

    if (*text != '{')
        return parse_keys(text);
    object = img_doc_parse(text, &err);
    if (!object)
        object_refuse(&err);
    return object;
}

/* ---- Validation ----------------------------------------------------------------- */

static const char *string_of(const struct img_doc *object, const char *key)
{
    const struct img_doc *value = img_doc_get(object, key);

    if (value && img_doc_type(value) != IMG_DOC_STRING)
        object_refuse_text("Invalid parameter type for '%s', expected: string", key);
    return value ? img_doc_get_string(value) : NULL;
}

static const char *needed_string(const struct img_doc *object, const char *key)
{
    const char *text = string_of(object, key);

    if (!text)
        object_refuse_text("Parameter '%s' is missing", key);
    return text;
}

void object_check_id(const char *id)
{
    struct img_error err = IMG_ERROR_INIT;
    bool good = is_letter(*id);

    for (const char *at = id; *at && good; at++)
        good = is_letter(*at) || (*at >= '0' && *at <= '9') || strchr("-._", *at);
    if (good)
        return;
    img_error_set(&err, EINVAL, "Parameter 'id' expects an identifier");
    img_error_hint(&err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
    object_refuse(&err);
}

void object_refuse_known(const char *id)
{
    struct img_error err = IMG_ERROR_INIT;

    if (img_object_check_new(id, &err) < 0)
        object_refuse(&err);
}

static bool is_base64_format(const struct img_doc *object)
{
    const char *format = string_of(object, "format");

    if (format && strcmp(format, "raw") && strcmp(format, "base64"))
        object_refuse_text("Parameter 'format' does not accept value '%s'", format);
    return format && !strcmp(format, "base64");
}

static void check_secret_keys(const struct img_doc *object)
{
    for (size_t i = 0; i < img_doc_count(object); i++) {
        const char *key = img_doc_key_at(object, i);
        bool known = !strcmp(key, "id") || !strcmp(key, "qom-type");

        for (size_t k = 0; k < SECRET_KEY_COUNT && !known; k++)
            known = !strcmp(key, secret_keys[k]);
        if (!known)
            object_refuse_text("Parameter '%s' is unexpected", key);
        string_of(object, key);
    }
    is_base64_format(object);
}

/*
 * The command line has the secret, and so may the stack: a process that was given one leaves no core dump.  A limit of 1
 * byte is what Linux takes for "no dump into a pipe, either".
 */
static void leave_no_core(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur > 1) {
        limit.rlim_cur = 1;
        setrlimit(RLIMIT_CORE, &limit);
    }
}

static void add_secret(const struct img_doc *object)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_secret secret = {
        .id = string_of(object, "id"), .data = string_of(object, "data"), .file = string_of(object, "file"),
        .base64 = is_base64_format(object), .key_id = string_of(object, "keyid"), .iv = string_of(object, "iv"),
    };

    leave_no_core();
    if (img_secret_add(&secret, &err) < 0)
        object_refuse(&err);
}

static void add_other(const struct img_doc *object, const char *name, const char *id, bool typed)
{
    struct img_error err = IMG_ERROR_INIT;

    if (!strcmp(name, "secret"))
        check_secret_keys(object);
    object_check_id(id);
    if (!strcmp(name, "secret"))
        add_secret(object);
    else if (!strcmp(name, "throttle-group"))
        object_throttle(object, typed);
    else if (img_object_add(id, &err) < 0)
        object_refuse(&err);
}

void app_object_status(int status)
{
    failure_status = status;
}

void app_object(const char *text)
{
    struct img_doc *object = parse_definition(text);
    const char *name = needed_string(object, "qom-type"), *id;
    const struct object_type *type = find_type(name);

    if (!type)
        refuse_type(name);
    id = needed_string(object, "id");
    if (type->needed && !img_doc_get(object, type->needed))
        object_refuse_text("Parameter '%s' is missing", type->needed);
    if (!object_tls(object, name, *text == '{'))
        add_other(object, name, id, *text == '{');
    img_doc_free(object);
}
