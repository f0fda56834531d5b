/* SPDX-License-Identifier: MIT */
/* module-folder.c - what is not installed; `make install` links another one, that names LIBDIR. */
#include "module.h"

const char img_module_folder[] = "";
