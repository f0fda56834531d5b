/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a qcow image. */
#include "fuzz-image.h"

FUZZ_IMAGE("qcow")
