/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef VHDX_PROBE_H
#define VHDX_PROBE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VHDX_SIGNATURE "vhdxfile"

static inline int vhdx_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 8 && memcmp(head, VHDX_SIGNATURE, 8) == 0 ? 100 : 0;
}

#endif
