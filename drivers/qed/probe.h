/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef QED_PROBE_H
#define QED_PROBE_H

#include "../../libimg/util/endian.h"
#include <stddef.h>

#define QED_MAGIC 0x00444551u               /* "QED\0", little-endian */

static inline int qed_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 4 && img_get_le32(head) == QED_MAGIC ? 100 : 0;
}

#endif
