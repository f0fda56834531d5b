/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the bochs driver where it is left out: its images are still recognised. */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"

static bool has_text(const uint8_t *field, const char *text)
{
    return memcmp(field, text, strlen(text) + 1) == 0;
}

static int bochs_probe(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    if (length < 512 || !has_text(head, "Bochs Virtual HD Image") || !has_text(head + 32, "Redolog") ||
        !has_text(head + 48, "Growing"))
        return 0;
    uint32_t version = img_get_le32(head + 64);
    return version == 0x10000 || version == 0x20000 ? 100 : 0;
}

const struct img_driver img_driver_bochs = {
    .name = "bochs", .title = "Bochs growing disk (not built in)", .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY,
    .probe = bochs_probe,
};
