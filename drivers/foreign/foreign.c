/* SPDX-License-Identifier: MIT */
/*
 * A format that is recognised and not yet read: a mark and a name, so that such an image is refused by name and never
 * mistaken for raw.  A driver that can read it replaces its entry here.
 * Specification: "LUKS1 On-Disk Format Specification".
 */
#include "../../libimg/driver.h"

const struct img_driver img_driver_luks = {
    IMG_ROW(
        .name = "luks", .kind = IMG_FORMAT, .marks = IMG_MARKS(IMG_AT(0, "LUKS\xba\xbe\0\1"))
    ),
    .traits = IMG_RECOGNISED_ONLY,
};
