/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a qed image. */
#include "fuzz-image.h"

FUZZ_IMAGE("qed")
