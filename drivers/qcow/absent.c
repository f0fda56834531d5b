/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the qcow driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"

static int qcow_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return head && length >= 8 && img_get_be32(head) == 0x514649fbu && img_get_be32(head + 4) == 1 ? 100 : 0;
}

const struct img_driver img_driver_qcow = {
    .name = "qcow",
    .title = "QEMU copy-on-write, version 1 (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = qcow_probe,
};
