/* SPDX-License-Identifier: MIT */
/*
 * A format that is recognised and not yet read: a probe and a name, so that such an image is refused by name and never
 * mistaken for raw.  A driver that can read it replaces its entry here.
 * Specification: "LUKS1 On-Disk Format Specification".
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"

static int luks_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 8 && memcmp(head, "LUKS\xba\xbe", 6) == 0 && img_get_be16(head + 6) == 1 ? 100 : 0;
}

const struct img_driver img_driver_luks = {
    .name = "luks", .title = "LUKS encrypted disk", .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY,
    .probe = luks_probe,
};
