/* SPDX-License-Identifier: MIT */
/* guarded.h - memory for secrets: it is in no core dump, and is wiped when it is freed. */
#ifndef IMG_GUARDED_H
#define IMG_GUARDED_H

#include <stddef.h>

/* Zeroed, and aligned to a page; takes whole pages.  NULL: out of memory. */
void *img_guarded_new(size_t length);
void img_guarded_free(void *at, size_t length);     /* NULL is fine */

#endif
