/* SPDX-License-Identifier: MIT */
/* The output profile: scripts select with IMGBOX_COMPAT the output that they parse. */
#include "compat.h"

#include <stdlib.h>

unsigned compat_profile(void)
{
    static unsigned profile;
    const char *wanted = getenv("IMGBOX_COMPAT");
    char *end;
    unsigned long major, minor = 0;

    if (profile)
        return profile;
    profile = COMPAT_10_0;
    if (!wanted)
        return profile;
    major = strtoul(wanted, &end, 10);
    if (*end == '.')
        minor = strtoul(end + 1, &end, 10);
    if (major >= 1 && major < 1000 && minor < 100)
        profile = (unsigned)(major * 100 + minor);
    return profile;
}

bool compat_pinned(void)
{
    return getenv("IMGBOX_COMPAT") != NULL;
}
