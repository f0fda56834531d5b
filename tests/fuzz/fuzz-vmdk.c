/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a vmdk image. */
#include "fuzz-image.h"

FUZZ_IMAGE("vmdk")
