/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the cloop driver where it is left out: its images are still recognised. */
#include "probe.h"
#include "../../libimg/driver.h"

const struct img_driver img_driver_cloop = {
    .name = "cloop", .title = "Compressed loop device (not built in)", .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY, .probe = cloop_probe,
};
