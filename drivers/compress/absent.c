/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the driver compress where it is left out: it is refused by name. */
#include "../../libimg/driver.h"

const struct img_driver img_driver_compress = {
    .name = "compress", .title = "Compression of what is written (not built in)", .kind = IMG_FILTER,
    .traits = IMG_RECOGNISED_ONLY,
};
