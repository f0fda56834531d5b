/* SPDX-License-Identifier: MIT */
/*
 * mark.h - describes the marks of a format as data, so that the build can keep them where the driver is left out.
 *
 * A list of marks is an array that ends with IMG_MARK_END (IMG_MARKS adds it).  IMG_OR separates alternatives; all
 * marks of one alternative must match.  Only the first 512 bytes of a file are examined; bytes that a shorter file
 * lacks count as zeroes.
 */
#ifndef IMG_MARK_H
#define IMG_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum img_mark_kind {
    IMG_MARK_END, IMG_MARK_OR, IMG_MARK_BYTES, IMG_MARK_AT_LEAST, IMG_MARK_LINE, IMG_MARK_XML, IMG_MARK_NAME,
    IMG_MARK_NAME_END, IMG_MARK_ANYTHING, IMG_MARK_TEXT, IMG_MARK_SETTING
};

struct img_mark {
    enum img_mark_kind kind;
    unsigned offset;
    const char *bytes;
    size_t length;
};

#define IMG_MARK(what, at, text) { .kind = (what), .offset = (at), .bytes = (text), .length = sizeof(text) - 1 }

/* A list of marks. */
#define IMG_MARKS(...)          ((const struct img_mark[]){ __VA_ARGS__, { .kind = IMG_MARK_END } })
/* Starts the next alternative. */
#define IMG_OR                  { .kind = IMG_MARK_OR }
/* The bytes of a string, including zeroes ("QED\0"), at an offset. */
#define IMG_AT(at, text)        IMG_MARK(IMG_MARK_BYTES, at, text)
/* A big-endian number that is at least the one of these bytes. */
#define IMG_AT_LEAST(at, text)  IMG_MARK(IMG_MARK_AT_LEAST, at, text)
/* A text whose first line after comments (#) and blank lines is this one. */
#define IMG_LINE(text)          IMG_MARK(IMG_MARK_LINE, 0, text)
/* A text, perhaps after a byte order mark or in UTF-16, that begins with these characters; blanks, blank lines before
 * it and the case of letters do not count. */
#define IMG_TEXT(text)          IMG_MARK(IMG_MARK_TEXT, 0, text)
/* Such a text, with a line KEY=VALUE, also with blanks around "=". */
#define IMG_SETTING(key)        IMG_MARK(IMG_MARK_SETTING, 0, key)
/* An XML text that begins with "<", perhaps after a byte order mark, and has this element. */
#define IMG_XML(element)        IMG_MARK(IMG_MARK_XML, 0, "<" element)
/* The file has this name, in any folder. */
#define IMG_NAMED(name)         IMG_MARK(IMG_MARK_NAME, 0, name)
/* The name has this suffix, and is longer. */
#define IMG_NAME_ENDS(text)     IMG_MARK(IMG_MARK_NAME_END, 0, text)
/* Always matches. */
#define IMG_ANYTHING            { .kind = IMG_MARK_ANYTHING }

/* Do the first `length` bytes of a file called `name` match the marks?  NULL marks never match.  Thread-safe. */
bool img_marks_show(const struct img_mark *marks, const uint8_t *head, size_t length, const char *name);

#endif
