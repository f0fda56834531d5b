/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a sparse image of macOS 26. */
#include "fuzz-image.h"

FUZZ_IMAGE("asif")
