/* SPDX-License-Identifier: MIT */
/* probe.h - how an image is known; also where the driver is left out. */
#ifndef DMG_PROBE_H
#define DMG_PROBE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The footer is at the end of the file, so the name has to do; content that says otherwise is believed first. */
static inline int dmg_probe(const uint8_t *head, size_t length, const char *name)
{
    size_t name_length = name ? strlen(name) : 0;

    (void)head, (void)length;
    return name_length > 4 && strcmp(name + name_length - 4, ".dmg") == 0 ? 2 : 0;
}

#endif
