/* SPDX-License-Identifier: MIT */
/* Names what a raw disk is encrypted by, where its first bytes tell.  (VeraCrypt leaves no mark.) */
#include "applet.h"
#include "info.h"

#include <string.h>

enum { BITLOCKER_AT = 3 };
static const char bitlocker[] = "-FVE-FS-";

void info_name_foreign(struct img *image, const char *name)
{
    char head[BITLOCKER_AT + sizeof bitlocker - 1];

    if (strcmp(img_driver_name(img_driver_of(image)), IMG_PLAIN_FORMAT) != 0 || img_size(image) < sizeof head)
        return;
    if (img_pread(image, head, 0, sizeof head) == 0 &&
        memcmp(head + BITLOCKER_AT, bitlocker, sizeof bitlocker - 1) == 0)
        app_warning("'%s' begins with a volume of BitLocker: what it holds is encrypted", name);
}
