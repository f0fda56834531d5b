/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a VHD image. */
#include "fuzz-image.h"

FUZZ_IMAGE("vpc")
