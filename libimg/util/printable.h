/* SPDX-License-Identifier: MIT */
/* printable.h - what others say may hold what a terminal would obey. */
#ifndef IMG_PRINTABLE_H
#define IMG_PRINTABLE_H

/* The same, or '?' for a control character. */
static inline char img_printable(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
}

#endif
