/* SPDX-License-Identifier: MIT */
/* UTF-16, in which Windows stores names. */
#ifndef IMG_UTIL_UTF16_H
#define IMG_UTIL_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * *text: it in UTF-8, up to the first NUL or the end; caller frees.  `big`: the high byte of each unit comes first.
 * -EILSEQ: it is not valid UTF-16; -ENOMEM.
 */
int img_utf16_to_utf8(const uint8_t *bytes, size_t length, bool big, char **text);
/* The other way round, without a NUL at the end; caller frees. -EILSEQ: it is not valid UTF-8; -ENOMEM. */
int img_utf16_from_utf8(const char *text, bool big, uint8_t **bytes, size_t *length);

#endif
