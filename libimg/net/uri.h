/* SPDX-License-Identifier: MIT */
/* uri.h - names as scheme://[user@]host[:port]/path?key=value&key=value (RFC 3986, without relative references). */
#ifndef IMG_NET_URI_H
#define IMG_NET_URI_H

#include <stdbool.h>
#include <stddef.h>

/* The parts, not decoded; they point into the text. */
struct img_uri {
    const char *scheme, *authority, *path;
    const char *query;              /* to the end of the text, or to a "#"; NULL: none */
    size_t scheme_length, authority_length, path_length;
};

/* false: the text has no "://". */
bool img_uri_split(const char *text, struct img_uri *uri);
bool img_uri_has_scheme(const struct img_uri *uri, const char *scheme);
/* Decode "%20" and the like; caller frees.  NULL: a digit or memory is missing, or it would hold a NUL. */
char *img_uri_decoded(const char *text, size_t length);
/* The path, decoded, without "/./" and "/../" (RFC 3986, 5.2.4); caller frees.  NULL as above. */
char *img_uri_path(const struct img_uri *uri);
/*
 * The parts of the authority, decoded; caller frees all three, also after an error.  *user and *port are NULL where there
 * is none.  An IPv6 address is in brackets, which *host lacks.  An empty host is no error.  -EINVAL, -ENOMEM.
 */
int img_uri_authority(const struct img_uri *uri, char **user, char **host, char **port);
/*
 * Take the next "key=value" of a query (start with uri->query).  1: there was one, decoded, *value is "" without "=";
 * caller frees both.  0: there is no more.  -EINVAL: it cannot be decoded, or memory is missing.
 */
int img_uri_next(const char **query, char **key, char **value);

#endif
