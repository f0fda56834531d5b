/* SPDX-License-Identifier: MIT */
/* base64.h - base64 to bytes. */
#ifndef IMG_BASE64_H
#define IMG_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decode `length` characters into `out`, which has room for length / 4 * 3 bytes and may be the text itself.  As in
 * qemu-img, invalid characters are skipped, '=' is a 0 that in the third or fourth place of its group omits a byte,
 * and an incomplete group is ignored.  Returns the number of bytes.
 */
size_t img_base64_decode(void *out, const char *text, size_t length);
/* Does it contain only base64 characters, "=" and line feeds? */
bool img_base64_is(const char *text, size_t length);

#endif
