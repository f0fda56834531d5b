/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the vpc driver where it is left out: dynamic disks are still recognised. */
#include "../../libimg/driver.h"
#include <string.h>

static int vpc_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 8 && memcmp(head, "conectix", 8) == 0 ? 100 : 0;
}

const struct img_driver img_driver_vpc = {
    .name = "vpc",
    .title = "Virtual hard disk (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = vpc_probe,
};
