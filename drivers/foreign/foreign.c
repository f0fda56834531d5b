/* SPDX-License-Identifier: MIT */
/*
 * A format that is recognised but not supported yet: its magic and name, so that such an image is refused by name
 * and never taken for raw.  A driver that can read it replaces its entry.
 * Specification: "LUKS1 On-Disk Format Specification".
 */
#include "../../libimg/driver.h"

const struct img_driver img_driver_luks = {
    IMG_ROW(
        .name = "luks", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "LUKS\xba\xbe\0\1"))
    ),
    .traits = IMG_RECOGNISED_ONLY,
};
