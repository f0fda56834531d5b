/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the driver throttle where it is left out: it is refused by name. */
#include "../../libimg/driver.h"

const struct img_driver img_driver_throttle = {
    .name = "throttle", .title = "Limits of bytes and requests a second (not built in)", .kind = IMG_FILTER,
    .traits = IMG_RECOGNISED_ONLY,
};
