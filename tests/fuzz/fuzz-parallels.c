/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a Parallels image, or the descriptor of a bundle. */
#include "fuzz-image.h"

FUZZ_IMAGE("parallels")
