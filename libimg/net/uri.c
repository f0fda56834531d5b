/* SPDX-License-Identifier: MIT */
/* Parts of URIs; see uri.h. */
#include "uri.h"
#include "util/hex.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool img_uri_split(const char *text, struct img_uri *uri)
{
    const char *colon = strstr(text, "://");

    if (!colon)
        return false;
    uri->scheme = text;
    uri->scheme_length = (size_t)(colon - text);
    uri->authority = colon + 3;
    uri->authority_length = strcspn(uri->authority, "/?#");
    uri->path = uri->authority + uri->authority_length;
    uri->path_length = strcspn(uri->path, "?#");
    uri->query = uri->path[uri->path_length] == '?' ? uri->path + uri->path_length + 1 : NULL;
    return true;
}

bool img_uri_has_scheme(const struct img_uri *uri, const char *scheme)
{
    return uri->scheme_length == strlen(scheme) && memcmp(uri->scheme, scheme, uri->scheme_length) == 0;
}

char *img_uri_decoded(const char *text, size_t length)
{
    char *plain = img_malloc(length + 1), *to = plain;

    for (size_t i = 0; plain && i < length; i++) {
        int byte = (unsigned char)text[i];
        if (byte == '%') {
            int high = i + 2 < length ? img_hex_digit(text[i + 1]) : -1;
            int low = i + 2 < length ? img_hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0) {
                free(plain);
                return NULL;
            }
            byte = high * 16 + low;
            i += 2;
        }
        *to++ = (char)byte;
    }
    if (plain)
        *to = 0;
    return plain;
}

/* The end of what is kept, after its last segment was dropped. */
static char *drop_segment(const char *path, char *end)
{
    while (end > path && *--end != '/')
        ;
    return end;
}

/* (in place: what is kept never becomes longer) */
static void remove_dots(char *path)
{
    const char *in = path;
    char *end = path;

    while (*in == '/') {
        size_t length = 1 + strcspn(in + 1, "/");
        bool up = length == 3 && in[1] == '.' && in[2] == '.', dots = up || (length == 2 && in[1] == '.');
        if (up)
            end = drop_segment(path, end);
        if (!dots)
            memmove(end, in, length);
        else if (!in[length])
            *end = '/';
        end += !dots ? length : !in[length];
        in += length;
    }
    *end = 0;
}

char *img_uri_path(const struct img_uri *uri)
{
    char *path = img_uri_decoded(uri->path, uri->path_length);

    if (path)
        remove_dots(path);
    return path;
}

static bool is_port(const char *text)
{
    const char *digits = text + strspn(text, "0");

    return strspn(text, "0123456789") == strlen(text) && strlen(digits) <= 5 && atoi(digits) <= 65535;
}

/* "host", "host:port", "[::1]:port" */
static int take_host(const char *at, const char *end, char **host, char **port)
{
    bool bracket = at < end && *at == '[';
    const char *last = memchr(at, bracket ? ']' : ':', (size_t)(end - at)), *colon = bracket && last ? last + 1 : last;

    if (bracket && (!last || (colon < end && *colon != ':')))
        return -EINVAL;
    *host = bracket ? img_strndup(at + 1, (size_t)(last - at) - 1)
                    : img_uri_decoded(at, (size_t)((last ? last : end) - at));
    if (colon && colon + 1 < end && *colon == ':')
        *port = img_strndup(colon + 1, (size_t)(end - colon) - 1);
    if (*port && !is_port(*port))
        return -EINVAL;
    return *host ? 0 : -EINVAL;
}

int img_uri_authority(const struct img_uri *uri, char **user, char **host, char **port)
{
    const char *at = uri->authority, *end = at + uri->authority_length, *sign = memchr(at, '@', uri->authority_length);

    *user = *host = *port = NULL;
    if (sign && !(*user = img_uri_decoded(at, (size_t)(sign - at))))
        return -EINVAL;
    return take_host(sign ? sign + 1 : at, end, host, port);
}

int img_uri_next(const char **query, char **key, char **value)
{
    const char *at = *query, *equals;
    size_t length;

    if (!at || !*at || *at == '#')
        return 0;
    length = strcspn(at, "&#");
    *query = at + length + (at[length] == '&');
    equals = memchr(at, '=', length);
    *key = img_uri_decoded(at, equals ? (size_t)(equals - at) : length);
    *value = equals ? img_uri_decoded(equals + 1, length - (size_t)(equals - at) - 1) : img_strdup("");
    if (*key && *value)
        return 1;
    free(*key);
    free(*value);
    *key = *value = NULL;
    return -EINVAL;
}
