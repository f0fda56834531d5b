/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef BOCHS_PROBE_H
#define BOCHS_PROBE_H

#include "../../libimg/util/endian.h"
#include <stdbool.h>
#include <stddef.h>

enum { BOCHS_VERSION = 64, BOCHS_VERSION_1 = 0x10000, BOCHS_VERSION_2 = 0x20000 };

static inline bool bochs_has_text(const uint8_t *field, const char *text)
{
    return memcmp(field, text, strlen(text) + 1) == 0;
}

static inline bool bochs_is_header(const uint8_t *head)
{
    uint32_t version = img_get_le32(head + BOCHS_VERSION);

    return bochs_has_text(head, "Bochs Virtual HD Image") && bochs_has_text(head + 32, "Redolog") &&
           bochs_has_text(head + 48, "Growing") && (version == BOCHS_VERSION_1 || version == BOCHS_VERSION_2);
}

static inline int bochs_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 512 && bochs_is_header(head) ? 100 : 0;
}

#endif
