/* SPDX-License-Identifier: MIT */
/* A tool of the build: write the tables that drivers/vmdk/code-pages.h describes, not compressed yet. */
#include "../drivers/vmdk/code-pages.h"
#include <iconv.h>
#include <stdio.h>

/* The character that these bytes are; 0: none, or not one unit of UTF-16. */
static unsigned character(iconv_t how, unsigned char *bytes, size_t length)
{
    unsigned char unit[8];
    char *from = (char *)bytes, *to = (char *)unit;
    size_t left = length, room = sizeof unit;

    iconv(how, NULL, NULL, NULL, NULL);
    if (iconv(how, &from, &left, &to, &room) == (size_t)-1 || left)
        return 0;
    /* (some give back a character only when they see that nothing follows) */
    if (iconv(how, NULL, NULL, &to, &room) == (size_t)-1)
        return 0;
    return room == sizeof unit - 2 ? unit[0] | unit[1] << 8 : 0;
}

static void put(unsigned unit)
{
    static unsigned before;
    unsigned step = (unit - before) & 0xffff;

    putchar((int)(step & 0xff));
    putchar((int)(step >> 8));
    before = unit;
}

static int write_table(const char *name, int wide)
{
    iconv_t how = iconv_open("UTF-16LE", name);
    unsigned char bytes[2];

    if (how == (iconv_t)-1) {
        fprintf(stderr, "code-pages: iconv does not know %s\n", name);
        return 0;
    }
    for (unsigned one = 0x80; one <= 0xff; one++) {
        bytes[0] = (unsigned char)one;
        put(character(how, bytes, 1));
    }
    for (unsigned lead = LEAD_FIRST; wide && lead <= LEAD_LAST; lead++) {
        for (unsigned trail = TRAIL_FIRST; trail <= TRAIL_LAST; trail++) {
            bytes[0] = (unsigned char)lead;
            bytes[1] = (unsigned char)trail;
            put(character(how, bytes, 2));
        }
    }
    iconv_close(how);
    return 1;
}

int main(void)
{
    for (int i = 0; i < CODE_PAGES; i++) {
        if (!write_table(code_page_names[i], i >= CODE_PAGES_NARROW))
            return 1;
    }
    return fflush(stdout) != 0;
}
