/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a bochs image. */
#include "fuzz-image.h"

FUZZ_IMAGE("bochs")
