/* SPDX-License-Identifier: MIT */
/*
 * module-folder.c - for a program that is not installed; `make install` links another file, which names LIBDIR and takes the
 * place of this one.
 */
#include "module.h"

__attribute__((weak)) const char img_module_folder[] = "";
