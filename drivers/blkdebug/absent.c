/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the driver blkdebug where it is left out: it is refused by name. */
#include "../../libimg/driver.h"

const struct img_driver img_driver_blkdebug = {
    .name = "blkdebug", .title = "Errors on demand (not built in)", .kind = IMG_FILTER, .prefix = "blkdebug",
    .traits = IMG_RECOGNISED_ONLY,
};
