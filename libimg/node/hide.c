/* SPDX-License-Identifier: MIT */
/* hide.c - messages quote names and options; those of some protocols have passwords in them. */
#include "node.h"
#include <stdio.h>
#include <string.h>

/* The "%password" of "user%password@host/...", or NULL.  (What cannot be parsed may have slashes and more in it.) */
static char *find_password(char *authority, char **end)
{
    size_t length = strcspn(authority, " '\"\n");
    char *percent = memchr(authority, '%', strcspn(authority, "/ '\"\n"));

    *end = percent ? memrchr(percent, '@', (size_t)(authority + length - percent)) : NULL;
    return *end ? percent : NULL;
}

/* Put a star in the place of what is between `begin` and `end`. */
static void hide(char *begin, char *end)
{
    if (begin < end) {
        *begin = '*';
        memmove(begin + 1, end, strlen(end) + 1);
    }
}

static void hide_in_names(char *text, const char *scheme)
{
    for (char *at = text; (at = strstr(at, scheme)); ) {
        char *end, *password;

        at += strlen(scheme);
        password = find_password(at, &end);
        if (password)
            hide(password + 1, end);
    }
}

/* What follows `key`, up to one of the characters `stops`. */
static void hide_values(char *text, const char *key, const char *stops)
{
    for (char *at = text; (at = strstr(at, key)); ) {
        at += strlen(key);
        hide(at, at + strcspn(at, stops));
    }
}

/* "iscsi iser": the prefixes of a driver. */
static void hide_in_names_of(char *text, const char *prefixes)
{
    char scheme[64];

    while (*prefixes) {
        int length = (int)strcspn(prefixes, " ");
        snprintf(scheme, sizeof scheme, "%.*s://", length, prefixes);
        hide_in_names(text, scheme);
        prefixes += length + (prefixes[length] == ' ');
    }
}

/* "PREFIX:...:key=SECRET:...", where a backslash takes the meaning of what follows. */
static void hide_setting(char *text, const struct img_driver *driver)
{
    char prefix[64], key[64];

    snprintf(prefix, sizeof prefix, "%s:", driver->prefix);
    snprintf(key, sizeof key, ":%s=", driver->secret_in_name);
    for (char *at = strstr(text, prefix); at && (at = strstr(at, key)); ) {
        char *end = at += strlen(key);
        while (*end && !strchr(": '\"\n", *end))
            end += *end == '\\' && end[1] ? 2 : 1;
        hide(at, end);
    }
}

void img_hide_passwords(char *text)
{
    for (size_t i = 0; img_drivers[i]; i++) {
        if (img_drivers[i]->secret_in_name)
            hide_setting(text, img_drivers[i]);
        if (!img_drivers[i]->password_in_name)
            continue;
        hide_in_names_of(text, img_drivers[i]->prefix);
        if (strstr(text, img_drivers[i]->name)) {
            hide_values(text, "password=", ",' \n");
            hide_values(text, "\"password\":\"", "\"");
            hide_values(text, "\"password\": \"", "\"");
        }
    }
}
