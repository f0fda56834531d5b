/* SPDX-License-Identifier: MIT */
/*
 * Option texts and the documents made from them: key=value,... of --image-opts
 * and -o; dotted keys are folded into nested objects and flattened again.
 */
#include "img.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Dotted keys are folded to this depth; the rest stays one dotted key, which no
 * driver knows.  A key of 100 kB must not become 50 000 nested objects.
 */
enum { MAX_FOLD = 64 };

/* ---- key=value,key=value ---------------------------------------------------------- */

struct pair {
    char *key, *value;
    bool bare;                  /* `key` or `nokey`: value is on or off */
    char *written;              /* bare: as it was written */
};

static void release_pair(struct pair *pair)
{
    free(pair->key);
    free(pair->value);
    free(pair->written);
    *pair = (struct pair){ 0 };
}

/* The text up to a single comma, with double commas made single; advance *text past that comma. */
static char *take_value(const char **text)
{
    struct img_strbuf value = { 0 };
    for (;;) {
        size_t plain = strcspn(*text, ",");
        img_strbuf_add_bytes(&value, *text, plain);
        *text += plain;
        if ((*text)[0] == ',' && (*text)[1] == ',') {
            img_strbuf_add_char(&value, ',');
            *text += 2;
            continue;
        }
        *text += **text == ',';
        return img_strbuf_take(&value);
    }
}

static bool is_whole(const struct pair *pair)
{
    return pair->key && pair->value && (pair->written || !pair->bare);
}

/* The next pair of a non-empty text; `implied` is the key of a value without a key.  Not whole: out of memory. */
static struct pair next_pair(const char **text, const char *implied)
{
    struct pair pair = { 0 };
    size_t length = strcspn(*text, "=,");
    if ((*text)[length] == '=') {
        pair.key = img_strndup(*text, length);
        *text += length + 1;
        pair.value = take_value(text);
    } else if (implied) {
        pair.key = img_strdup(implied);
        pair.value = take_value(text);
    } else {
        pair.bare = true;
        pair.written = img_strndup(*text, length);
        bool off = strncmp(*text, "no", 2) == 0 && length >= 2;
        pair.key = pair.written ? img_strdup(pair.written + (off ? 2 : 0)) : NULL;
        pair.value = img_strdup(off ? "off" : "on");
        *text += length;
        *text += **text == ',';
    }
    return pair;
}

static bool is_help(const struct pair *pair)
{
    return pair->bare && is_whole(pair) && (strcmp(pair->written, "help") == 0 || strcmp(pair->written, "?") == 0);
}

static bool is_identifier(const char *text)
{
    if (!isalpha((unsigned char)*text))
        return false;
    while (*text && (isalnum((unsigned char)*text) || strchr("-._", *text)))
        text++;
    return *text == '\0';
}

