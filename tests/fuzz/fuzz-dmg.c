/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is an Apple disk image. */
#include "fuzz-image.h"

FUZZ_IMAGE("dmg")
