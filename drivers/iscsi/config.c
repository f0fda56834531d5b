/* SPDX-License-Identifier: MIT */
/*
 * The settings of a configuration file, in the form of QEMU's -readconfig:
 *
 *     [iscsi]                      # for all targets
 *       timeout = "30"
 *     [iscsi "iqn.2001-05.com.example:disk"]
 *       user = "bob"
 *       password-secret = "s0"
 *
 * If there is a section for the target, that one holds, else the one for all.  Other sections are not looked at.
 */
#include "iscsi.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char variable[] = "IMGBOX_ISCSI_CONF";
static const char blanks[] = " \t\r\n";
static const char *const known[] = {
    "user", "password", "password-secret", "initiator-name", "header-digest", "timeout"
};
enum { KNOWN = sizeof known / sizeof *known, LINE = 1024 };

/* A section, as far as it is of use. */
struct settings {
    bool found;
    char values[KNOWN][LINE];
    bool given[KNOWN];
};
enum section { OTHER, FOR_ALL, FOR_TARGET };

static char *trimmed(char *text)
{
    size_t length;

    text += strspn(text, blanks);
    length = strlen(text);
    while (length && strchr(blanks, text[length - 1]))
        length--;
    text[length] = 0;
    return text;
}

/* Take the quotes off; false: there is only one of them, or none, or more. */
static bool unquote(char **text)
{
    size_t length = strlen(*text);

    if (length < 2 || (*text)[0] != '"' || (*text)[length - 1] != '"')
        return false;
    (*text)[length - 1] = 0;
    (*text)++;
    return !strchr(*text, '"');
}

/* "[iscsi]" or "[iscsi "NAME"]"; -EINVAL: it is no head of a section. */
static int read_head(char *line, const char *target, enum section *section)
{
    size_t length = strlen(line);
    char *name;

    if (line[length - 1] != ']')
        return -EINVAL;
    line[length - 1] = 0;
    name = trimmed(line + 1);
    *section = OTHER;
    if (strncmp(name, "iscsi", 5) != 0)
        return 0;
    name = trimmed(name + 5);
    if (!*name)
        *section = FOR_ALL;
    else if (unquote(&name) && strcmp(name, target) == 0)
        *section = FOR_TARGET;
    return 0;
}

static int read_setting(char *line, struct settings *settings)
{
    char *equals = strchr(line, '='), *key, *value;

    if (!equals)
        return -EINVAL;
    *equals = 0;
    key = trimmed(line);
    value = trimmed(equals + 1);
    if (!unquote(&value))
        return -EINVAL;
    for (size_t i = 0; i < KNOWN; i++) {
        if (strcmp(key, known[i]) == 0) {
            strcpy(settings->values[i], value);     /* (a part of a line) */
            settings->given[i] = true;
            return 0;
        }
    }
    return -ENOENT;
}

/* The two sections of interest: [FOR_ALL] and [FOR_TARGET].  The number of the line that is wrong, 0: none is. */
static unsigned read_lines(FILE *file, const char *target, struct settings *found)
{
    char line[LINE];
    enum section section = OTHER;
    unsigned number = 0, wrong = 0;

    while (!wrong && fgets(line, sizeof line, file)) {
        char *text = trimmed(line);
        int ret = 0;
        number++;
        if (strlen(line) == sizeof line - 1)
            ret = -EINVAL;
        else if (*text == '[')
            ret = read_head(text, target, &section);
        else if (*text && *text != '#' && section != OTHER)
            ret = read_setting(text, &found[section]);
        found[section].found = true;
        wrong = ret < 0 ? number : 0;
    }
    img_wipe(line, sizeof line);
    return wrong;
}

/* (The file has the digest in capital letters, the option in small ones.) */
static void put_settings(struct settings *settings, struct img_doc *options)
{
    for (size_t i = 0; i < KNOWN; i++) {
        char *value = settings->values[i];
        if (!settings->given[i] || img_doc_get(options, known[i]))
            continue;
        for (char *c = value; strcmp(known[i], "header-digest") == 0 && *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
        img_doc_put_string(options, known[i], value);
    }
}

static void drop(struct settings *settings, const char *key)
{
    for (size_t i = 0; i < KNOWN; i++)
        settings->given[i] &= strcmp(known[i], key) != 0;
}

/* A user that the name has brings the password along. */
static void settle_user(struct settings *settings, const struct img_doc *options)
{
    if (img_doc_get(options, "user") || img_doc_get(options, "password")) {
        drop(settings, "user");
        drop(settings, "password");
        drop(settings, "password-secret");
    }
}

int iscsi_config_apply(const char *target, struct img_doc *options, struct img_error *err)
{
    const char *name = getenv(variable);
    struct settings *found, *best;
    unsigned wrong;
    FILE *file;

    if (!name || !*name)
        return 0;
    file = fopen(name, "re");
    if (!file)
        return img_error_errno(err, errno, "Could not open the iSCSI settings '%s'", name);
    found = img_calloc(FOR_TARGET + 1, sizeof *found);
    if (!found) {
        fclose(file);
        return img_error_memory(err);
    }
    wrong = read_lines(file, target, found);
    best = &found[found[FOR_TARGET].found ? FOR_TARGET : FOR_ALL];
    settle_user(best, options);
    if (!wrong)
        put_settings(best, options);
    img_wipe(found, (FOR_TARGET + 1) * sizeof *found);
    free(found);
    fclose(file);
    return wrong ? img_error_set(err, EINVAL, "%s:%u: the line is no setting of an iSCSI target", name, wrong) : 0;
}
