/* SPDX-License-Identifier: MIT */
/*
 * Formats that are recognised and not yet read: a probe and a name each, so
 * that such an image is refused by name and never mistaken for raw.  A driver that can
 * read one of them replaces its entry here.  The magic numbers are from the
 * published descriptions of the formats.
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"
#include <string.h>

enum { NOT = 0, SURE = 100, SECTOR = 512 };

static bool starts_with(const uint8_t *head, size_t length, const void *magic, size_t magic_length)
{
    return length >= magic_length && memcmp(head, magic, magic_length) == 0;
}

/* ---- The others -------------------------------------------------------------- */

static int probe_luks(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "LUKS\xba\xbe", 6) && length >= 8 && img_get_be16(head + 6) == 1 ? SURE : NOT;
}

#define RECOGNISED(id, text) \
    .name = #id, .title = text, .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY, .probe = probe_##id

const struct img_driver img_driver_luks = {
    RECOGNISED(luks, "LUKS encrypted disk")
};
