/* SPDX-License-Identifier: MIT */
/* glob.c - only the last * is ever tried again, so that the time is bounded by the product of the lengths. */
#include "glob.h"
#include <stddef.h>

bool img_glob(const char *pattern, const char *text, bool question)
{
    const char *star = NULL, *from = NULL;

    while (*text) {
        bool any = question && *pattern == '?';

        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (any || *pattern == *text) {
            pattern++;
            text++;
            /* (a character may have more bytes) */
            while (any && (*text & 0xc0) == 0x80)
                text++;
        } else if (star) {
            pattern = star;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}
