/* SPDX-License-Identifier: MIT */
/* digest.h - the lines of img-digest, also printed by convert --digest, and parsed by img-digest --check. */
#ifndef APPLET_DIGEST_H
#define APPLET_DIGEST_H

#include "applet.h"
#include "../libimg/digest.h"
#include <stdio.h>

/* The kind of digest. */
struct digest_choice {
    const struct img_hash *hash;
    bool tree;
};

/* Parse a name ("sha256", "tree"); false after a message. */
bool digest_choose(const char *text, struct digest_choice *choice);
/*
 * Print "HEX  NAME" like sha256sum, or "SHA256 (NAME) = HEX" if `tagged`; a tree is always tagged:
 * "SHA256-TREE (NAME) = HEX".  A name with a newline is escaped, and the line starts with "\".
 */
void digest_print(FILE *stream, const struct digest_choice *choice, const uint8_t *result, const char *name,
                  bool tagged);
/* Write the digits to a buffer of 2 * IMG_HASH_MAX + 1 bytes, and return it. */
char *digest_hex(char *buffer, const struct digest_choice *choice, const uint8_t *result);
/*
 * Parse such a line, without its newline; the line is modified, and *name points into it.  `wanted` is used for lines
 * without an algorithm; if its hash is NULL, the length selects it.  False: not such a line.
 */
bool digest_parse_line(char *line, const struct digest_choice *wanted, struct digest_choice *choice, uint8_t *result,
                       char **name);
/* Print a name; if it has a newline, escaped and with "\" in front. */
void digest_print_name(FILE *stream, const char *name);

#endif
