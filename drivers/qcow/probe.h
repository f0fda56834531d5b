/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef QCOW_PROBE_H
#define QCOW_PROBE_H

#include "../../libimg/util/endian.h"
#include <stddef.h>

#define QCOW_MAGIC 0x514649fbu

static inline int qcow_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 8 && img_get_be32(head) == QCOW_MAGIC && img_get_be32(head + 4) == 1 ? 100 : 0;
}

#endif
