/* SPDX-License-Identifier: MIT */
/* base64.h - base64 to bytes. */
#ifndef IMG_BASE64_H
#define IMG_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decode `length` characters into `out`, which has room for length / 4 * 3 bytes and may be the text itself.  As
 * qemu-img does it: what is no base64 is passed over, '=' is a 0 which in the third or fourth place of its group leaves
 * a byte out, and a group that is not complete gives nothing.  Returns how many bytes.
 */
size_t img_base64_decode(void *out, const char *text, size_t length);
/* Is it nothing but characters of base64, "=" and line feeds? */
bool img_base64_is(const char *text, size_t length);

#endif
