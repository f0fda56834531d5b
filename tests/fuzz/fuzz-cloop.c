/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a compressed loop device image. */
#include "fuzz-image.h"

FUZZ_IMAGE("cloop")
