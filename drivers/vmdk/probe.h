/* SPDX-License-Identifier: MIT */
/* probe.h - what an image begins with; also where the driver is left out. */
#ifndef VMDK_PROBE_H
#define VMDK_PROBE_H

#include "../../libimg/util/endian.h"
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define VMDK_MAGIC 0x564d444bu          /* "KDMV" */
#define VMDK_COWD_MAGIC 0x44574f43u     /* "COWD" */

/* The end of the comment or of the line of blanks at `at`; `at` itself when it is neither. */
static inline const char *vmdk_skip_line(const char *at, const char *end)
{
    const char *line = at;

    if (*at == '#') {
        at = memchr(at, '\n', (size_t)(end - at));
        return at ? at + 1 : end;
    }
    while (at < end && *at == ' ')
        at++;
    if (at == line)
        return line;
    if (at < end && *at == '\r')
        at++;
    return at < end && *at == '\n' ? at + 1 : line;
}

/* A descriptor of its own: comments and blanks, then version=1 to 3, within the first sector. */
static inline bool vmdk_is_descriptor(const uint8_t *head, size_t length)
{
    static const char key[] = "version=";
    const char *at = (const char *)head, *end = at + (length < 512 ? length : 512);

    while (at < end) {
        const char *next = vmdk_skip_line(at, end);

        if (next == at)
            break;
        at = next;
    }
    size_t left = (size_t)(end - at), key_length = sizeof key - 1;
    if (left < key_length + 2 || memcmp(at, key, key_length) != 0)
        return false;
    at += key_length;
    if (*at < '1' || *at > '3')
        return false;
    return at[1] == '\n' || (left >= key_length + 3 && at[1] == '\r' && at[2] == '\n');
}

static inline bool vmdk_has_magic(const uint8_t *head)
{
    return img_get_le32(head) == VMDK_MAGIC || img_get_le32(head) == VMDK_COWD_MAGIC;
}

static inline int vmdk_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    if (length >= 4 && vmdk_has_magic(head))
        return 100;
    return vmdk_is_descriptor(head, length) ? 100 : 0;
}

#endif
