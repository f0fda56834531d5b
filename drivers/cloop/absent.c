/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the cloop driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include <string.h>

static int cloop_probe(const uint8_t *head, size_t length, const char *name)
{
    static const char script[] = "#!/bin/sh\n#V2.0 Format\n"
                                 "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

    (void)name;
    return length >= sizeof script - 1 && memcmp(head, script, sizeof script - 1) == 0 ? 2 : 0;
}

const struct img_driver img_driver_cloop = {
    .name = "cloop", .title = "Compressed loop device (not built in)", .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY, .probe = cloop_probe,
};
