/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the vdi driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"

static int vdi_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 0x44 && img_get_le32(head + 0x40) == 0xbeda107fu ? 100 : 0;
}

const struct img_driver img_driver_vdi = {
    .name = "vdi", .title = "VirtualBox disk image (not built in)", .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY,
    .probe = vdi_probe,
};
