/* SPDX-License-Identifier: MIT */
/* digest.h - the lines of img-digest: printed also by convert --digest, read back by img-digest --check. */
#ifndef APPLET_DIGEST_H
#define APPLET_DIGEST_H

#include "applet.h"
#include "../libimg/digest.h"
#include <stdio.h>

/* Which digest it is. */
struct digest_choice {
    const struct img_hash *hash;
    bool tree;
};

/* From a name ("sha256", "tree"); false after a message. */
bool digest_choose(const char *text, struct digest_choice *choice);
/*
 * "HEX  NAME" as sha256sum prints it, or "SHA256 (NAME) = HEX" if `tagged`, and always for a tree:
 * "SHA256-TREE (NAME) = HEX".  A name with a newline is escaped, and the line begins with "\".
 */
void digest_print(FILE *stream, const struct digest_choice *choice, const uint8_t *result, const char *name,
                  bool tagged);
/* The digits, in a buffer of 2 * IMG_HASH_MAX + 1 bytes, which is returned. */
char *digest_hex(char *buffer, const struct digest_choice *choice, const uint8_t *result);
/*
 * Read such a line, without its newline; it is changed, and *name points into it.  `wanted` is the choice for lines
 * that do not tell; with its hash NULL the length does.  False: no such line.
 */
bool digest_parse_line(char *line, const struct digest_choice *wanted, struct digest_choice *choice, uint8_t *result,
                       char **name);
/* Print a name; in its escaped form, with "\" in front, if it has a newline. */
void digest_print_name(FILE *stream, const char *name);

#endif
