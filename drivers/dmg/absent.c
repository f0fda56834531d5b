/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the dmg driver where it is left out: its images are still recognised. */
#include "probe.h"
#include "../../libimg/driver.h"

const struct img_driver img_driver_dmg = {
    .name = "dmg", .title = "Apple disk image (not built in)", .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY,
    .probe = dmg_probe,
};
