/* SPDX-License-Identifier: MIT */
/*
 * authz.c - who may connect: one name (authz-simple), a list of rules (authz-list), or a list in a file
 * (authz-list-file).  The first rule that matches decides, else the policy of the list.
 */
#include "net.h"
#include "object/bytes.h"
#include "object/object.h"
#include "util/cleanup.h"
#include "util/glob.h"
#include "util/strbuf.h"
#include "util/vector.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    char *match;
    bool allow, glob;
};

struct list {
    bool allow;                     /* if no rule matches */
    IMG_VECTOR(struct rule) rules;
};

struct authz {
    struct img_object object;
    enum { SIMPLE, LIST, LIST_FILE } kind;
    char *identity;                 /* SIMPLE */
    struct list list;               /* LIST, and LIST_FILE without refresh */
    char *filename;                 /* LIST_FILE */
    bool refresh;                   /* LIST_FILE: read the file at each question */
};

static const char *const kinds[] = { [SIMPLE] = "authz-simple", [LIST] = "authz-list",
                                     [LIST_FILE] = "authz-list-file" };
enum { KINDS = sizeof kinds / sizeof *kinds };

static void free_list(struct list *list)
{
    for (size_t i = 0; i < list->rules.count; i++)
        free(list->rules.at[i].match);
    free(list->rules.at);
    *list = (struct list){ 0 };
}

/* ---- Members ---------------------------------------------------------------------- */

static int wrong_type(const char *path, const char *expected, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Invalid parameter type for '%s', expected: %s", path, expected);
}

/* "x.y" where a value "x" is expected, in `path` ("rules.0.", or ""); other keys with dots are unexpected. */
static int check_keys(const struct img_doc *object, const char *path, const char *const *known, size_t count,
                      struct img_error *err)
{
    for (size_t i = 0; i < img_doc_count(object); i++) {
        const char *key = img_doc_key_at(object, i);
        size_t head = strcspn(key, "."), k = 0;

        while (k < count && (strlen(known[k]) != head || strncmp(known[k], key, head) != 0))
            k++;
        if (k == count)
            return img_error_set(err, EINVAL, "Parameter '%s%.*s' is unexpected", path, (int)head, key);
        if (key[head])
            return img_error_set(err, EINVAL, "Parameters '%s%s.*' %s", path, known[k],
                                 img_doc_get(object, known[k]) ? "used inconsistently" : "are unexpected");
    }
    return 0;
}

/* Is there a key "KEY.x"? */
static bool has_dotted(const struct img_doc *object, const char *key)
{
    size_t length = strlen(key);

    for (size_t i = 0; i < img_doc_count(object); i++)
        if (strncmp(img_doc_key_at(object, i), key, length) == 0 && img_doc_key_at(object, i)[length] == '.')
            return true;
    return false;
}

/* *text: the value of a member, or NULL if it is not there and not needed. */
static int take_text(const struct img_doc *object, const char *path, const char *key, bool needed, const char **text,
                     struct img_error *err)
{
    const struct img_doc *value = img_doc_get(object, key);
    CLEANUP_FREE char *whole = img_asprintf("%s%s", path, key);

    *text = NULL;
    if (!whole)
        return img_error_memory(err);
    if (value && img_doc_type(value) != IMG_DOC_STRING)
        return wrong_type(whole, "string", err);
    if (!value && has_dotted(object, key))
        return img_error_set(err, EINVAL, "Parameters '%s.*' are unexpected", whole);
    if (!value && needed)
        return img_error_set(err, EINVAL, "Parameter '%s' is missing", whole);
    *text = value ? img_doc_get_string(value) : NULL;
    return 0;
}

/* *second: is it the second of two words?  Not given: stays. */
static int take_word(const struct img_doc *object, const char *path, const char *key, bool needed,
                     const char *const words[2], bool *second, struct img_error *err)
{
    const char *text;
    int ret = take_text(object, path, key, needed, &text, err);

    if (ret < 0 || !text)
        return ret;
    if (strcmp(text, words[0]) != 0 && strcmp(text, words[1]) != 0)
        return img_error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", key, text);
    *second = strcmp(text, words[1]) == 0;
    return 0;
}

