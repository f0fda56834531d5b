/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the vmdk driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include <string.h>

/* Sparse extents by their magic number, descriptors by the comment that all products begin them with. */
static int vmdk_probe(const uint8_t *head, size_t length, const char *name)
{
    static const char comment[] = "# Disk DescriptorFile";

    (void)name;
    if (head && length >= 4 && (memcmp(head, "KDMV", 4) == 0 || memcmp(head, "COWD", 4) == 0))
        return 100;
    return head && length >= sizeof comment && memcmp(head, comment, sizeof comment - 1) == 0 ? 100 : 0;
}

const struct img_driver img_driver_vmdk = {
    .name = "vmdk",
    .title = "VMware virtual disk (not built in)",
    .kind = IMG_FORMAT,
    .traits = IMG_RECOGNISED_ONLY,
    .probe = vmdk_probe,
};
