/* SPDX-License-Identifier: MIT */
/*
 * --object tls-creds-anon, tls-creds-psk, tls-creds-x509, authz-simple, authz-list, authz-list-file: TLS credentials, and
 * lists of the clients that may connect.
 */
#include "object.h"
#include "../libimg/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum member_type { TEXT, FLAG, ENDPOINT };

/* In the order in which qemu-img looks at them. */
static const struct member {
    const char *name;
    enum member_type type;
    unsigned kinds;             /* bits of enum img_tls_kind */
} members[] = {
    { "verify-peer", FLAG, 7 }, { "dir", TEXT, 7 }, { "endpoint", ENDPOINT, 7 }, { "priority", TEXT, 7 },
    { "sanity-check", FLAG, 1 << IMG_TLS_X509 }, { "passwordid", TEXT, 1 << IMG_TLS_X509 },
    { "username", TEXT, 1 << IMG_TLS_PSK },
};
enum { MEMBER_COUNT = sizeof members / sizeof *members };

static const struct {
    const char *name;
    enum img_tls_kind kind;
} tls_types[] = {
    { "tls-creds-anon", IMG_TLS_ANON }, { "tls-creds-psk", IMG_TLS_PSK }, { "tls-creds-x509", IMG_TLS_X509 },
};
enum { TLS_TYPE_COUNT = sizeof tls_types / sizeof *tls_types };

/* ---- TLS credentials ------------------------------------------------------------- */

static const char *text_of(const struct img_doc *object, const char *name)
{
    const struct img_doc *value = img_doc_get(object, name);

    if (value && img_doc_type(value) != IMG_DOC_STRING)
        object_refuse_text("Invalid parameter type for '%s', expected: string", name);
    return value ? img_doc_get_string(value) : NULL;
}

static bool flag_of(const struct img_doc *object, const char *name, bool typed)
{
    const struct img_doc *value = img_doc_get(object, name);
    struct img_error err = IMG_ERROR_INIT;
    bool flag = true;

    if (!value)
        return flag;
    if (!typed) {
        if (img_option_bool(name, img_doc_get_string(value), &flag, &err) < 0)
            object_refuse(&err);
        return flag;
    }
    if (img_doc_type(value) != IMG_DOC_BOOL)
        object_refuse_text("Invalid parameter type for '%s', expected: boolean", name);
    return img_doc_get_bool(value);
}

static bool is_server(const struct img_doc *object)
{
    const char *endpoint = text_of(object, "endpoint");

    if (endpoint && strcmp(endpoint, "client") && strcmp(endpoint, "server"))
        object_refuse_text("Parameter 'endpoint' does not accept value '%s'", endpoint);
    return endpoint && !strcmp(endpoint, "server");
}

/* The members of all kinds; those of other kinds are refused later, by name. */
static void fill(struct img_tls_definition *definition, const struct img_doc *object, bool typed)
{
    definition->verify_peer = flag_of(object, "verify-peer", typed);
    definition->dir = text_of(object, "dir");
    definition->server = is_server(object);
    definition->priority = text_of(object, "priority");
    if (definition->kind == IMG_TLS_X509) {
        definition->sanity_check = flag_of(object, "sanity-check", typed);
        definition->password_id = text_of(object, "passwordid");
    }
    if (definition->kind == IMG_TLS_PSK)
        definition->username = text_of(object, "username");
}

static bool is_member(const char *name, enum img_tls_kind kind)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        if (!strcmp(members[i].name, name))
            return (members[i].kinds & 1u << kind) != 0;
    return false;
}

static void check_members(const struct img_doc *object, enum img_tls_kind kind)
{
    for (size_t i = 0; i < img_doc_count(object); i++) {
        const char *name = img_doc_key_at(object, i);

        if (!is_member(name, kind) && strcmp(name, "id") && strcmp(name, "qom-type"))
            object_refuse_text("Parameter '%.*s' is unexpected", (int)strcspn(name, "."), name);
    }
}