/* The first id=... must be a valid name, even if nobody uses it. */
static int check_id(const char *text, const char *implied, struct img_error *err)
{
    int ret = 0;
    for (bool found = false; *text && !found; implied = NULL) {
        struct pair pair = next_pair(&text, implied);
        if (!is_whole(&pair)) {
            release_pair(&pair);
            return img_error_memory(err);
        }
        found = !pair.bare && strcmp(pair.key, "id") == 0;
        if (found && !is_identifier(pair.value)) {
            ret = img_error_set(err, EINVAL, "Parameter 'id' expects an identifier");
            img_error_hint(err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
        }
        release_pair(&pair);
    }
    return ret;
}

/* ---- Dotted keys ------------------------------------------------------------------ */

static void flatten_into(struct img_doc *flat, const char *prefix, const struct img_doc *from);

static void flatten_member(struct img_doc *flat, const char *key, const struct img_doc *value)
{
    if (img_doc_count(value) > 0)
        flatten_into(flat, key, value);
    else
        img_doc_put(flat, key, img_doc_copy(value));
}

/* The key of an array element is its number. */
static void flatten_into(struct img_doc *flat, const char *prefix, const struct img_doc *from)
{
    for (size_t i = 0; i < img_doc_count(from); i++) {
        const char *name = img_doc_key_at(from, i), *dot = prefix ? "." : "";
        CLEANUP_FREE char *key = name ? img_asprintf("%s%s%s", prefix ? prefix : "", dot, name)
                                      : img_asprintf("%s%s%zu", prefix ? prefix : "", dot, i);
        if (key)
            flatten_member(flat, key, img_doc_at(from, i));
        else
            img_doc_break(flat);
    }
}

struct img_doc *img_options_flatten(const struct img_doc *options)
{
    struct img_doc *flat = img_doc_object();
    flatten_into(flat, NULL, options);
    if (options && img_doc_broken(options))
        img_doc_break(flat);
    return flat;
}

/* Put a plain value for `key`.  If there is a nested object with this name, its members become flat. */
static void put_plain(struct img_doc *object, const char *key, struct img_doc *value)
{
    struct img_doc *old = img_doc_get(object, key);
    struct img_doc *nested = img_doc_count(old) > 0 ? img_doc_copy(old) : NULL;
    if (img_doc_count(old) != img_doc_count(nested))
        img_doc_break(object);
    img_doc_put(object, key, value);
    flatten_into(object, key, nested);
    img_doc_free(nested);
}

/*
 * Put `value` at the place of the dotted key.  If a plain value is in the way, the rest of the
 * key stays dotted beside it ("file" and "file.filename"), so that the reader finds the conflict.
 * `level` is the number of objects above.
 */
static void put_dotted(struct img_doc *object, const char *key, struct img_doc *value, int level)
{
    for (; level < MAX_FOLD; level++) {
        const char *dot = strchr(key, '.');
        if (!dot)
            break;
        CLEANUP_FREE char *head = img_strndup(key, (size_t)(dot - key));
        struct img_doc *child = head ? img_doc_get(object, head) : NULL;
        if (!child) {
            img_doc_put(object, head, img_doc_object());
            child = head ? img_doc_get(object, head) : NULL;
        }
        if (!child) {
            img_doc_free(value);
            return;
        }
        if (img_doc_type(child) != IMG_DOC_OBJECT) {
            img_doc_put(object, key, value);
            return;
        }
        object = child;
        key = dot + 1;
    }
    put_plain(object, key, value);
}

static struct img_doc *fold(const struct img_doc *from, int level);

static struct img_doc *fold_value(const struct img_doc *value, int level)
{
    if (img_doc_type(value) == IMG_DOC_OBJECT)
        return fold(value, level);
    if (img_doc_type(value) != IMG_DOC_ARRAY)
        return img_doc_copy(value);
    struct img_doc *array = img_doc_array();
    for (size_t i = 0; i < img_doc_count(value); i++)
        img_doc_append(array, fold_value(img_doc_at(value, i), level + 1));
    return array;
}

/* The value at the dotted key in nested objects, or NULL. */
static const struct img_doc *find_dotted(struct img_doc *object, const char *key)
{
    const char *dot;
    while (object && (dot = strchr(key, '.'))) {
        CLEANUP_FREE char *head = img_strndup(key, (size_t)(dot - key));
        if (!head)
            img_doc_break(object);
        object = head ? img_doc_get(object, head) : NULL;
        key = dot + 1;
    }
    return object ? img_doc_get(object, key) : NULL;
}

/* Nested members come first: if both forms give a value, the nested one counts. */
static struct img_doc *fold(const struct img_doc *from, int level)
{
    struct img_doc *object = img_doc_object();
    for (int dotted = 0; dotted < 2; dotted++) {
        for (size_t i = 0; i < img_doc_count(from); i++) {
            const char *key = img_doc_key_at(from, i);
            if ((strchr(key, '.') != NULL) != dotted || (dotted && find_dotted(object, key)))
                continue;
            put_dotted(object, key, fold_value(img_doc_at(from, i), level + 1), level);
        }
    }
    return object;
}

/* ---- The entry points --------------------------------------------------------------- */

/* NULL with *err set if memory ran out while `options` was made. */
static struct img_doc *whole(struct img_doc *options, struct img_error *err)
{
    if (!img_doc_broken(options))
        return options;
    img_error_memory(err);
    img_doc_free(options);
    return NULL;
}

struct img_doc *img_doc_parse_options(const char *json, struct img_error *err)
{
    struct img_doc *doc = img_doc_parse(json, err);
    if (!doc) {
        img_error_prefix(err, "Could not parse the JSON options: ");
        return NULL;
    }
    struct img_doc *folded = NULL;
    if (img_doc_type(doc) == IMG_DOC_OBJECT)
        folded = fold(doc, 0);
    else
        img_error_set(err, EINVAL, "Invalid JSON object given");
    img_doc_free(doc);
    return whole(folded, err);
}

struct img_doc *img_options_parse(const char *text, const char *implied, struct img_error *err)
{
    if (check_id(text, implied, err) < 0)
        return NULL;
    struct img_doc *options = img_doc_object();
    for (; *text; implied = NULL) {
        struct pair pair = next_pair(&text, implied);
        if (!is_whole(&pair))
            img_doc_break(options);
        else if (pair.bare && !is_help(&pair))
            img_notice(IMG_WARNING, "short-form boolean option '%s' deprecated\nPlease use %s=%s instead",
                       pair.written, pair.key, pair.value);
        if (is_whole(&pair))
            put_dotted(options, pair.key, img_doc_string(pair.value), 0);
        release_pair(&pair);
    }
    return whole(options, err);
}

/* No empty item at either end.  A comma at the end makes one, unless a second comma escapes it. */
static bool is_option_list(const char *text)
{
    size_t length = strlen(text), commas = 0;
    while (commas < length && text[length - 1 - commas] == ',')
        commas++;
    return length > 0 && text[0] != ',' && commas % 2 == 0;
}

int img_options_add(struct img_doc *into, const char *text, struct img_error *err)
{
    if (!is_option_list(text))
        return img_error_set(err, EINVAL, "Invalid option list: %s", text);
    while (*text) {
        struct pair pair = next_pair(&text, NULL);
        /* An id is accepted and ignored, as in qemu-img. */
        if (!is_whole(&pair))
            img_doc_break(into);
        else if (strcmp(pair.key, "id") != 0)
            img_doc_put_string(into, pair.key, pair.value);
        release_pair(&pair);
    }
    return img_doc_broken(into) ? img_error_memory(err) : 0;
}

bool img_options_want_help(const char *text)
{
    bool help = false;
    while (*text && !help) {
        struct pair pair = next_pair(&text, NULL);
        help = is_help(&pair);
        release_pair(&pair);
    }
    return help;
}