static const char *const policies[] = { "deny", "allow" }, *const formats[] = { "exact", "glob" };

/* ---- Lists -------------------------------------------------------------------------- */

/* place: how the user names the rule, "rules.0" or "rules[0]". */
static int read_rule(const struct img_doc *object, const char *place, struct list *list, struct img_error *err)
{
    static const char *const known[] = { "match", "policy", "format" };
    CLEANUP_FREE char *path = img_asprintf("%s.", place);
    struct rule rule = { 0 };
    const char *match = NULL;
    int ret;

    if (!path)
        return img_error_memory(err);
    if (img_doc_type(object) != IMG_DOC_OBJECT)
        return wrong_type(place, "object", err);
    ret = take_text(object, path, "match", true, &match, err);
    if (ret == 0)
        ret = take_word(object, path, "policy", true, policies, &rule.allow, err);
    if (ret == 0)
        ret = take_word(object, path, "format", false, formats, &rule.glob, err);
    if (ret == 0)
        ret = check_keys(object, path, known, 3, err);
    if (ret < 0)
        return ret;
    rule.match = img_strdup(match);
    if (rule.match && IMG_VECTOR_PUSH(&list->rules, rule))
        return 0;
    free(rule.match);
    return img_error_memory(err);
}

/* The rules of a JSON array. */
static int read_array(const struct img_doc *rules, struct list *list, struct img_error *err)
{
    int ret = 0;

    if (img_doc_type(rules) != IMG_DOC_ARRAY)
        return wrong_type("rules", "array", err);
    for (size_t i = 0; i < img_doc_count(rules) && ret == 0; i++) {
        CLEANUP_FREE char *place = img_asprintf("rules[%zu]", i);

        ret = place ? read_rule(img_doc_at(rules, i), place, list, err) : img_error_memory(err);
    }
    return ret;
}

/* The list of a JSON document. */
static int read_list(const struct img_doc *object, struct list *list, struct img_error *err)
{
    static const char *const known[] = { "policy", "rules" };
    const struct img_doc *rules = img_doc_get(object, "rules");
    int ret = take_word(object, "", "policy", false, policies, &list->allow, err);

    if (ret == 0 && rules)
        ret = read_array(rules, list, err);
    return ret == 0 ? check_keys(object, "", known, 2, err) : ret;
}

/* ---- The same in key=value form: rules.0.match and so on ------------------------------- */

#define RULES "rules."

/* The number in "rules.N" or "rules.N.key"; *rest: the key, NULL: none.  False: it is no such key. */
static bool split_key(const char *key, uint64_t *number, const char **rest)
{
    char *end;

    if (strncmp(key, RULES, strlen(RULES)) != 0)
        return false;
    key += strlen(RULES);
    if (*key < '0' || *key > '9')
        return false;
    *number = strtoull(key, &end, 10);
    *rest = *end == '.' ? end + 1 : NULL;
    return *end == '.' || *end == '\0';
}

/* Are the keys below "rules" numbers, all or none of them?  Returns their count. */
static int64_t count_numbered(const struct img_doc *flat, struct img_error *err)
{
    int64_t numbered = 0, others = 0;
    uint64_t number;
    const char *rest;

    for (size_t i = 0; i < img_doc_count(flat); i++) {
        const char *key = img_doc_key_at(flat, i);

        if (split_key(key, &number, &rest))
            numbered++;
        else if (strcmp(key, "rules") == 0 || strncmp(key, RULES, strlen(RULES)) == 0)
            others++;
    }
    if (numbered && others)
        return img_error_set(err, EINVAL, "Parameters '" RULES "*' used inconsistently");
    return others ? wrong_type("rules", "array", err) : numbered;
}

