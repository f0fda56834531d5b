/* SPDX-License-Identifier: MIT */
/* The output profile: scripts select with IMGBOX_COMPAT the output that they parse. */
#include "compat.h"

#include <stdlib.h>
#include <string.h>

/* What may be selected; a third number, of the release, may follow. */
static const struct {
    const char *name;
    unsigned profile;
} versions[] = {
    { "7.2", COMPAT_7_2 }, { "10.0", COMPAT_10_0 }, { "10", COMPAT_10_0 },
    { "11.0", COMPAT_11_0 }, { "11", COMPAT_11_0 },
};

/* NULL: nothing is selected. */
static const char *selected(void)
{
    const char *wanted = getenv("IMGBOX_COMPAT");

    return wanted && *wanted ? wanted : NULL;
}

static bool is_release(const char *text, const char *version)
{
    size_t length = strlen(version);

    if (strncmp(text, version, length))
        return false;
    if (text[length] == '.' && strchr(version, '.') && text[length + 1])
        return !text[length + 1 + strspn(text + length + 1, "0123456789")];
    return !text[length];
}

/* 0: there is no such version. */
static unsigned find(const char *wanted)
{
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (is_release(wanted, versions[i].name))
            return versions[i].profile;
    return 0;
}

const char *compat_unknown(void)
{
    const char *wanted = selected();

    return wanted && !find(wanted) ? wanted : NULL;
}

unsigned compat_profile(void)
{
    static unsigned profile;
    const char *wanted = selected();

    if (!profile)
        profile = wanted ? find(wanted) : 0;
    if (!profile)
        profile = COMPAT_10_0;
    return profile;
}

bool compat_pinned(void)
{
    return selected() != NULL;
}