/* "dir.x" where a value "dir" is expected. */
static void check_dotted(const struct img_doc *object, const char *const *names, size_t count)
{
    for (size_t i = 0; i < img_doc_count(object); i++) {
        const char *key = img_doc_key_at(object, i);
        size_t head = strcspn(key, ".");

        for (size_t k = 0; k < count && key[head]; k++) {
            if (strlen(names[k]) != head || strncmp(key, names[k], head))
                continue;
            object_refuse_text("Parameters '%s.*' %s", names[k],
                               img_doc_get(object, names[k]) ? "used inconsistently" : "are unexpected");
        }
    }
}

/* *kind of the type `name`; false: it is another type. */
static bool find_kind(const char *name, enum img_tls_kind *kind)
{
    for (size_t i = 0; i < TLS_TYPE_COUNT; i++) {
        if (strcmp(tls_types[i].name, name))
            continue;
        *kind = tls_types[i].kind;
        return true;
    }
    return false;
}

static void add_tls(const struct img_doc *object, enum img_tls_kind kind, bool typed)
{
    struct img_tls_definition definition = { .kind = kind };
    struct img_error err = IMG_ERROR_INIT;
    const char *names[MEMBER_COUNT + 1] = { [MEMBER_COUNT] = "id" };
    const char *id = img_doc_string_at(object, "id");

    for (size_t i = 0; i < MEMBER_COUNT; i++)
        names[i] = members[i].name;
    check_dotted(object, names, MEMBER_COUNT + 1);
    fill(&definition, object, typed);
    check_members(object, kind);
    object_check_id(id);
    if (img_tls_add(id, &definition, &err) < 0)
        object_refuse(&err);
}

/* ---- Who may connect -------------------------------------------------------------- */

static void add_authz(const struct img_doc *object, const char *type)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *rest = app_whole(img_doc_copy(object));
    const char *id = img_doc_string_at(object, "id");

    img_doc_remove(rest, "id");
    img_doc_remove(rest, "qom-type");
    /* (an id that is no identifier is the last thing that qemu-img looks at) */
    if (img_authz_add(id, type, app_whole(rest), &err) < 0)
        object_refuse(&err);
    object_check_id(id);
    img_doc_free(rest);
}

bool object_tls(const struct img_doc *object, const char *type, bool typed)
{
    enum img_tls_kind kind;

    if (find_kind(type, &kind))
        add_tls(object, kind, typed);
    else if (!strncmp(type, "authz-", strlen("authz-")))
        add_authz(object, type);
    else
        return false;
    return true;
}

/* ---- Help ---------------------------------------------------------------------------- */

static void tls_help(const char *type, enum img_tls_kind kind)
{
    static const char *const sorted[] = { "dir", "endpoint", "passwordid", "priority", "sanity-check", "username",
                                          "verify-peer" };
    static const char *const types[] = { [TEXT] = "string", [FLAG] = "bool", [ENDPOINT] = "QCryptoTLSCredsEndpoint" };

    printf("%s options:\n", type);
    for (size_t i = 0; i < sizeof sorted / sizeof *sorted; i++)
        for (size_t k = 0; k < MEMBER_COUNT; k++)
            if (!strcmp(members[k].name, sorted[i]) && members[k].kinds & 1u << kind)
                printf("  %s=<%s>\n", sorted[i], types[members[k].type]);
}

bool object_tls_help(const char *type)
{
    enum img_tls_kind kind;

    if (find_kind(type, &kind))
        tls_help(type, kind);
    else if (!strcmp(type, "authz-simple"))
        printf("authz-simple options:\n  identity=<string>\n");
    else if (!strcmp(type, "authz-list"))
        printf("authz-list options:\n  policy=<QAuthZListPolicy>\n  rules=<QAuthZListRule>\n");
    else if (!strcmp(type, "authz-list-file"))
        printf("authz-list-file options:\n  filename=<string>\n  refresh=<bool>\n");
    else
        return false;
    return true;
}