/* Collect rule `wanted`, and read it.  Returns how many keys it has. */
static int64_t read_numbered(const struct img_doc *flat, uint64_t wanted, struct list *list, struct img_error *err)
{
    CLEANUP_FREE char *place = img_asprintf(RULES "%llu", (unsigned long long)wanted);
    struct img_doc *rule = img_doc_object();
    bool plain = false;
    int64_t count = 0;
    int ret = 0;

    for (size_t i = 0; i < img_doc_count(flat); i++) {
        uint64_t number;
        const char *rest;

        if (!split_key(img_doc_key_at(flat, i), &number, &rest) || number != wanted)
            continue;
        count++;
        plain |= !rest;
        if (rest)
            img_doc_put(rule, rest, img_doc_copy(img_doc_at(flat, i)));
    }
    if (!place || img_doc_broken(rule))
        ret = img_error_memory(err);
    else if (plain)
        ret = wrong_type(place, "object", err);
    else if (count)
        ret = read_rule(rule, place, list, err);
    img_doc_free(rule);
    return ret < 0 ? ret : count;
}

static int read_flat_rules(const struct img_doc *flat, struct list *list, struct img_error *err)
{
    int64_t left = count_numbered(flat, err), n;

    for (uint64_t i = 0; left > 0; i++, left -= n) {
        n = read_numbered(flat, i, list, err);
        if (n == 0)
            return img_error_set(err, EINVAL, "Parameter '" RULES "%llu' missing", (unsigned long long)i);
        if (n < 0)
            return (int)n;
    }
    return (int)left;
}

static int read_flat(const struct img_doc *flat, struct list *list, struct img_error *err)
{
    static const char *const known[] = { "policy" };
    struct img_doc *rest = img_doc_object();
    uint64_t number;
    const char *member;
    int ret = read_flat_rules(flat, list, err);

    for (size_t i = 0; i < img_doc_count(flat); i++)
        if (!split_key(img_doc_key_at(flat, i), &number, &member))
            img_doc_put(rest, img_doc_key_at(flat, i), img_doc_copy(img_doc_at(flat, i)));
    if (ret == 0 && img_doc_broken(rest))
        ret = img_error_memory(err);
    if (ret == 0)
        ret = take_word(rest, "", "policy", false, policies, &list->allow, err);
    if (ret == 0)
        ret = check_keys(rest, "", known, 1, err);
    img_doc_free(rest);
    return ret;
}

static bool is_flat(const struct img_doc *definition)
{
    const struct img_doc *rules = img_doc_get(definition, "rules");

    for (size_t i = 0; i < img_doc_count(definition); i++)
        if (strchr(img_doc_key_at(definition, i), '.'))
            return true;
    return rules && img_doc_type(rules) == IMG_DOC_STRING;
}

/* ---- A list in a file -------------------------------------------------------------- */

static int read_file(const char *name, struct list *list, struct img_error *err)
{
    struct img_bytes bytes = { 0 };
    struct img_doc *document = NULL;
    int ret = img_bytes_read(&bytes, name, err);

    if (ret == 0 && !(document = img_doc_parse((const char *)bytes.at, err)))
        ret = -err->code;
    if (ret == 0 && img_doc_type(document) != IMG_DOC_OBJECT)
        ret = img_error_set(err, EINVAL, "It is not a JSON object");
    if (ret == 0)
        ret = read_list(document, list, err);
    if (ret < 0) {
        img_error_prefix(err, "Cannot read the list of clients '%s': ", name);
        free_list(list);
    }
    img_doc_free(document);
    img_bytes_wipe(&bytes);
    return ret;
}

/* ---- Definition ---------------------------------------------------------------------- */

static void release(struct img_object *object)
{
    struct authz *authz = (struct authz *)object;

    free(authz->identity);
    free(authz->filename);
    free_list(&authz->list);
}

static int define_simple(struct authz *authz, const struct img_doc *definition, struct img_error *err)
{
    static const char *const known[] = { "identity" };
    const char *identity;
    int ret = take_text(definition, "", "identity", true, &identity, err);

    if (ret == 0)
        ret = check_keys(definition, "", known, 1, err);
    if (ret == 0 && !(authz->identity = img_strdup(identity)))
        ret = img_error_memory(err);
    return ret;
}

