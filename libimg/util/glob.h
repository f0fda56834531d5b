/* SPDX-License-Identifier: MIT */
/* glob.h - patterns with * for any run of bytes. */
#ifndef IMG_UTIL_GLOB_H
#define IMG_UTIL_GLOB_H

#include <stdbool.h>

/* Does all of `text` match?  `question`: a ? in the pattern stands for one character of UTF-8. */
bool img_glob(const char *pattern, const char *text, bool question);

#endif
