/* SPDX-License-Identifier: MIT */
/* module-folder.c - for a program that is not installed; `make install` links another file, which names LIBDIR. */
#include "module.h"

const char img_module_folder[] = "";
