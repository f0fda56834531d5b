/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the delay driver where it is left out. */
#include "../../libimg/driver.h"

const struct img_driver img_driver_delay = {
    .name = "delay",
    .title = "A storage far away (not built in)",
    .kind = IMG_ADAPTER,
    .traits = IMG_RECOGNISED_ONLY,
};
