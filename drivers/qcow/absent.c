/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the qcow driver where it is left out: its images are still recognised. */
#include "probe.h"
#include "../../libimg/driver.h"

const struct img_driver img_driver_qcow = {
    .name = "qcow",
    .title = "QEMU copy-on-write, version 1 (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = qcow_probe,
};
