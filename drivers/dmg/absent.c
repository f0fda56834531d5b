/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the dmg driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include <string.h>

static int dmg_probe(const uint8_t *head, size_t length, const char *name)
{
    size_t name_length = name ? strlen(name) : 0;

    (void)head, (void)length;
    return name_length > 4 && strcmp(name + name_length - 4, ".dmg") == 0 ? 2 : 0;
}

const struct img_driver img_driver_dmg = {
    .name = "dmg", .title = "Apple disk image (not built in)", .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY,
    .probe = dmg_probe,
};
