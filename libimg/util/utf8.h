/* SPDX-License-Identifier: MIT */
/* UTF-8 as qemu-img reads and writes it in JSON. */
#ifndef IMG_UTIL_UTF8_H
#define IMG_UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Read one character and advance *at; *at < end.  Returns its code
 * point, or -1 if it is invalid: a stray or missing continuation byte, an overlong form (but C0 80
 * is U+0000), a surrogate, a noncharacter.  A bad sequence is consumed as a whole, up to
 * the byte that cannot belong to it.
 */
int32_t img_utf8_next(const char **at, const char *end);
/* Is it all of valid characters, noncharacters included, without a NUL? */
bool img_utf8_is_text(const void *bytes, size_t length);
/* Not a surrogate, not a noncharacter, not above U+10FFFF. */
bool img_utf8_valid(uint32_t code);
/* Write a valid code point (U+0000 as C0 80) to `to`, at most 4 bytes; returns their number. */
unsigned img_utf8_put(char *to, uint32_t code);

#endif
