/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the parallels driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include "probe.h"

const struct img_driver img_driver_parallels = {
    .name = "parallels", .title = "Parallels disk (not built in)", .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY, .folder_file = PARALLELS_DESCRIPTOR, .probe = parallels_probe,
};
