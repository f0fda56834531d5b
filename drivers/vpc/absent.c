/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the vpc driver where it is left out: dynamic disks are still recognised. */
#include "probe.h"
#include "../../libimg/driver.h"

const struct img_driver img_driver_vpc = {
    .name = "vpc",
    .title = "Virtual hard disk (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = vpc_probe,
};
