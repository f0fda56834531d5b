/* SPDX-License-Identifier: MIT */
/* probe.h - what an expandable image and the descriptor of a bundle begin with; also where the driver is left out. */
#ifndef PARALLELS_PROBE_H
#define PARALLELS_PROBE_H

#include "../../libimg/util/endian.h"
#include <stdbool.h>
#include <string.h>

#define PARALLELS_DESCRIPTOR "DiskDescriptor.xml"
#define PARALLELS_ROOT "Parallels_disk_image"

static inline bool parallels_is_header(const uint8_t *head, size_t length)
{
    return length >= 20 && img_get_le32(head + 16) == 2 &&
           (memcmp(head, "WithoutFreeSpace", 16) == 0 || memcmp(head, "WithouFreSpacExt", 16) == 0);
}

static inline bool parallels_is_descriptor(const uint8_t *head, size_t length)
{
    static const char mark[] = { '\xef', '\xbb', '\xbf' };

    if (length >= sizeof mark && memcmp(head, mark, sizeof mark) == 0) {
        head += sizeof mark;
        length -= sizeof mark;
    }
    return length > 0 && head[0] == '<' && memmem(head, length, "<" PARALLELS_ROOT, sizeof PARALLELS_ROOT) != NULL;
}

/* A descriptor is believed in its own file only: a guest can write one to its raw disk. */
static inline int parallels_probe(const uint8_t *head, size_t length, const char *name)
{
    const char *base = name ? strrchr(name, '/') : NULL;

    if (parallels_is_header(head, length))
        return 100;
    base = base ? base + 1 : name;
    return base && strcmp(base, PARALLELS_DESCRIPTOR) == 0 && parallels_is_descriptor(head, length) ? 100 : 0;
}

#endif
