/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the vhdx driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include <string.h>

static int vhdx_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return head && length >= 8 && memcmp(head, "vhdxfile", 8) == 0 ? 100 : 0;
}

const struct img_driver img_driver_vhdx = {
    .name = "vhdx",
    .title = "vhdx (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = vhdx_probe,
};
