/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a vdi image. */
#include "fuzz-image.h"

FUZZ_IMAGE("vdi")
