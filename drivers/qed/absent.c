/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the qed driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"

#include <string.h>

static int qed_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return head && length >= 4 && memcmp(head, "QED", 4) == 0 ? 100 : 0;
}

const struct img_driver img_driver_qed = {
    .name = "qed",
    .title = "QEMU enhanced disk (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = qed_probe,
};
