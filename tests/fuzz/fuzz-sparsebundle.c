/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is the property list of a sparse bundle. */
#include "fuzz-image.h"

FUZZ_IMAGE("sparsebundle")
