/* SPDX-License-Identifier: MIT */
/*
 * The code pages of the static file, which has tables of its own: those of musl's iconv are three times as large.
 * packaging/code-pages.c makes them from the iconv of the machine that builds.
 */
#ifndef VMDK_CODE_PAGES_H
#define VMDK_CODE_PAGES_H

#include <stddef.h>
#include <stdint.h>

/* The names by which iconv knows them: first those with a byte for each character, then those with one or two. */
static const char *const code_page_names[] = {
    "CP437", "CP737", "CP775", "CP850", "CP852", "CP855", "CP857", "CP858", "CP860", "CP861", "CP862", "CP863",
    "CP864", "CP865", "CP866", "CP869", "CP874", "CP1250", "CP1251", "CP1252", "CP1253", "CP1254", "CP1255",
    "CP1256", "CP1257", "CP1258", "ISO-8859-1", "ISO-8859-2", "ISO-8859-3", "ISO-8859-4", "ISO-8859-5",
    "ISO-8859-6", "ISO-8859-7", "ISO-8859-8", "ISO-8859-9", "ISO-8859-10", "ISO-8859-11", "ISO-8859-13",
    "ISO-8859-14", "ISO-8859-15", "ISO-8859-16", "KOI8-R", "KOI8-U",
    "GBK", "BIG5", "CP949", "CP932"
};

enum {
    CODE_PAGES = sizeof code_page_names / sizeof *code_page_names,
    CODE_PAGES_WIDE = 4, CODE_PAGES_NARROW = CODE_PAGES - CODE_PAGES_WIDE,
    /* A table has the characters of the bytes from 0x80 on, and a wide one those of all pairs; 0: none. */
    NARROW_LENGTH = 0x80,
    LEAD_FIRST = 0x81, LEAD_LAST = 0xfe, TRAIL_FIRST = 0x40, TRAIL_LAST = 0xfe, TRAILS = TRAIL_LAST - TRAIL_FIRST + 1,
    WIDE_LENGTH = NARROW_LENGTH + (LEAD_LAST - LEAD_FIRST + 1) * TRAILS,
    CODE_PAGES_LENGTH = CODE_PAGES_NARROW * NARROW_LENGTH + CODE_PAGES_WIDE * WIDE_LENGTH
};

/* All tables, one after the other: differences of successive units of UTF-16, the low byte first, as raw deflate. */
extern const uint8_t vmdk_code_pages[];
extern const size_t vmdk_code_pages_length;

#endif