static int take_refresh(const struct img_doc *definition, bool *refresh, struct img_error *err)
{
    const struct img_doc *value = img_doc_get(definition, "refresh");

    *refresh = true;
    if (!value)
        return 0;
    if (img_doc_type(value) == IMG_DOC_STRING)
        return img_option_bool("refresh", img_doc_get_string(value), refresh, err);
    if (img_doc_type(value) != IMG_DOC_BOOL)
        return wrong_type("refresh", "boolean", err);
    *refresh = img_doc_get_bool(value);
    return 0;
}

static int define_file(struct authz *authz, const struct img_doc *definition, struct img_error *err)
{
    static const char *const known[] = { "filename", "refresh" };
    const char *filename;
    int ret = take_text(definition, "", "filename", true, &filename, err);

    if (ret == 0)
        ret = take_refresh(definition, &authz->refresh, err);
    if (ret == 0)
        ret = check_keys(definition, "", known, 2, err);
    if (ret == 0 && !(authz->filename = img_strdup(filename)))
        ret = img_error_memory(err);
    /* An error in the file is told now, whenever it is read again. */
    return ret == 0 ? read_file(filename, &authz->list, err) : ret;
}

static int define(struct authz *authz, const struct img_doc *definition, struct img_error *err)
{
    if (authz->kind == SIMPLE)
        return define_simple(authz, definition, err);
    if (authz->kind == LIST_FILE)
        return define_file(authz, definition, err);
    return is_flat(definition) ? read_flat(definition, &authz->list, err) : read_list(definition, &authz->list, err);
}

int img_authz_add(const char *id, const char *kind, const struct img_doc *definition, struct img_error *err)
{
    struct authz *authz;
    size_t which = 0;
    int ret;

    while (which < KINDS && strcmp(kinds[which], kind) != 0)
        which++;
    if (which == KINDS)
        return img_error_set(err, EINVAL, "Parameter 'qom-type' does not accept value '%s'", kind);
    authz = img_calloc(1, sizeof *authz);
    if (!authz)
        return img_error_memory(err);
    authz->object.release = release;
    authz->kind = which;
    ret = define(authz, definition, err);
    if (ret == 0)
        ret = img_object_put(&authz->object, kinds[which], id, err);
    if (ret < 0) {
        release(&authz->object);
        free(authz);
    }
    return ret;
}

/* ---- Questions ------------------------------------------------------------------------- */

static struct authz *find(const char *id, struct img_error *err)
{
    struct authz *authz = NULL;
    bool other = false;

    for (size_t i = 0; !authz && i < KINDS; i++)
        authz = (struct authz *)img_object_find(kinds[i], id, &other);
    if (!authz && other)
        img_error_set(err, EINVAL, "Object '%s' is not a QAuthZ subclass", id);
    else if (!authz)
        img_error_set(err, ENOENT, "Cannot find QAuthZ object ID %s", id);
    return authz;
}

int img_authz_find(const char *id, struct img_error *err)
{
    return find(id, err) ? 0 : -err->code;
}

static bool list_allows(const struct list *list, const char *peer)
{
    for (size_t i = 0; i < list->rules.count; i++) {
        const struct rule *rule = &list->rules.at[i];

        if (rule->glob ? img_glob(rule->match, peer, true) : strcmp(rule->match, peer) == 0)
            return rule->allow;
    }
    return list->allow;
}

/* 1: yes, 0: no, or an error. */
static int allows(const struct authz *authz, const char *peer, struct img_error *err)
{
    struct list fresh = { 0 };
    int ret;

    if (authz->kind == SIMPLE)
        return strcmp(authz->identity, peer) == 0;
    if (!authz->refresh)
        return list_allows(&authz->list, peer);
    ret = read_file(authz->filename, &fresh, err);
    if (ret == 0)
        ret = list_allows(&fresh, peer);
    free_list(&fresh);
    return ret;
}

int img_authz_allows(const char *id, const char *peer, struct img_error *err)
{
    const struct authz *authz;
    int ret;

    if (!peer)
        return 0;
    authz = find(id, err);
    if (!authz)
        return -err->code;
    ret = allows(authz, peer, err);
    if (ret == 0)
        return img_error_set(err, EACCES, "TLS x509 authz check for %s is denied", peer);
    return ret < 0 ? ret : 0;
}
