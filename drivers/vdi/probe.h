/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef VDI_PROBE_H
#define VDI_PROBE_H

#include "../../libimg/util/endian.h"
#include <stddef.h>

#define VDI_MAGIC 0xbeda107fu

enum { VDI_SIGNATURE = 0x40 };

static inline int vdi_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= VDI_SIGNATURE + 4 && img_get_le32(head + VDI_SIGNATURE) == VDI_MAGIC ? 100 : 0;
}

#endif
